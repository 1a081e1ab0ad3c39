"""Connections to the supervisor: lines of the control protocol (docs/protocol.md)."""

from __future__ import annotations

import itertools
import json
import os
import socket
import threading
import time
from typing import Any, Dict, List, Optional

Line = Dict[str, Any]

VERSION = 1
VARIABLE = "SUPERVISE_SOCKET"

# How long to wait for another supervisor to take the path over.
PATIENCE = 2.0

# The code of an error of ours: nobody answers.
GONE = "gone"


class SuperviseError(Exception):
    """A request that was not carried out.

    code is one of docs/protocol.md, or "gone": the supervisor does not answer.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def path() -> str:
    """Where the supervisor listens, or "" outside supervision."""
    return os.environ.get(VARIABLE, "")


def result(line: Line) -> Line:
    """What an answer says."""
    error = line.get("error")
    if error is not None:
        raise SuperviseError(error.get("code", "failed"), error.get("message", ""), error.get("hint", ""))
    answer: Line = line.get("result", {})
    return answer


def connect(where: str) -> socket.socket:
    """Connects, also where another supervisor is about to listen."""
    end = time.monotonic() + PATIENCE
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(where)
            return sock
        except (ConnectionRefusedError, FileNotFoundError) as e:
            sock.close()
            if time.monotonic() > end:
                raise SuperviseError(GONE, f"no supervisor answers at {where}: {e.strerror}") from e
        except OSError as e:
            sock.close()
            raise SuperviseError(GONE, f"connect to {where}: {e.strerror}") from e
        except BaseException:
            sock.close()
            raise
        time.sleep(PATIENCE / 40)


class Connection:
    """One connection. It is part of a snapshot, as the rest of the process, and
    leads to the supervisor of the copy in a restarted one."""

    def __init__(self, where: str) -> None:
        self._in = b""
        self._ids = itertools.count(1)
        self._sock = connect(where)

    def close(self) -> None:
        self._sock.close()

    def __del__(self) -> None:
        if hasattr(self, "_sock"):
            self.close()  # the thread that it belonged to has ended

    def idle(self) -> bool:
        """Whether the other end is there and has nothing to say."""
        try:
            self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return not self._in
        except OSError:
            pass
        return False

    def send(self, line: Line) -> None:
        try:
            self._sock.sendall(json.dumps(line).encode() + b"\n")
        except OSError as e:
            raise SuperviseError(GONE, f"the supervisor has gone: {e.strerror}") from e

    def receive(self) -> Line:
        """Waits for the next line."""
        while b"\n" not in self._in:
            try:
                chunk = self._sock.recv(1 << 16)
            except OSError as e:
                raise SuperviseError(GONE, f"the supervisor has gone: {e.strerror}") from e
            if not chunk:
                raise SuperviseError(GONE, "the supervisor has gone")
            self._in += chunk
        text, _, self._in = self._in.partition(b"\n")
        line: Line = json.loads(text)
        return line

    def request(self, request: str, params: Line) -> int:
        """Sends a request and gives its id."""
        number = next(self._ids)
        self.send({"id": number, "request": request, **params})
        return number

    def call(self, request: str, params: Line) -> Line:
        """Sends a request and waits for its answer. Nothing else may come."""
        number = self.request(request, params)
        line = self.receive()
        if line.get("id", number) != number:
            raise SuperviseError("malformed", f"{request}: an answer to another request came")
        return result(line)


class Pool:
    """Connections that wait for requests. One that is open reaches the supervisor
    also where a restarted copy cannot be found by its path any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: List[Connection] = []

    def call(self, request: str, params: Line) -> Line:
        connection = self._take() or Connection(path())
        try:
            answer = connection.call(request, params)
        except SuperviseError as e:
            if e.code == GONE:
                connection.close()
            else:
                self._give(connection)
            raise
        except BaseException:  # such as KeyboardInterrupt: its answer is still to come
            connection.close()
            raise
        self._give(connection)
        return answer

    def _take(self) -> Optional[Connection]:
        with self._lock:
            while self._free:
                connection = self._free.pop()
                if connection.idle():
                    return connection
                connection.close()
        return None

    def _give(self, connection: Connection) -> None:
        with self._lock:
            if not self._free:
                self._free.append(connection)
                return
        connection.close()

    def forget(self) -> None:
        """Closes the connections of the parent in a child that it has forked."""
        self._lock = threading.Lock()
        for connection in self._free:
            connection.close()
        self._free = []


pool = Pool()
os.register_at_fork(after_in_child=pool.forget)
