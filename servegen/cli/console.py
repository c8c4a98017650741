"""What a user sees on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shlex
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from servegen.errors import ServegenError
from servegen.redact import redacted

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_DETAIL_LINES = 30


class Console:
    """Progress as lines with the seconds they took; a bar for bytes where someone is watching."""

    def __init__(self, *, verbose: bool = False, quiet: bool = False) -> None:
        self._verbose, self._quiet = verbose, quiet
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._watched = sys.stderr.isatty() and not quiet

    def step(self, text: str) -> None:
        """One line with the time since the command began."""
        if not self._quiet:
            self._write(f"{time.monotonic() - self._start:6.1f} s  {text}")

    def warn(self, text: str) -> None:
        """A line that stands out; shown even when quiet."""
        self._write(f"warning: {text}")

    def program(self, argv: Sequence[str]) -> None:
        """The program line, when the user asked for it."""
        if self._verbose:
            self._write("+ " + shlex.join(argv))

    def bytes(self, task: str, done: int, total: int) -> None:
        """Move the task's bar."""
        if not self._watched:
            return
        with self._lock:
            if self._bars is None:
                self._bars = _bars()
                self._bars.start()
            if task not in self._tasks:
                self._tasks[task] = self._bars.add_task(task, total=total)
            self._bars.update(self._tasks[task], completed=done, total=total)
            if done >= total:
                self._bars.remove_task(self._tasks.pop(task))
            if not self._tasks:
                self._bars.stop()
                self._bars = None

    def close(self) -> None:
        """Take the bars away, also after a failure."""
        with self._lock:
            if self._bars is not None:
                self._bars.stop()
                self._bars = None
                self._tasks.clear()

    def _write(self, text: str) -> None:
        with self._lock:
            if self._bars is not None:
                self._bars.console.print(redacted(text), markup=False, highlight=False)
            else:
                Console.line(text)

    @staticmethod
    def line(text: str) -> None:
        """One line on standard error, without the logins of URLs in it."""
        print(redacted(text), file=sys.stderr, flush=True)  # noqa: T201 (the one place)

    @staticmethod
    def error(error: ServegenError) -> None:
        """What went wrong and what to try, each in one line; details, such as a pod's log, come first."""
        lines = error.details.splitlines()
        if len(lines) > _DETAIL_LINES:
            lines = [f"… {len(lines) - _DETAIL_LINES} lines left out", *lines[-_DETAIL_LINES:]]
        for line in lines:
            Console.line(f"  | {line}")
        Console.line(f"servegen: {' '.join(str(error).split())}")
        Console.line(f"hint: {error.hint}")


def _bars() -> Bars:
    from rich.console import Console as Terminal
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description:>28}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=Terminal(stderr=True), transient=True)
