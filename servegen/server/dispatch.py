"""Between protocol and model: a bounded queue, deadlines, adaptive batches, threads that call the model.

Everything but the calls of the model happens in the event loop's thread. Calls arrive parsed and checked.
While a worker is busy the next batch gathers by itself; an idle one waits only as long as pacing.py says.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from time import perf_counter

from servegen.server import streams
from servegen.server.errors import RefusedError, late
from servegen.server.inline import Near
from servegen.server.inputs import Call
from servegen.server.metrics import Metrics
from servegen.server.pacing import Pacer
from servegen.server.predictors import Predictor
from servegen.server.uniformity import Uniformity
from servegen.server.workers import Batch, Job, Worker

_log = logging.getLogger("servegen")
_TICK = 0.001
_HOPELESS = 5
"""Deadlines after which a model that nothing can stop is given up."""


class Dispatcher:
    """Calls predictors from worker threads, oldest request first, merging calls of equal kind."""

    def __init__(
        self, *, queue_size: int, timeout: float, batch_rows: int, batch_wait: float, metrics: Metrics
    ) -> None:
        self._size = queue_size
        self._timeout = timeout
        self._batch_rows = batch_rows
        self._batch_wait = batch_wait
        self._metrics = metrics
        self._pacer = Pacer(max_wait=batch_wait)
        self._uniformity = Uniformity()
        self._queue: dict[Job, None] = {}
        """Jobs that no worker has, oldest first."""
        # Every job without an answer, oldest first: all deadlines are equally far away.
        self._live: dict[Job, None] = {}
        self._streams = 0
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._sweeping = False
        self._watching = False
        self._launching = False
        self._hold: _Hold | None = None
        self._arrivals = 0
        self.merges = batch_rows > 1
        """Whether calls are merged."""
        self.near: Near | None = None
        """Answers small calls of a model of microseconds in the event loop's thread."""
        self.lost = asyncio.Event()
        """Set when the model has not answered for so long that only a new process can help."""
        metrics.observe_queue(
            depth=lambda: self.waiting, in_flight=lambda: self.accepted, stuck=lambda: self.stuck
        )

    @property
    def accepted(self) -> int:
        """Calls and streams that are not answered yet."""
        return len(self._live) + self._streams

    @property
    def waiting(self) -> int:
        """Calls that the model has not seen yet."""
        return len(self._queue)

    @property
    def stuck(self) -> int:
        """Workers that have been in one call for longer than any client waits."""
        return self._busy_for(self._timeout)

    @property
    def is_stuck(self) -> bool:
        """Whether no worker is left that could answer in time."""
        # Reading the clock for every request would cost more than this.
        return not self._idle and 0 < len(self._workers) == self.stuck

    def start(self, predictors: Sequence[Predictor]) -> None:
        """Begin to call `predictors`, each from a thread of its own; must run in the event loop's thread."""
        loop = asyncio.get_running_loop()
        self._workers = [
            Worker(number, predictor, loop, self._deliver, self._uniformity)
            for number, predictor in enumerate(predictors)
        ]
        self._idle = self._workers[::-1]

    def submit(self, call: Call, done: Callable[[Job], None]) -> Job:
        """Queue `call`; `done` gets the job with its result or error. Raises RefusedError without a place."""
        if self.near is not None:
            job = Job(call, done)
            if self.near.takes(job):
                return job
        self._admit()
        job = Job(call, done)
        self._queue[job] = self._live[job] = None
        self._arrivals += 1
        if not self._sweeping:
            self._sweeping = True
            asyncio.get_running_loop().call_later(self._timeout, self._expire)
        if self._hold is not None:
            if self._is_complete():
                self._hold.wake()
        elif self._idle and not self._launching:
            self._launching = True
            asyncio.get_running_loop().call_soon(self._launch)
        return job

    def forget(self, job: Job) -> None:
        """Drop `job`, whose client is gone; the model does not see it any more if it has not yet."""
        if not job.settled:
            self._leave(job)

    async def run(self, call: Call) -> bytes:
        """The encoded answer to `call`; raises RefusedError when there is none in time."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def settle(job: Job) -> None:
            if future.done():
                return
            if job.error is not None:
                future.set_exception(job.error)
            else:
                future.set_result(job.result)

        job = self.submit(call, settle)
        try:
            return await future
        finally:
            self.forget(job)

    async def stream(self, source: Callable[[], Iterator[bytes]]) -> AsyncGenerator[bytes, None]:
        """What the iterator of `source` yields, stepped in a thread and context of its own.

        It takes a place like any call; the deadline runs for each chunk.
        """
        self._admit()
        self._streams += 1
        try:
            async for chunk in streams.chunks(source, timeout=self._timeout, metrics=self._metrics):
                yield chunk
        finally:
            self._streams -= 1

    def _admit(self) -> None:
        queued = len(self._queue) + self._streams
        if queued >= self._size:
            self._metrics.rejected("queue_full")
            wait = max(1, math.ceil(queued * self._pacer.row_cost / max(1, len(self._workers))))
            msg = "The server has more requests than it can answer; try again later."
            raise RefusedError(429, "RESOURCE_EXHAUSTED", msg, retry_after=wait)

    def _expire(self) -> None:
        now = perf_counter()
        for job in tuple(self._live):
            remaining = job.created + self._timeout - now
            if remaining > 0:
                asyncio.get_running_loop().call_later(remaining, self._expire)
                return
            self._metrics.rejected("deadline")
            job.error = late()
            self._settle(job)
        self._sweeping = False

    def _watch(self) -> None:
        """Look after the calls of the model, as long as there are any, once in a deadline."""
        if not self._watching:
            self._watching = True
            asyncio.get_running_loop().call_later(max(self._timeout, _TICK), self._end_stuck_calls)

    def _end_stuck_calls(self) -> None:
        self._watching = False
        moment = perf_counter() - self._timeout
        # Nobody waits for these: whoever did has an answer by now, or is gone.
        stuck = [worker for worker in self._workers if worker.has_worked_since(moment)]
        goes_on = [worker for worker in stuck if not worker.interrupt()]
        if goes_on and self._busy_for(_HOPELESS * self._timeout) == len(self._workers):
            self.lost.set()
        elif len(self._idle) < len(self._workers):
            self._watch()

    def _busy_for(self, seconds: float) -> int:
        moment = perf_counter() - seconds
        return sum(worker.has_worked_since(moment) for worker in self._workers)

    def _leave(self, job: Job) -> None:
        job.settled = True
        self._live.pop(job, None)
        self._queue.pop(job, None)

    def _settle(self, job: Job) -> None:
        self._leave(job)
        try:
            job.done(job)
        except Exception:  # noqa: BLE001  one client's answer must not cost the others theirs
            _log.exception("an answer could not be delivered")

    def _launch(self) -> None:
        """Give idle workers what waits, or hold it back a little for requests that are expected."""
        if self._idle and self._queue:
            if self._holds():
                return
        else:
            self._end_hold()
        self._launching = False
        while self._idle and self._queue:
            self._idle.pop().give(self._take())
            self._watch()

    def _is_complete(self) -> bool:
        return len(self._queue) >= self._batch_rows or self._pacer.is_complete(len(self._live))

    def _holds(self) -> bool:
        if not self.merges or self._is_complete():
            self._end_hold()
            return False
        hold = self._hold
        if hold is None:
            pause = self._pacer.pause()
            if not pause:
                return False
            hold = self._hold = _Hold(
                asyncio.get_running_loop(),
                self._launch,
                arrivals=self._arrivals,
                pause=pause,
                total=self._batch_wait,
            )
        if hold.goes_on(self._arrivals):
            return True
        self._end_hold()
        return False

    def _end_hold(self) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.cancel()
            self._pacer.waited(gained=self._arrivals > hold.arrivals)

    def _take(self) -> Batch:
        """The oldest job, with all of its kind that fit into one batch; the others keep their places."""
        first = next(iter(self._queue))
        jobs, rows = [first], first.rows
        if self._merges(first):
            for job in self._queue:
                if rows >= self._batch_rows:
                    break
                if job.kind == first.kind and job is not first and rows + job.rows <= self._batch_rows:
                    jobs.append(job)
                    rows += job.rows
        for job in jobs:
            del self._queue[job]
        return Batch(jobs, rows)

    def _merges(self, job: Job) -> bool:
        return self.merges and job.kind is not None and self._uniformity.may_merge(job.kind)

    def _deliver(self, worker: Worker, batch: Batch) -> None:
        """Answer what a worker has done, in the event loop's thread."""
        seconds = batch.ended - batch.started
        self._pacer.answered(present=len(self._live))
        if not batch.was_rerun:
            self._pacer.called(batch.rows, seconds)
        elif batch.is_indivisible and self.merges:
            self.merges = False
            _log.warning("the model does not answer row by row: requests are not merged any more")
        self._metrics.batch(rows=batch.rows, requests=len(batch.jobs))
        self._metrics.predict_duration.observe(seconds)
        for job in batch.jobs:
            self._metrics.queue_wait.observe(batch.started - job.created)
            if not job.settled:
                self._settle(job)
        worker.free()
        self._idle.append(worker)
        if self._queue and not self._launching:
            self._launching = True
            # After the tasks of those answers: their clients may ask again at once.
            asyncio.get_running_loop().call_soon(self._launch)


