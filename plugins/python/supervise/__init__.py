"""Snapshots of the program that runs, from inside.

Under ``supervise run -- python3 ...``::

    import supervise

    outcome = supervise.checkpoint("loaded")
    if outcome.restarted:
        print("I am copy", outcome.generation)

Outside supervision everything here does nothing, so that a program needs no
second version.
"""

from __future__ import annotations

import dataclasses
import datetime
import threading
from typing import Any, Callable, Dict, List, Mapping, Optional, TypeVar, Union, overload

from . import _connection, _holds, _hooks
from ._connection import SuperviseError
from ._holds import no_checkpoint

__all__ = [
    "Outcome", "Session", "Status", "SuperviseError", "after_restart", "after_resume", "annotate", "before_checkpoint",
    "checkpoint", "enabled", "generation", "no_checkpoint", "prompt", "remove", "restore", "sessions", "status",
]

F = TypeVar("F", bound=Callable[[], object])


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a checkpoint ended: the original goes on, or a restarted copy does."""

    outcome: str  #: "resumed", "restarted", or "absent" outside supervision
    generation: int = 0  #: restarts that lie behind this process
    image: str = ""  #: directory of the snapshot
    snapshot: str = ""  #: its name, JOB@NNNN
    pause: Optional[float] = None  #: seconds for which the tree stood still; None in a restarted copy

    @property
    def resumed(self) -> bool:
        """This is the original."""
        return self.outcome == "resumed"

    @property
    def restarted(self) -> bool:
        """This is a copy that was restarted from the snapshot."""
        return self.outcome == "restarted"


@dataclasses.dataclass(frozen=True)
class Session:
    """A snapshot of this job, to go back to."""

    number: int
    name: str  #: as given to checkpoint, or ""
    snapshot: str  #: JOB@NNNN
    image: str  #: its directory
    state: str  #: "good", or why not: "damaged", "unfinished", ...
    created: Optional[datetime.datetime]
    generation: int  #: of the process that it was taken of
    size: int  #: bytes of memory in it
    annotations: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Status:
    """How the job is. Pids are those that the supervisor sees."""

    job: str
    generation: int
    state: str  #: "starting", "running" or "stopped"
    processes: int
    root_pid: int
    supervisor_pid: int
    snapshots: int
    newest: str  #: JOB@NNNN, or ""
    annotations: Mapping[str, str]


def enabled() -> bool:
    """Whether a supervisor is there to be asked."""
    if not _connection.path():
        return False
    try:
        generation()
    except SuperviseError as e:
        if e.code == _connection.GONE:
            return False
        raise
    return True


def generation() -> int:
    """How many restarts lie behind this process; 0 outside supervision."""
    if not _connection.path():
        return 0
    return int(_connection.pool.call("hello", {"version": _connection.VERSION})["generation"])


def checkpoint(name: Optional[str] = None) -> Outcome:
    """Takes a snapshot of the whole tree of processes, and returns when it is on
    the disk and the hooks have run.

    It returns once more in every copy that is restarted from the snapshot. name
    is kept with it. If the snapshot fails, there is a SuperviseError, and the
    program is as before.
    """
    if not _connection.path():
        return Outcome("absent")
    if _holds.depth() > 0:
        raise SuperviseError("held", "this thread holds snapshots back itself", "leave the block of no_checkpoint first")
    params = {} if name is None else {"name": name}
    listener = _hooks.hooks.listener
    if listener is None or not listener.connected:
        return _outcome(_connection.pool.call("checkpoint", params))
    if threading.current_thread() is listener.thread:
        raise SuperviseError("refused", "a hook cannot take a snapshot: it is part of one")
    return _outcome(listener.call("checkpoint", params))


def _outcome(answer: Dict[str, Any]) -> Outcome:
    pause = answer.get("pause_ms")
    return Outcome(answer["outcome"], answer["generation"], answer["image"], answer.get("snapshot", ""),
                   None if pause is None else pause / 1000)


def sessions() -> List[Session]:
    """The snapshots of this job, the oldest first."""
    if not _connection.path():
        return []
    return [_session(entry) for entry in _connection.pool.call("list", {})["snapshots"]]


def _session(entry: Dict[str, Any]) -> Session:
    annotations = entry.get("annotations") or {}
    return Session(entry["number"], annotations.get("name", ""), entry["snapshot"], entry["image"], entry["state"],
                   _time(entry.get("created")), entry["generation"], entry["page_bytes"], annotations)


def _time(text: Optional[str]) -> Optional[datetime.datetime]:
    """Reads RFC 3339, which may have more digits than fromisoformat of Python 3.9 takes."""
    if not text:
        return None
    seconds, rest = text[:19], text[19:].lstrip(".0123456789").replace("Z", "+00:00")
    return datetime.datetime.fromisoformat(seconds + rest)


Which = Union[Session, int, str]


def _find(which: Which) -> Union[int, str]:
    """What the protocol calls a snapshot. A name stands for the newest that has it."""
    if isinstance(which, Session):
        return which.number
    if isinstance(which, int):
        return which
    for session in reversed(sessions()):
        if session.name == which:
            return session.number
    if which.isdigit() or "@" in which:
        return which
    raise SuperviseError("no-image", f"no snapshot has the name {which!r}")


def restore(session: Optional[Which] = None) -> None:
    """Goes back to a snapshot: this process and the rest of the tree are replaced
    by those of the snapshot, on the same terminal.

    session is one of sessions(), its number, its name or JOB@NNNN; the default
    is the newest good one. This function does not return: either
    there is a SuperviseError, and nothing has happened, or checkpoint() returns
    in the process that comes back.
    """
    if not _connection.path():
        return
    params = {} if session is None else {"snapshot": _find(session)}
    _connection.pool.call("restore", params)


def remove(session: Which) -> None:
    """Removes a snapshot for good. session is as for restore()."""
    if _connection.path():
        _connection.pool.call("remove", {"snapshot": _find(session)})


def status() -> Optional[Status]:
    """How the job is; None outside supervision."""
    if not _connection.path():
        return None
    s = _connection.pool.call("status", {})
    return Status(s["job"], s["generation"], s["state"], s["processes"], s["root_pid"], s["supervisor_pid"],
                  s["snapshots"], s["newest"], s.get("annotations") or {})


def annotate(**values: Optional[str]) -> Dict[str, str]:
    """Sets strings that later snapshots of the job carry; None removes one. Gives all."""
    if not _connection.path():
        return {}
    annotations: Dict[str, str] = _connection.pool.call("annotate", {"set": values})["annotations"]
    return annotations


@overload
def before_checkpoint(hook: F) -> F: ...


@overload
def before_checkpoint(*, deadline: float) -> Callable[[F], F]: ...


def before_checkpoint(hook: Optional[F] = None, *, deadline: float = 5.0) -> Union[F, Callable[[F], F]]:
    """Decorator: call this before each snapshot, in the order of registration.

    An exception refuses the snapshot, as does taking longer than deadline
    seconds (at most 60). Hooks run in a thread of their own, and belong to the
    process that has registered them: forked children have none.
    """
    if hook is None:
        return lambda later: _add(_hooks.BEFORE, later, deadline)
    return _add(_hooks.BEFORE, hook, deadline)


def after_resume(hook: F) -> F:
    """Decorator: call this when the original goes on after a snapshot, or after
    one that failed when before_checkpoint hooks had been called; in the reverse order of registration."""
    return _add(_hooks.RESUME, hook)


def after_restart(hook: F) -> F:
    """Decorator: call this in a restarted copy, in the reverse order of registration."""
    return _add(_hooks.RESTART, hook)


def _add(event: str, hook: F, deadline: float = 0.0) -> F:
    _hooks.hooks.add(event, hook, deadline)
    return hook


def load_ipython_extension(shell: Any) -> None:
    """%load_ext supervise"""
    from . import ipython

    ipython.load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """%unload_ext supervise"""
    from . import ipython

    ipython.unload(shell)


from ._prompt import prompt  # noqa: E402  it uses what is above
