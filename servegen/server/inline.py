"""Whether a model is so quick that the event loop calls it itself, and what merging its calls would save.

Handing a call to a thread and its answer back costs more than some models need. Found out at the warm-up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import thread_time
from typing import Any

from servegen.server import batching
from servegen.server.inputs import Call
from servegen.server.metrics import Metrics
from servegen.server.predictors import Predictor
from servegen.server.uniformity import Uniformity
from servegen.server.workers import Batch, Job

_log = logging.getLogger("servegen")
_QUICK = 200e-6
"""Seconds: a call that is longer is worth a thread, in which other requests are read meanwhile."""
_LONGEST = 1e-3
"""Seconds that a call with many rows may keep the event loop from everything else."""
_CALLS, _MERGED = 20, 16
_MOST = 1024


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What calls of a model cost."""

    rows: int
    """Rows of the largest call that the event loop makes itself; 0 for none."""
    merging_pays: bool
    """Whether one call for many rows is cheaper than a call for each."""


def measured(predictor: Predictor, call: Call) -> Pace:
    """The pace of `predictor`, by calls with the rows of `call`; raises what the model raises."""
    if batching.kind(call) is None:
        return Pace(rows=0, merging_pays=True)
    count = batching.rows(call.input)
    merged = call._replace(input=batching.merge([call.input] * _MERGED))
    one, many = (_fastest(partial(_answer, predictor, each)) for each in (call, merged))
    row = max((many - one) / (count * (_MERGED - 1)), 1e-9)
    fixed = max(one - count * row, 0.0)
    quick = fixed + row <= _QUICK
    rows = min(_MOST, int((_LONGEST - fixed) / row)) if quick else 0
    return Pace(rows=rows, merging_pays=fixed > row)


class Near:
    """Answers calls in the event loop's thread, all that one look at the connections has brought at once."""

    def __init__(self, predictor: Predictor, pace: Pace, metrics: Metrics) -> None:
        self._predictor = predictor
        self._pace = pace
        self._metrics = metrics
        self._uniformity = Proven()
        self._jobs: list[Job] = []

    def takes(self, job: Job) -> bool:
        """Whether `job` is answered here, which is as soon as what has arrived is read."""
        if job.kind is None or job.rows > self._pace.rows:
            return False
        if not self._jobs:
            asyncio.get_running_loop().call_soon(self._answer)
        self._jobs.append(job)
        return True

    def _answer(self) -> None:
        jobs, self._jobs = self._jobs, []
        for batch in self._batches(jobs):
            batch.run(self._predictor, self._uniformity)
            self._metrics.batch(rows=batch.rows, requests=len(batch.jobs))
            self._metrics.predict_duration.observe(batch.ended - batch.started)
            for job in batch.jobs:
                self._metrics.queue_wait.observe(batch.started - job.created)
                if not job.settled:
                    job.settled = True
                    try:
                        job.done(job)
                    except Exception:  # noqa: BLE001  one client's answer must not cost the others theirs
                        _log.exception("an answer could not be delivered")

    def _batches(self, jobs: Sequence[Job]) -> Iterator[Batch]:
        """The jobs, those of one kind together, in the order of the first of each batch."""
        if len(jobs) == 1:
            yield Batch(jobs, jobs[0].rows)
            return
        groups: dict[Hashable, list[Job]] = {}
        for job in jobs:
            groups.setdefault(job.kind, []).append(job)
        for group in groups.values():
            some: list[Job] = []
            rows = 0
            for job in group:
                if some and (rows + job.rows > self._pace.rows or not self._pace.merging_pays):
                    yield Batch(some, rows)
                    some, rows = [], 0
                some.append(job)
                rows += job.rows
            yield Batch(some, rows)


class Proven(Uniformity):
    """Of a converted model: its answer has one form, and the proof has shown that rows do not touch."""

    def is_known(self, kind: Hashable) -> bool:  # noqa: ARG002
        """Nothing has to be learned."""
        return True

    def may_merge(self, kind: Hashable) -> bool:  # noqa: ARG002
        """Nothing speaks against it."""
        return True

    def learn(self, kind: Hashable, answer: Any, rows: int) -> None:
        """There is nothing to remember."""

    def alike(self, kind: Hashable, answer: Any, parts: Sequence[Any]) -> list[bool]:  # noqa: ARG002
        """Each part is what a lone answer would have been."""
        return [True] * len(parts)


def _answer(predictor: Predictor, call: Call) -> Any:
    return call.encode(predictor.predict(call.input, call.params))


def _fastest(function: Callable[[], Any]) -> float:
    """CPU seconds of the fastest of some calls: what others do on this machine says nothing of the model."""
    best = float("inf")
    for _ in range(_CALLS):
        began = thread_time()
        function()
        best = min(best, thread_time() - began)
    return best
