"""Work in the background: one thing a model at a time, and what is newer replaces what waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

Work = Callable[[], None]


@dataclass(kw_only=True)
class _Lane:
    """The work of one model: at most one runs, and of each part at most one waits."""

    waiting: dict[str, Work] = field(default_factory=dict)
    busy: bool = False


class Runner:
    """Threads that share the work of many models; what work raises ends all of it."""

    def __init__(self, workers: int) -> None:
        self._lanes: dict[str, _Lane] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._broken: BaseException | None = None
        self._threads = [threading.Thread(target=self._pull, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, model: str, part: str, work: Work) -> None:
        """Do `work` when nothing else of `model` is done; it replaces what waits for the same `part`."""
        with self._changed:
            if self._stopping:
                return
            self._lanes.setdefault(model, _Lane()).waiting[part] = work
            self._changed.notify()

    def check(self) -> None:
        """Raise what some work has raised."""
        if self._broken is not None:
            raise self._broken

    def wait(self, seconds: float | None = None) -> bool:
        """Whether all work is done, after waiting for it; without `seconds` as long as it takes."""
        return self._until(lambda: not self._lanes, seconds)

    def stop(self, seconds: float) -> bool:
        """Drop what waits and give what runs time to end; whether it did."""
        with self._changed:
            self._stopping = True
            for lane in self._lanes.values():
                lane.waiting.clear()
            self._changed.notify_all()
        return self._until(lambda: not any(lane.busy for lane in self._lanes.values()), seconds)

    def _until(self, done: Callable[[], bool], seconds: float | None) -> bool:
        end = None if seconds is None else time.monotonic() + seconds
        with self._changed:
            while not done():
                self.check()
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return False
                # In short turns, as Python sees Ctrl-C and SIGTERM only between them.
                self._changed.wait(1 if left is None else min(left, 1))
            self.check()
            return True

    def _pull(self) -> None:
        while True:
            with self._changed:
                while (found := self._next()) is None:
                    if self._stopping:
                        return
                    self._changed.wait()
                model, work = found
            try:
                work()
            except BaseException as exc:  # noqa: BLE001 (raised again in the thread that waits)
                self._broken = exc
            finally:
                with self._changed:
                    self._lanes[model].busy = False
                    if not self._lanes[model].waiting:
                        del self._lanes[model]
                    self._changed.notify_all()

    def _next(self) -> tuple[str, Work] | None:
        for model, lane in self._lanes.items():
            if not lane.busy and lane.waiting:
                lane.busy = True
                return model, lane.waiting.pop(next(iter(lane.waiting)))
        return None
