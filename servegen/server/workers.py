"""The threads that call the model, and what they are given."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from time import perf_counter

from servegen.server import batching
from servegen.server.inputs import Call
from servegen.server.predictors import Predictor
from servegen.server.streams import contained
from servegen.server.uniformity import Uniformity


class Job:
    """One call on its way to an answer."""

    __slots__ = ("call", "created", "done", "error", "kind", "result", "rows", "settled")

    def __init__(self, call: Call, done: Callable[[Job], None]) -> None:
        self.call = call
        self.done = done
        """Called once, in the event loop's thread, when there is a result or an error."""
        self.kind = batching.kind(call)
        """What it may be merged with; None for a call that runs alone."""
        self.rows = batching.rows(call.input) if self.kind is not None else 1
        self.created = perf_counter()
        self.settled = False
        """Whether its client has an answer or is gone."""
        self.result = b""
        self.error: Exception | None = None

    def run(self, predictor: Predictor, uniformity: Uniformity) -> None:
        """Call the model for this job alone."""
        try:
            answer = predictor.predict(self.call.input, self.call.params)
            if self.kind is not None:
                uniformity.learn(self.kind, answer, self.rows)
            self.result = self.call.encode(answer)
        except BaseException as exc:  # noqa: BLE001  SystemExit of a model must not end the server
            self.error = contained(exc)

    def encode(self, answer: object) -> None:
        """Keep `answer`, this job's part of a batch's."""
        try:
            self.result = self.call.encode(answer)
        except Exception as exc:  # noqa: BLE001  handed to the client's coroutine
            self.error = exc


class Batch:
    """Jobs of one kind for one call of the model."""

    __slots__ = ("ended", "is_indivisible", "jobs", "rows", "started", "was_rerun")

    def __init__(self, jobs: Sequence[Job], rows: int) -> None:
        self.jobs = jobs
        self.rows = rows
        self.started = self.ended = 0.0
        self.was_rerun = False
        """Jobs had calls of their own: all of them, or the first one of its kind."""
        self.is_indivisible = False
        """The answer to all rows did not have a row for each."""

    def run(self, predictor: Predictor, uniformity: Uniformity) -> None:
        """Call the model; what fails together is called one by one, so that it fails alone."""
        self.started = perf_counter()
        jobs: Sequence[Job] = [job for job in self.jobs if not job.settled]
        if len(jobs) > 1:
            if not uniformity.is_known(jobs[0].kind):
                self.was_rerun = True
                jobs[0].run(predictor, uniformity)
                jobs = jobs[1:]
            if len(jobs) > 1 and uniformity.is_known(jobs[0].kind) and uniformity.may_merge(jobs[0].kind):
                jobs = self._run_together(jobs, predictor, uniformity)
                self.was_rerun |= bool(jobs)
        for job in jobs:
            if not job.settled:
                job.run(predictor, uniformity)
        self.ended = perf_counter()

    def _run_together(
        self, jobs: Sequence[Job], predictor: Predictor, uniformity: Uniformity
    ) -> Sequence[Job]:
        """Call the model once for all of `jobs`; those that it did not answer as it would each alone."""
        try:
            merged = batching.merge([job.call.input for job in jobs])
            answer = predictor.predict(merged, jobs[0].call.params)
            parts = batching.split(answer, [job.rows for job in jobs])
            if parts is None:
                self.is_indivisible = True
                return jobs
            alike = uniformity.alike(jobs[0].kind, answer, parts)
        except BaseException:  # noqa: BLE001  each client shall see what its own rows do
            return jobs
        others = []
        for job, part, fits in zip(jobs, parts, alike, strict=True):
            if fits:
                job.encode(part)
            else:
                others.append(job)
        return others


class Worker:
    """One thread that calls one predictor."""

    def __init__(
        self,
        number: int,
        predictor: Predictor,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[Worker, Batch], None],
        uniformity: Uniformity,
    ) -> None:
        self._predictor = predictor
        self._loop = loop
        self._deliver = deliver
        self._uniformity = uniformity
        self._box: SimpleQueue[Batch] = SimpleQueue()
        self._since: float | None = None
        threading.Thread(target=self._work, name=f"predict-{number}", daemon=True).start()

    def give(self, batch: Batch) -> None:
        """Let the thread call the model for `batch`; it must be idle."""
        self._since = perf_counter()
        self._box.put(batch)

    def free(self) -> None:
        """Say that its batch was delivered."""
        self._since = None

    def has_worked_since(self, moment: float) -> bool:
        """Whether it has been busy with one batch from before `moment` until now."""
        return self._since is not None and self._since < moment

    def interrupt(self) -> bool:
        """End the call that it is busy with; False when that cannot be done."""
        return self._predictor.interrupt()

    def _work(self) -> None:
        while True:
            batch = self._box.get()
            batch.run(self._predictor, self._uniformity)
            if self._loop.is_closed():
                return
            self._loop.call_soon_threadsafe(self._deliver, self, batch)
