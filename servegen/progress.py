"""How stages tell what they are doing; the command line decides how that looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    def awaiting(self, title: str, states: Mapping[str, str]) -> None:
        """What is waited for changed: `title` tells the whole, `states` each part that is not there yet."""


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

    def awaiting(self, title: str, states: Mapping[str, str]) -> None:
        """Drop it."""


class Labelled:
    """Progress of one of several that are at work: every line begins with its name."""

    def __init__(self, name: str, progress: Progress) -> None:
        self._name, self._progress = name, progress

    def step(self, text: str) -> None:
        """With the name."""
        self._progress.step(f"{self._name}: {text}")

    def warn(self, text: str) -> None:
        """With the name."""
        self._progress.warn(f"{self._name}: {text}")

    def program(self, argv: Sequence[str]) -> None:
        """As it is."""
        self._progress.program(argv)

    def bytes(self, task: str, done: int, total: int) -> None:
        """With the name."""
        self._progress.bytes(f"{self._name}: {task}", done, total)

    def awaiting(self, title: str, states: Mapping[str, str]) -> None:
        """As steps: several share one terminal."""
        self.step(in_one_line(title, states))


def in_one_line(title: str, states: Mapping[str, str]) -> str:
    """What is waited for, where there is one line for it."""
    parts = ", ".join(f"{part} {state}" for part, state in states.items())
    return f"{title}: {parts}" if parts else title


_CHECK: type[Progress] = Silent
