"""Parts of the program in which no snapshot is taken."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from typing import Any, Optional

from . import _connection, _hooks
from ._connection import Connection, SuperviseError


class _Thread(threading.local):
    """The holds of a thread: a connection of its own, so that they end when it
    ends, whatever happens to it."""

    pid = 0
    depth = 0
    connection: Optional[Connection] = None


_thread = _Thread()


def depth() -> int:
    """How deep the calling thread holds snapshots back."""
    return _thread.depth if _thread.pid == os.getpid() else 0


def hold(timeout: float) -> None:
    listener = _hooks.hooks.listener
    if listener is not None and threading.current_thread() is listener.thread:
        raise SuperviseError("refused", "a hook cannot hold the snapshot back that it is part of")
    if _thread.pid != os.getpid():  # a forked child has the holds of nobody
        if _thread.connection is not None:
            _thread.connection.close()
        _thread.pid, _thread.depth, _thread.connection = os.getpid(), 0, None
    if _thread.connection is None:
        _thread.connection = Connection(_connection.path())
    try:
        _thread.connection.call("hold", {"timeout_ms": int(timeout * 1000)})
        _thread.depth += 1
    except BaseException:
        if _thread.depth == 0:
            _close()
        raise


def release() -> None:
    if depth() == 0 or _thread.connection is None:
        return  # a forked child leaves a block that its parent has entered
    _thread.depth -= 1
    try:
        _thread.connection.call("release", {})
    except SuperviseError as e:
        warnings.warn(f"snapshots were not held back until the end of the block: {e}", RuntimeWarning, stacklevel=3)
    finally:
        if _thread.depth == 0:
            _close()


def _close() -> None:
    if _thread.connection is not None:
        _thread.connection.close()
        _thread.connection = None


class no_checkpoint(contextlib.ContextDecorator):
    """Holds snapshots back while a block, or a decorated function, runs.

    A snapshot that is wanted meanwhile waits. Blocks nest, each thread has its
    own, and a block that takes longer than timeout seconds (at most an hour),
    or whose thread ends, holds nothing back any more. If that was so at its
    end, there is a RuntimeWarning.
    """

    def __init__(self, timeout: float = 30.0) -> None:
        self._timeout = timeout

    def __enter__(self) -> None:
        if _connection.path():
            hold(self._timeout)

    def __exit__(self, *exc: Any) -> None:
        release()
