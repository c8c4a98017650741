"""Progress that is kept, for tests of what users are told."""

from __future__ import annotations

from collections.abc import Mapping

from servegen.progress import Silent, in_one_line


class Recorder(Silent):
    """Keeps what a user would have read."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.warnings: list[str] = []

    def step(self, text: str) -> None:
        """Keep it."""
        self.steps.append(text)

    def warn(self, text: str) -> None:
        """Keep it."""
        self.warnings.append(text)

    def awaiting(self, title: str, states: Mapping[str, str]) -> None:
        """Keep it as one step."""
        self.steps.append(in_one_line(title, states))
