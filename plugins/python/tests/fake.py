"""A supervisor for tests: it speaks the protocol, and takes no snapshots."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import tempfile
import threading
from typing import Any, Dict, List, Optional

Line = Dict[str, Any]


class Peer:
    """One connection, as the supervisor sees it."""

    def __init__(self, supervisor: "FakeSupervisor", sock: socket.socket) -> None:
        self.supervisor = supervisor
        self.sock = sock
        self.depth = 0
        self.events: List[str] = []
        self.deadline = 0
        self.seq = 0
        self.replies: "queue.SimpleQueue[Line]" = queue.SimpleQueue()
        supervisor.peers.append(self)
        threading.Thread(target=self._run, daemon=True).start()

    def send(self, line: Line) -> None:
        self.sock.sendall(json.dumps(line).encode() + b"\n")

    def tell(self, event: str) -> None:
        self.seq += 1
        self.send({"event": event, "seq": self.seq, "snapshot": {"job": "fake"}})

    def ask(self, event: str) -> str:
        """Sends an event, and gives the refusal."""
        self.seq += 1
        self.send({"event": event, "seq": self.seq, "deadline_ms": self.deadline, "snapshot": {"job": "fake"}})
        reply = self.replies.get(timeout=10)
        if reply["reply"] != self.seq:
            raise AssertionError(f"reply to {reply['reply']}, not {self.seq}")
        refusal: str = reply.get("refuse", "")
        return refusal

    def _run(self) -> None:
        with self.sock, self.sock.makefile("rb") as lines:
            for text in lines:
                line = json.loads(text)
                if "reply" in line:
                    self.replies.put(line)
                    continue
                threading.Thread(target=self._answer, args=(line,), daemon=True).start()
        self.supervisor.peers.remove(self)

    def _answer(self, line: Line) -> None:
        answer = getattr(self.supervisor, "on_" + line["request"])(self, line)
        if answer is not None:
            with contextlib.suppress(OSError):  # it has gone meanwhile
                self.send({"id": line["id"], **answer})


class FakeSupervisor:
    """Listens in a directory of its own, and is in $SUPERVISE_SOCKET until close()."""

    def __init__(self) -> None:
        self.dir = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.dir.name, "control")
        self.peers: List[Peer] = []
        self.generation = 0
        self.snapshots: List[Line] = []
        self.annotations: Dict[str, str] = {}
        self.restored: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        self.outcome = "resumed"
        self.listen()
        os.environ["SUPERVISE_SOCKET"] = self.path

    def listen(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(self.path)
        self.sock.listen()
        threading.Thread(target=self._accept, args=(self.sock,), daemon=True).start()

    def _accept(self, sock: socket.socket) -> None:
        while True:
            try:
                peer, _ = sock.accept()
            except OSError:
                return
            Peer(self, peer)

    def stop(self) -> None:
        """Ends as if it had been killed."""
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        os.unlink(self.path)
        for peer in list(self.peers):
            with contextlib.suppress(OSError):  # it has gone meanwhile
                peer.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        del os.environ["SUPERVISE_SOCKET"]
        if os.path.exists(self.path):
            self.stop()
        self.dir.cleanup()

    def registered(self, event: str) -> List[Peer]:
        return [peer for peer in self.peers if event in peer.events]

    def on_hello(self, peer: Peer, line: Line) -> Optional[Line]:
        if line["version"] != 1:
            return {"error": {"code": "version", "message": "version"}}
        return {"result": {"version": 1, "program": "0", "job": "fake", "generation": self.generation}}

    def on_status(self, peer: Peer, line: Line) -> Optional[Line]:
        return {"result": {
            "job": "fake", "generation": self.generation, "state": "running", "processes": 2, "root_pid": 7,
            "supervisor_pid": 6, "snapshots": len(self.snapshots), "newest": "", "annotations": self.annotations,
            "later": "fields that nobody knows"}}

    def on_checkpoint(self, peer: Peer, line: Line) -> Optional[Line]:
        if len(line.get("name", "")) > 200:
            return {"error": {"code": "malformed", "message": "the name is too long"}}
        prepared: List[Peer] = []
        for one in self.registered("before-freeze"):
            prepared.append(one)
            refusal = one.ask("before-freeze")
            if refusal:
                for told in prepared:
                    told.tell("failed")
                return {"error": {"code": "refused", "message": refusal, "hint": "later"}}
        for one in self.registered(self.outcome):
            one.tell(self.outcome)
        if self.outcome == "restarted":
            self.generation += 1
        number = len(self.snapshots) + 1
        self.snapshots.append({
            "snapshot": f"fake@{number:04}", "number": number, "image": f"/fake/{number:04}", "state": "good",
            "created": f"2026-01-31T12:00:0{number}.123456789Z", "generation": self.generation, "page_bytes": 4096,
            "annotations": {"name": line["name"]} if "name" in line else None})
        return {"result": {"outcome": self.outcome, "generation": self.generation, "image": f"/fake/{number:04}",
                           "snapshot": f"fake@{number:04}", "pause_ms": 4.5}}

    def on_list(self, peer: Peer, line: Line) -> Optional[Line]:
        return {"result": {"snapshots": self.snapshots}}

    def on_restore(self, peer: Peer, line: Line) -> Optional[Line]:
        if line.get("snapshot") == "fake@0009":
            return {"error": {"code": "no-image", "message": "there is no such snapshot"}}
        self.restored.put(line.get("snapshot"))
        peer.sock.shutdown(socket.SHUT_RDWR)  # as the end of the tree would
        return None

    def on_remove(self, peer: Peer, line: Line) -> Optional[Line]:
        self.snapshots = [s for s in self.snapshots if s["number"] != line["snapshot"]]
        return {"result": {"removed": str(line["snapshot"])}}

    def on_hold(self, peer: Peer, line: Line) -> Optional[Line]:
        peer.depth += 1
        return {"result": {"owner": "", "depth": peer.depth}}

    def on_release(self, peer: Peer, line: Line) -> Optional[Line]:
        if peer.depth == 0:
            return {"error": {"code": "failed", "message": "holds nothing back"}}
        peer.depth -= 1
        return {"result": {"owner": "", "depth": peer.depth}}

    def on_register(self, peer: Peer, line: Line) -> Optional[Line]:
        peer.events, peer.deadline = line["events"], line["deadline_ms"]
        return {"result": {"events": peer.events}}

    def on_annotate(self, peer: Peer, line: Line) -> Optional[Line]:
        for key, value in line["set"].items():
            if value is None:
                self.annotations.pop(key, None)
            else:
                self.annotations[key] = value
        return {"result": {"annotations": self.annotations}}
