"""The names of DMTCP's Python module, for scripts that were written for it.

``import supervise.dmtcp as dmtcp``, or, for a script that is to stay as it is,
``supervise run -- python3 -m supervise.dmtcp SCRIPT ARGUMENT...``.
"""

from __future__ import annotations

import os
import runpy
import sys
from typing import List, Optional

import supervise
from supervise import Outcome, Session, SuperviseError

_last: Optional[Outcome] = None
_sessions: List[Session] = []
_critical: List[supervise.no_checkpoint] = []


class _Enabled:
    """A flag that may also be called."""

    def __bool__(self) -> bool:
        return supervise.enabled()

    def __call__(self) -> bool:
        return bool(self)

    def __repr__(self) -> str:
        return repr(bool(self))


isEnabled = _Enabled()


def checkpoint() -> None:
    """Takes a snapshot. isResume() and isRestart() tell in which copy it returned."""
    global _last
    _last = supervise.checkpoint()


def isResume() -> bool:
    return _last is not None and _last.resumed


def isRestart() -> bool:
    return _last is not None and _last.restarted


def numProcesses() -> int:
    s = supervise.status()
    return s.processes if s else 0


def isRunning() -> bool:
    s = supervise.status()
    return s is not None and s.state == "running"


def numCheckpoints() -> int:
    """How many snapshots of the job there are."""
    s = supervise.status()
    return s.snapshots if s else 0


def numRestarts() -> int:
    return supervise.generation()


def checkpointFilename() -> str:
    """The directory of the newest snapshot."""
    s = supervise.sessions()
    return s[-1].image if s else ""


def checkpointFilesDir() -> str:
    """A directory for files that go with the newest snapshot."""
    image = checkpointFilename()
    return image + "_files" if image else ""


def uniquePidStr() -> str:
    s = supervise.status()
    return f"{s.job}-{os.getpid()}" if s else ""


def disableCkpt() -> None:
    """Holds snapshots back until enableCkpt(), for an hour at most. Calls nest."""
    hold = supervise.no_checkpoint(timeout=3600)
    hold.__enter__()
    _critical.append(hold)


def enableCkpt() -> None:
    if _critical:
        _critical.pop().__exit__(None, None, None)


def createSessionList() -> None:
    global _sessions
    _sessions = [s for s in supervise.sessions() if s.state == "good"]


def listSessions() -> None:
    """Prints the snapshots with the numbers that restore() takes."""
    createSessionList()
    for n, s in enumerate(_sessions, 1):
        print(f"[{n}]({s.created}, {s.snapshot})")


def _session(sessionId: int) -> Session:
    """0 is the newest, 1 the first of the list."""
    if not _sessions or sessionId == 0:
        createSessionList()
    if not _sessions:
        raise SuperviseError("no-image", "there is no snapshot yet")
    if not 0 <= sessionId <= len(_sessions):
        raise SuperviseError("no-image", f"there are {len(_sessions)} sessions, and no session {sessionId}")
    return _sessions[sessionId - 1]


def restore(sessionId: int = 0) -> None:
    """Goes back to a snapshot; 0 is the newest."""
    if isEnabled:
        supervise.restore(_session(sessionId))


def removeSession(sessionId: int) -> None:
    if isEnabled:
        supervise.remove(_session(sessionId))
        createSessionList()


def _graphics() -> None:
    raise NotImplementedError("start the X server below supervise too, such as Xvnc, so that it is part of the snapshot")


startGraphics = showGraphics = stopGraphics = _graphics


def main(argv: List[str]) -> None:
    """Runs a script that imports dmtcp; without one, tells how the job is."""
    sys.modules["dmtcp"] = sys.modules[__name__]
    if argv:
        sys.argv = argv
        sys.path[0] = os.path.dirname(argv[0]) or "."
        runpy.run_path(argv[0], run_name="__main__")
        return
    print("Enabled:", bool(isEnabled))
    if isEnabled:
        print("isRunning:", isRunning())
        print("numProcesses:", numProcesses())
        print("numCheckpoints:", numCheckpoints())
        print("numRestarts:", numRestarts())
        print("checkpointFilename:", checkpointFilename())


if __name__ == "__main__":
    main(sys.argv[1:])
