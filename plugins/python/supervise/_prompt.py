"""The prompt of a plain ``python3 -i`` that shows the generation."""

from __future__ import annotations

import sys

import supervise


class Prompt:
    """Python calls str() of sys.ps1 anew for every prompt."""

    def __init__(self, before: object) -> None:
        self.before = before

    def __str__(self) -> str:
        try:
            return f"[{supervise.generation()}] {self.before}"
        except supervise.SuperviseError:  # the supervisor is gone
            return str(self.before)


def prompt() -> None:
    """Shows the generation in front of the prompt of a plain interactive Python."""
    before = getattr(sys, "ps1", ">>> ")
    if supervise.enabled() and not isinstance(before, Prompt):
        sys.ps1 = Prompt(before)
