"""Threads: one fed pieces of a stream, a few that share a list of jobs, and one that waits for a word."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress


class Worker:
    """Calls `feed` with every piece, in order; an error in it is raised at the next `put` or in `finish`."""

    def __init__(self, feed: Callable[[bytes], object]) -> None:
        self._feed = feed
        # Bounds what one stream holds in memory.
        self._queue: queue.Queue[bytes | None] = queue.Queue(8)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (piece := self._queue.get()) is not None:
            # After an error the queue is still drained, or `put` would wait forever.
            if self._error is None:
                try:
                    self._feed(piece)
                except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                    self._error = error

    def put(self, piece: bytes) -> None:
        """Hands over a piece; waits while the thread is far behind."""
        if self._error is not None:
            raise self._error
        self._queue.put(piece)

    def finish(self) -> None:
        """Waits until every piece went through; raises the error that stopped it."""
        self.abandon()
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        """Ends the thread and forgets its error; may be called twice."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()


class StoppedError(Exception):
    """Another job failed, so this one need not go on."""


class Jobs:
    """Runs jobs on a few threads; the first error, or Ctrl-C, stops them all."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._stop = threading.Event()

    def checkpoint(self) -> None:
        """To be called by a long job now and then; raises StoppedError when it should end."""
        if self._stop.is_set():
            raise StoppedError

    def run(self, jobs: Iterable[Callable[[], object]]) -> None:
        """Returns when all jobs ended; raises the first error of one of them."""
        with ThreadPoolExecutor(self._threads) as pool:
            running = [pool.submit(job) for job in jobs]
            try:
                wait(running, return_when=FIRST_EXCEPTION)
            finally:
                self._stop.set()
                for each in running:
                    each.cancel()
        errors = [each.exception() for each in running if not each.cancelled()]
        failed = [error for error in errors if error and not isinstance(error, StoppedError)]
        if failed:
            raise failed[0]


class Approval:
    """Whether what a thread prepares may be published; withdrawn at the end of the `with` block."""

    def __init__(self, *, given: bool = False) -> None:
        self._decided = threading.Event()
        self._withdrawn = False
        if given:
            self._decided.set()

    def __enter__(self) -> Approval:
        return self

    def __exit__(self, *error: object) -> None:
        # After the work was done nobody asks any more; else it failed here, or Ctrl-C came.
        self._withdrawn = True
        self._decided.set()

    def give(self) -> None:
        """What is prepared is good."""
        self._decided.set()

    def checkpoint(self) -> None:
        """To be called by a long job now and then; raises StoppedError when it should end."""
        if self._withdrawn:
            raise StoppedError

    def wait(self) -> None:
        """Returns when the approval is given; raises StoppedError when it is withdrawn."""
        self._decided.wait()
        self.checkpoint()


class Ahead:
    """Iterates over `pieces` in a thread, a few pieces ahead of the reader; close it when done."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._source = pieces
        self._queue: queue.Queue[bytes | None] = queue.Queue(8)
        self._error: BaseException | None = None
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for piece in self._source:
                if self._stop:
                    break
                self._queue.put(piece)
        except BaseException as error:  # noqa: BLE001 - raised again in the reader's thread
            self._error = error
        self._queue.put(None)

    def __iter__(self) -> Iterator[bytes]:
        while (piece := self._queue.get()) is not None:
            yield piece
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Ends the thread, whether or not everything was read."""
        self._stop = True
        while self._thread.is_alive():
            # Makes room, or the thread would wait forever to put its last piece.
            with suppress(queue.Empty):
                self._queue.get(timeout=0.01)
        self._thread.join()