class _Hold:
    """A batch that is held back.

    Only pauses count: reading what has come is work that has to be done anyway.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        launch: Callable[[], None],
        *,
        arrivals: int,
        pause: float,
        total: float,
    ) -> None:
        self._loop = loop
        self._launch = launch
        self._pause = pause
        self._total = total
        self._seen = arrivals
        self._since = perf_counter()
        self._handle: asyncio.Handle | None = None
        self.arrivals = arrivals
        """How many requests had ever come when it began."""

    def goes_on(self, arrivals: int) -> bool:
        """Whether to wait on; `launch` is then called again."""
        now = perf_counter()
        paused = now - self._since
        if arrivals != self._seen:
            self._seen = arrivals
            self._since = now
            self._total -= paused
            paused = 0.0
        remaining = min(self._pause, self._total) - paused
        if remaining <= 0:
            return False
        # Timers of an event loop count in milliseconds.
        if remaining < _TICK:
            self._handle = self._loop.call_soon(self._launch)
        else:
            self._handle = self._loop.call_later(remaining, self._launch)
        return True

    def wake(self) -> None:
        """Call `launch` now."""
        self.cancel()
        self._handle = self._loop.call_soon(self._launch)

    def cancel(self) -> None:
        """Do not call `launch` any more."""
        if self._handle is not None:
            self._handle.cancel()
