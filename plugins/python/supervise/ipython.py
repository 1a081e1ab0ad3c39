"""The IPython extension: ``%load_ext supervise``.

    %checkpoint [NAME]      take a snapshot of the session
    %sessions               list the snapshots
    %restore [N|NAME]       go back to one, by default to the newest
    %autocheckpoint [on|off|N]  take one after every cell, and keep the newest N (20)
    %undo [N]               go back to before the last cell, or the last N
"""

from __future__ import annotations

import re
import time
from typing import Any, List, Optional, Tuple, Type

import supervise
from supervise import Outcome, Session, SuperviseError

from . import _hooks

KEEP = 20

_AUTOMATIC = re.compile(r"after In \[(\d+)\]")

_extension: Optional["Extension"] = None


class Extension:
    """What the extension has put into a shell."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.generation = supervise.generation() if supervise.enabled() else 0
        self.keep = 0  # automatic snapshots, or 0
        self._restarted = False
        self._prompts = shell.prompts if hasattr(shell, "prompts") else None

    def load(self) -> None:
        shell = self.shell
        for magic in (self.checkpoint, self.sessions, self.restore, self.autocheckpoint, self.undo):
            shell.register_magic_function(magic, "line", magic.__name__)
        shell.events.register("pre_execute", self._before_cell)
        shell.events.register("post_run_cell", self._after_cell)
        if self._prompts is not None:
            shell.prompts = _prompts(type(self._prompts), self)(shell)
        _hooks.hooks.add(_hooks.RESTART, self._on_restart)

    def unload(self) -> None:
        shell = self.shell
        for magic in ("checkpoint", "sessions", "restore", "autocheckpoint", "undo"):
            shell.magics_manager.magics["line"].pop(magic, None)
        shell.events.unregister("pre_execute", self._before_cell)
        shell.events.unregister("post_run_cell", self._after_cell)
        if self._prompts is not None:
            shell.prompts = self._prompts
        _hooks.hooks.remove(_hooks.RESTART, self._on_restart)

    def checkpoint(self, line: str) -> None:
        """%checkpoint [NAME]: take a snapshot of the session."""
        self._say(lambda: self._take(line.strip() or None))

    def sessions(self, line: str) -> None:
        """%sessions: list the snapshots that %restore takes."""
        self._say(self._list)

    def restore(self, line: str) -> None:
        """%restore [N|NAME]: go back to a snapshot, by default to the newest."""
        which = line.strip()
        self._say(lambda: supervise.restore(int(which) if which.isdigit() else which or None))

    def autocheckpoint(self, line: str) -> None:
        """%autocheckpoint [on|off|N]: take a snapshot after every cell, and keep the newest N of these."""
        argument = line.strip()
        if argument == "off":
            self.keep = 0
        elif argument in ("", "on"):
            self.keep = KEEP
        elif argument.isdigit() and int(argument) > 0:
            self.keep = int(argument)
        else:
            print("%autocheckpoint on, off, or how many to keep")

    def undo(self, line: str) -> None:
        """%undo [N]: go back to before the last cell, or the last N. Needs %autocheckpoint."""
        argument = line.strip() or "1"
        if not argument.isdigit():
            print("%undo, or how many cells")
            return
        n = int(argument)
        target = self.shell.execution_count - 1 - n  # this one is not counted
        found = self._newest_after(target)
        if found is None:
            print(f"there is no snapshot after In [{target}]; %autocheckpoint takes them, %sessions lists them")
            return
        self._say(lambda: supervise.restore(found))

    def _newest_after(self, cell: int) -> Optional[Session]:
        for count, session in reversed(_automatic()):
            if count == cell and session.state == "good":
                return session
        return None

    def _say(self, action: Any) -> None:
        """Does it, and prints an error as one line."""
        if not supervise.enabled():
            print("this session does not run under supervise: start it with supervise run -- ipython3")
            return
        try:
            action()
        except SuperviseError as e:
            print(f"supervise: {e}")

    def _take(self, name: Optional[str]) -> None:
        start = time.monotonic()
        outcome = self._snapshot(name)
        if outcome.restarted:
            print(f"back at {_title(outcome, name)}, generation {outcome.generation}")
        else:
            print(f"{_title(outcome, name)} taken in {1000 * (time.monotonic() - start):.0f} ms")

    def _snapshot(self, name: Optional[str]) -> Outcome:
        """Takes a snapshot with the history on the disk."""
        history = self.shell.history_manager
        if history is not None and history.enabled:
            history.writeout_cache()
        outcome = supervise.checkpoint(name)
        self.generation = outcome.generation
        return outcome

    def _list(self) -> None:
        for s in supervise.sessions():
            created = s.created.astimezone().strftime("%Y-%m-%d %H:%M:%S") if s.created else ""
            state = "" if s.state == "good" else f" ({s.state})"
            print(f"{s.number:4}  {created:19}  {s.size / (1 << 20):8.1f} MiB  {s.name}{state}")

    def _before_cell(self) -> None:
        """Has a restarted copy write its history as a session of its own: the
        original may have used these line numbers already."""
        if self._restarted:
            self._restarted = False
            history = self.shell.history_manager
            if history is not None and history.enabled:
                history.new_session()

    def _after_cell(self, result: Any = None) -> None:
        if not self.keep or result is None or not result.info.store_history or not supervise.enabled():
            return
        cell = result.execution_count
        try:
            outcome = self._snapshot(f"after In [{cell}]")
            if outcome.restarted:
                print(f"back after In [{cell}], generation {outcome.generation}")
                return
            for _, session in _automatic()[:-self.keep]:
                supervise.remove(session)
        except SuperviseError as e:
            print(f"supervise: no snapshot after this cell: {e}")

    def _on_restart(self) -> None:
        """A restarted copy goes on, wherever in the session it is."""
        self._restarted = True
        self.generation += 1
        session = getattr(self.shell, "pt_app", None)
        if session is not None and session.app.is_running:  # it waits for input
            from prompt_toolkit.formatted_text import PygmentsTokens

            session.message = PygmentsTokens(self.shell.prompts.in_prompt_tokens())
            session.app.invalidate()


def _automatic() -> List[Tuple[int, Session]]:
    """The snapshots that were taken after cells, the oldest first."""
    found = []
    for session in supervise.sessions():
        match = _AUTOMATIC.fullmatch(session.name)
        if match:
            found.append((int(match.group(1)), session))
    return found


def _title(outcome: Outcome, name: Optional[str]) -> str:
    return f"{outcome.snapshot} ({name})" if name else outcome.snapshot


def _prompts(base: Type[Any], extension: Extension) -> Type[Any]:
    """The prompts of a shell, with the generation in front."""

    class Prompts(base):  # type: ignore[misc]
        def in_prompt_tokens(self) -> Any:
            from pygments.token import Token  # type: ignore[import]

            tokens = super().in_prompt_tokens()
            if supervise._connection.path():
                tokens.insert(0, (Token.Prompt, f"[{extension.generation}] "))
            return tokens

    return Prompts


def load(shell: Any) -> None:
    global _extension
    if _extension is None:
        _extension = Extension(shell)
        _extension.load()


def unload(shell: Any) -> None:
    global _extension
    if _extension is not None:
        _extension.unload()
        _extension = None


load_ipython_extension = load
unload_ipython_extension = unload
