"""Functions of the program that are called around snapshots and restarts.

They are called by a thread of their own, since snapshots come at any time and
from anybody: the program, its owner, cron.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
import traceback
from typing import Callable, Dict, List, Optional

from . import _connection
from ._connection import GONE, Connection, Line, SuperviseError, result

Hook = Callable[[], object]

BEFORE, RESUME, RESTART, FAILED = "before-freeze", "resumed", "restarted", "failed"


class Listener:
    """The connection on which events come, and the thread that answers them.

    Without a supervisor it waits for another, such as one that attaches.
    """

    def __init__(self, hooks: "Hooks") -> None:
        self._hooks = hooks
        self._lock = threading.Lock()
        self._waiting: Dict[int, "queue.SimpleQueue[Optional[Line]]"] = {}
        self._connection: Optional[Connection] = None
        self._forgotten = False
        with contextlib.suppress(SuperviseError):
            self._connection = Connection(_connection.path())
        self.thread = threading.Thread(target=self._run, name="supervise", daemon=True)
        self.thread.start()

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def call(self, request: str, params: Line) -> Line:
        """Makes a request. Its answer comes after the hooks that were called before."""
        answer: "queue.SimpleQueue[Optional[Line]]" = queue.SimpleQueue()
        with self._lock:
            number = self._request(request, params)
            self._waiting[number] = answer
        line = answer.get()
        if line is None:
            raise SuperviseError(GONE, "the supervisor has gone")
        return result(line)

    def register(self) -> None:
        """Says which events are wanted. The thread itself does not wait for the answer."""
        if threading.current_thread() is self.thread:
            with self._lock:
                self._request("register", self._hooks.wanted())
        else:
            self.call("register", self._hooks.wanted())

    def _request(self, request: str, params: Line) -> int:
        if self._connection is None:
            raise SuperviseError(GONE, "the supervisor has gone")
        return self._connection.request(request, params)

    def _run(self) -> None:
        pause = 1.0
        while True:
            if self._connection is not None:
                with contextlib.suppress(SuperviseError):
                    self._serve(self._connection)
                self._disconnect(self._connection)
                pause = 1.0
            time.sleep(pause)
            pause = min(2 * pause, 30.0)
            if self._forgotten:
                return
            with contextlib.suppress(SuperviseError):
                self._connection = Connection(_connection.path())
                self.register()

    def _serve(self, connection: Connection) -> None:
        while True:
            line = connection.receive()
            if "event" in line:
                self._handle(connection, line)
                continue
            with self._lock:
                answer = self._waiting.pop(line.get("id", 0), None)
            if answer is not None:
                answer.put(line)

    def _handle(self, connection: Connection, line: Line) -> None:
        refuse = self._hooks.handle(line["event"])
        if "deadline_ms" not in line:
            return
        reply: Line = {"reply": line["seq"]}
        if refuse:
            reply["refuse"] = refuse
        with self._lock:
            connection.send(reply)

    def _disconnect(self, connection: Connection) -> None:
        with self._lock:
            self._connection = None
            for answer in self._waiting.values():
                answer.put(None)
            self._waiting.clear()
        connection.close()
        self._hooks.handle(FAILED)  # whatever was being taken

    def forget(self) -> None:
        """Closes the connection of the parent in a child that it has forked."""
        self._forgotten = True
        if self._connection is not None:
            self._connection.close()


class Hooks:
    """The hooks of this process, and their listener once there were any."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._by_event: Dict[str, List[Hook]] = {BEFORE: [], RESUME: [], RESTART: []}
        self._deadline = 5.0
        self._prepared = False  # BEFORE was called, and RESUME or RESTART was not
        self.listener: Optional[Listener] = None

    def add(self, event: str, hook: Hook, deadline: float = 0) -> None:
        """Adds a hook, which counts from the next snapshot on."""
        with self._lock:
            self._by_event[event].append(hook)
            self._deadline = max(self._deadline, deadline)
            if self.listener is None and _connection.path():
                self.listener = Listener(self)
            self._register()

    def remove(self, event: str, hook: Hook) -> None:
        with self._lock:
            self._by_event[event].remove(hook)
            self._register()

    def _register(self) -> None:
        if self.listener is not None and self.listener.connected:
            self.listener.register()

    def wanted(self) -> Line:
        """What is to be registered for."""
        events = [event for event, hooks in self._by_event.items() if hooks]
        if BEFORE in events:  # who has prepared is told how it went
            events = [BEFORE, RESUME, RESTART, FAILED]
        return {"events": events, "deadline_ms": int(self._deadline * 1000)}

    def handle(self, event: str) -> str:
        """Calls the hooks of an event, and gives the reason to refuse, if any."""
        if event == BEFORE:
            self._prepared = True
            return self._prepare()
        if event != FAILED:
            self._undo(event)
        elif self._prepared:  # it failed before it was RESUME
            self._undo(RESUME)
        return ""

    def _prepare(self) -> str:
        for hook in list(self._by_event[BEFORE]):
            try:
                hook()
            except Exception as e:
                return f"{type(e).__name__}: {e}"
        return ""

    def _undo(self, event: str) -> None:
        self._prepared = False
        for hook in reversed(self._by_event[event]):
            try:
                hook()
            except Exception:
                traceback.print_exc(file=sys.stderr)

    def forget(self) -> None:
        """Leaves the hooks to the parent in a child that it has forked."""
        if self.listener is not None:
            self.listener.forget()
        self.__init__()  # type: ignore[misc]


hooks = Hooks()
os.register_at_fork(after_in_child=hooks.forget)
