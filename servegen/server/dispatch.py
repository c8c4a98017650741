"""Between protocol and model: a bounded queue, a deadline, and the threads that call the model.

Calls arrive parsed and checked, so merging those of equal columns into a batch belongs here and nowhere else.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from queue import SimpleQueue
from time import perf_counter
from typing import Any

from servegen.server.errors import RefusedError
from servegen.server.inputs import Call
from servegen.server.metrics import Metrics
from servegen.server.predictors import Predictor

_RECENT = 0.1
"""Weight of the newest call in the mean service time."""


class Dispatcher:
    """Calls one predictor from worker threads, in order of arrival."""

    def __init__(self, *, queue_size: int, timeout: float, threads: int, metrics: Metrics) -> None:
        self._size = queue_size
        self._timeout = timeout
        self._threads = threads
        self._metrics = metrics
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._done: deque[_Job] = deque()
        self._running: list[_Job | None] = [None] * threads
        self._calls = 0
        self._streams = 0
        self._service = 0.0
        self._predictor: Predictor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        metrics.observe_queue(depth=lambda: self.waiting, in_flight=lambda: self.accepted)

    @property
    def accepted(self) -> int:
        """Calls and streams that are not answered yet."""
        return self._calls + self._streams

    @property
    def waiting(self) -> int:
        """Calls that the model has not seen yet."""
        return self._calls - sum(job is not None and not job.abandoned for job in self._running)

    def start(self, predictor: Predictor) -> None:
        """Begin to call `predictor`; must run in the event loop's thread."""
        self._predictor = predictor
        self._loop = asyncio.get_running_loop()
        for number in range(self._threads):
            threading.Thread(target=self._work, args=(number,), name=f"predict-{number}", daemon=True).start()

    async def run(self, call: Call) -> bytes:
        """The encoded answer to `call`; raises RefusedError when there is none in time."""
        self._admit()
        loop = asyncio.get_running_loop()
        job = _Job(call, loop.create_future())
        self._calls += 1
        self._jobs.put(job)
        deadline = loop.call_later(self._timeout, self._expire, job)
        try:
            return await job.future
        finally:
            deadline.cancel()
            job.abandoned = True
            self._calls -= 1

    async def stream(self, chunks: Callable[[], Iterator[bytes]]) -> AsyncGenerator[bytes, None]:
        """What the iterator of `chunks` yields, stepped in a thread and context of its own.

        It takes a place like any call; the deadline runs for each chunk.
        """
        self._admit()
        self._streams += 1
        pump = _Pump(asyncio.get_running_loop(), chunks)
        try:
            while True:
                try:
                    chunk = await asyncio.wait_for(pump.queue.get(), self._timeout)
                except asyncio.TimeoutError:
                    self._metrics.rejected("deadline")
                    raise _late() from None
                if chunk is None:
                    return
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk
        finally:
            pump.stopped.set()
            self._streams -= 1

    def _admit(self) -> None:
        queued = self.waiting + self._streams
        if queued >= self._size:
            self._metrics.rejected("queue_full")
            wait = max(1, math.ceil(queued * self._service / self._threads))
            msg = "The server has more requests than it can answer; try again later."
            raise RefusedError(429, "RESOURCE_EXHAUSTED", msg, retry_after=wait)

    def _expire(self, job: _Job) -> None:
        if not job.future.done():
            self._metrics.rejected("deadline")
            job.future.set_exception(_late())

    def _work(self, number: int) -> None:
        predictor, loop = self._predictor, self._loop
        if predictor is None or loop is None:
            msg = "start() has not been called"
            raise RuntimeError(msg)
        while True:
            job = self._jobs.get()
            if job.abandoned:
                continue
            self._running[number] = job
            job.started = perf_counter()
            try:
                job.result = job.call.encode(predictor.predict(job.call.input, job.call.params))
            except BaseException as exc:  # noqa: BLE001  SystemExit of a model must not end the server
                job.error = _contained(exc)
            job.ended = perf_counter()
            self._running[number] = None
            self._done.append(job)
            # The wake-up of one job may deliver the next ones too; theirs then find nothing.
            loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        while self._done:
            job = self._done.popleft()
            seconds = job.ended - job.started
            self._service += _RECENT * (seconds - self._service)
            self._metrics.queue_wait.observe(job.started - job.created)
            self._metrics.predict_duration.observe(seconds)
            if job.future.done():
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)


class _Job:
    __slots__ = ("abandoned", "call", "created", "ended", "error", "future", "result", "started")

    def __init__(self, call: Call, future: asyncio.Future[bytes]) -> None:
        self.call = call
        self.future = future
        self.created = perf_counter()
        self.started = self.ended = 0.0
        self.result = b""
        self.error: Exception | None = None
        self.abandoned = False
        """Its client has an answer already or is gone; a worker drops it."""


class _Pump:
    """Iterates in one thread, because MLflow's streams reset a context variable at their end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, chunks: Callable[[], Iterator[Any]]) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.stopped = threading.Event()
        self._loop = loop
        self._chunks = chunks
        threading.Thread(target=self._run, name="stream", daemon=True).start()

    def _run(self) -> None:
        last: Exception | None = None
        try:
            iterator = self._chunks()
            for chunk in iterator:
                if self.stopped.is_set():
                    break
                self._put(chunk)
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
        except BaseException as exc:  # noqa: BLE001  handed to the client's coroutine
            last = _contained(exc)
        self._put(last)

    def _put(self, item: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.queue.put_nowait, item)


def _contained(exc: BaseException) -> Exception:
    """`exc` as something that ends one request and not the event loop."""
    return exc if isinstance(exc, Exception) else RuntimeError(f"the model raised {type(exc).__name__}")


def _late() -> RefusedError:
    return RefusedError(504, "DEADLINE_EXCEEDED", "The model did not answer in time.")
