"""Lines on a terminal that follow what is waited for: one for the whole and one for each part."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Group


class Lines:
    """A region at the end of the terminal; other output appears above it."""

    def __init__(self) -> None:
        from rich.console import Console as Terminal
        from rich.live import Live
        from rich.spinner import Spinner

        self._title = ""
        # Made once, so that it turns.
        self._spinner = Spinner("dots")
        self._states: dict[str, tuple[str, float]] = {}
        """Of each part, and since when."""
        # Nobody sees more than the terminal has, and the parts are what may be many.
        self._live = Live(
            get_renderable=self._render,
            console=Terminal(stderr=True),
            transient=True,
            vertical_overflow="ellipsis",
        )
        self._live.start()

    def show(self, title: str, states: Mapping[str, str]) -> None:
        """Show this from now on."""
        now = time.monotonic()
        self._states = {
            part: self._states[part]
            if part in self._states and self._states[part][0] == state
            else (state, now)
            for part, state in states.items()
        }
        self._title = title

    def print(self, text: str) -> None:
        """One line above the region."""
        self._live.console.print(text, markup=False, highlight=False)

    def stop(self) -> None:
        """Take the region away."""
        self._live.stop()

    def _render(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        now = time.monotonic()
        width = max(map(len, self._states), default=0)
        self._spinner.update(text=Text(self._title))
        parts = [
            Text(f"  {part:{width}}  {state}  {now - since:.0f} s")
            for part, (state, since) in self._states.items()
        ]
        return Group(self._spinner, *parts)
