"""What a user sees on standard error: bars on a terminal, plain lines elsewhere, JSON for programs."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from servegen.cli.awaiting import Lines
from servegen.errors import ServegenError, StoppedError
from servegen.progress import in_one_line
from servegen.redact import redacted

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_DETAIL_LINES = 30
_LINE_SECONDS = 10.0
"""Between two lines about one task where nobody watches a bar."""
_EVENT_SECONDS = 0.25
"""Between two events of one task."""


class Console:
    """Progress as lines with the seconds they took; a bar for bytes where someone is watching."""

    def __init__(self, *, verbose: bool = False, quiet: bool = False) -> None:
        self._verbose, self._quiet = verbose, quiet
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._bars: Bars | None = None
        self._lines: Lines | None = None
        self._tasks: dict[str, TaskID] = {}
        self._pace = _Pace(_LINE_SECONDS, first=False)
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
        """Move the task's bar; a line now and then where there are no bars."""
        if not self._watched:
            if self._pace.due(task, done, total) and done < total:
                self.step(f"{task}: {done / 1e6:.0f} of {total / 1e6:.0f} MB")
            return
        self._move(task, done, total, counted=False)

    def count(self, task: str, done: int, total: int) -> None:
        """Move the bar of a task of `total` things; where there are no bars, the things' own lines do."""
        if self._watched:
            self._move(task, done, total, counted=True)

    def _move(self, task: str, done: int, total: int, *, counted: bool) -> None:
        with self._lock:
            if self._lines is not None:
                self._lines.stop()
                self._lines = None
            if self._bars is None:
                self._bars = _bars()
                self._bars.start()
            if task not in self._tasks:
                self._tasks[task] = self._bars.add_task(task, total=total, counted=counted)
            self._bars.update(self._tasks[task], completed=done, total=total)
            if done >= total:
                self._bars.remove_task(self._tasks.pop(task))
            if not self._tasks:
                self._bars.stop()
                self._bars = None

    def awaiting(self, title: str, states: Mapping[str, str]) -> None:
        """A line for each part until all are there; one line for all of them where nobody watches."""
        if not self._watched:
            self.step(in_one_line(title, states))
            return
        with self._lock:
            # The terminal has one region that changes; bars have it while there are some.
            if self._lines is None and states and self._bars is None:
                self._lines = Lines()
            if self._lines is not None and states:
                self._lines.show(title, states)
        if not states:
            self._leave_lines()
            self.step(title)

    def _leave_lines(self) -> None:
        with self._lock:
            if self._lines is not None:
                self._lines.stop()
                self._lines = None

    def close(self) -> None:
        """Take bars and lines away, also after a failure."""
        self._leave_lines()
        with self._lock:
            if self._bars is not None:
                self._bars.stop()
                self._bars = None
                self._tasks.clear()

    def _write(self, text: str) -> None:
        with self._lock:
            if self._bars is not None:
                self._bars.console.print(redacted(text), markup=False, highlight=False)
            elif self._lines is not None:
                self._lines.print(redacted(text))
            else:
                Console.line(text)

    @staticmethod
    def line(text: str) -> None:
        """One line on standard error, without the logins of URLs in it."""
        print(redacted(text), file=sys.stderr, flush=True)  # noqa: T201 (the one place)

    @staticmethod
    def error(error: ServegenError, _exit_code: int = 1) -> None:
        """What went wrong and what to try, each in one line; details, such as a pod's log, come first."""
        lines = error.details.splitlines()
        if len(lines) > _DETAIL_LINES:
            lines = [f"… {len(lines) - _DETAIL_LINES} lines left out", *lines[-_DETAIL_LINES:]]
        for line in lines:
            Console.line(f"  | {line}")
        Console.line(f"servegen: {' '.join(str(error).split())}")
        if error.hint:
            Console.line(f"hint: {error.hint}")


class Events:
    """Progress as one JSON object a line, for programs; docs/reference/events.md describes them."""

    def __init__(self, *, verbose: bool = False, quiet: bool = False) -> None:
        self._verbose, self._quiet = verbose, quiet
        self._start = time.monotonic()
        self._pace = _Pace(_EVENT_SECONDS, first=True)

    def step(self, text: str) -> None:
        """An event `step`."""
        if not self._quiet:
            self._tell("step", text=text)

    def warn(self, text: str) -> None:
        """An event `warning`, also when quiet."""
        self._tell("warning", text=text)

    def program(self, argv: Sequence[str]) -> None:
        """An event `program`, when the user asked for them."""
        if self._verbose:
            self._tell("program", argv=[redacted(word) for word in argv])

    def bytes(self, task: str, done: int, total: int) -> None:
        """An event `bytes`, of one task at most four a second and the last one always."""
        if not self._quiet and self._pace.due(task, done, total):
            self._tell("bytes", task=task, done=done, total=total)

    def awaiting(self, title: str, states: Mapping[str, str]) -> None:
        """An event `step` at each change."""
        self.step(in_one_line(title, states))

    def count(self, task: str, done: int, total: int) -> None:
        """No event: each of the things has a step of its own."""

    def close(self) -> None:
        """Nothing is open."""

    def _tell(self, event: str, **values: object) -> None:
        Events._write(event, seconds=round(time.monotonic() - self._start, 3), **values)

    @staticmethod
    def error(error: ServegenError, exit_code: int = 1) -> None:
        """An event `error`, the last one of a command that failed."""
        Events._write(
            "error", message=str(error), hint=error.hint, details=error.details, exit_code=exit_code
        )

    @staticmethod
    def _write(event: str, **values: object) -> None:
        cleaned = {n: redacted(v) if isinstance(v, str) else v for n, v in values.items()}
        print(json.dumps({"event": event, **cleaned}), file=sys.stderr, flush=True)  # noqa: T201 (as above)


@contextlib.contextmanager
def until_stopped(text: str) -> Iterator[None]:
    """For what only Ctrl-C ends: `text` is all that it says then."""
    try:
        yield
    except KeyboardInterrupt as exc:
        raise StoppedError(text, hint="") from exc


class _Pace:
    """Which of many reports about a task are worth telling; safe for many threads."""

    def __init__(self, seconds: float, *, first: bool) -> None:
        self._seconds, self._first = seconds, first
        self._told: dict[str, float] = {}
        self._lock = threading.Lock()

    def due(self, task: str, done: int, total: int) -> bool:
        """Whether it is time again; always at the task's end."""
        now = time.monotonic()
        with self._lock:
            if done >= total:
                self._told.pop(task, None)
                return True
            if task not in self._told:
                self._told[task] = now
                return self._first
            if now - self._told[task] < self._seconds:
                return False
            self._told[task] = now
            return True


def _bars() -> Bars:
    from rich.console import Console as Terminal
    from rich.progress import BarColumn, DownloadColumn, Progress, Task, TextColumn, TransferSpeedColumn
    from rich.text import Text

    class Amount(DownloadColumn):
        """Bytes, or things where they are counted."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.completed:g}/{task.total:g}") if _counted(task) else super().render(task)

    class Speed(TransferSpeedColumn):
        """Of bytes alone."""

        def render(self, task: Task) -> Text:
            return Text() if _counted(task) else super().render(task)

    def _counted(task: Task) -> bool:
        return bool(task.fields.get("counted"))

    columns = (TextColumn("{task.description:>28}"), BarColumn(), Amount(), Speed())
    return Progress(*columns, console=Terminal(stderr=True), transient=True)
