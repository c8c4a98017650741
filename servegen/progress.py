"""How stages tell what they are doing; the command line decides how that looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Progress(Protocol):
    """Receives progress from every stage; calls may come from several threads."""

    def step(self, text: str) -> None:
        """Something a user waits for begins or ended, in one line."""

    def warn(self, text: str) -> None:
        """Something that does not stop the work but that the user should know."""

    def program(self, argv: Sequence[str]) -> None:
        """An outside program is about to run."""

    def bytes(self, task: str, done: int, total: int) -> None:
        """`done` of `total` bytes of `task`, such as `upload model`; `done == total` ends the task."""


class Silent:
    """Drops everything; for callers that only want the result."""

    def step(self, text: str) -> None:
        """Drop it."""

    def warn(self, text: str) -> None:
        """Drop it."""

    def program(self, argv: Sequence[str]) -> None:
        """Drop it."""

    def bytes(self, task: str, done: int, total: int) -> None:
        """Drop it."""


_CHECK: type[Progress] = Silent
