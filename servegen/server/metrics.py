"""What Prometheus scrapes; no label holds client data.

Requests are counted in plain lists, which only the event loop's thread writes and a scrape turns into text:
the counters of prometheus_client lock and format, which costs more than the routing of a request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from servegen.server import procfs
from servegen.server.dialects import NAMES, Snapshot, families
from servegen.server.modelfile import ModelFile

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
_REASONS = ("queue_full", "draining", "too_large", "deadline")


class Distribution:
    """How many observed values fell between which bounds."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = _SECONDS) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        """The sum of the values."""

    def observe(self, value: float) -> None:
        """Count `value`."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self.counts)

    def add(self, other: Distribution) -> None:
        """Count what `other` has counted between the same bounds."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound and cumulative count, as the text format wants them."""
        bounds = (*map(repr, self._bounds), "+Inf")
        return list(zip(bounds, accumulate(self.counts), strict=True))


class Level:
    """A value that goes up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def set(self, value: float) -> None:
        """Report `value` from now on."""
        self.value = float(value)


class Metrics:
    """The metrics of one server; used in the event loop's thread only."""

    def __init__(self, model: ModelFile, *, queue_limit: int, dialects: Sequence[str] = NAMES) -> None:
        self._model = model
        self._limit = queue_limit
        self._dialects = dialects
        self._depth: Callable[[], int] = lambda: 0
        self._in_flight: Callable[[], int] = lambda: 0
        self._stuck: Callable[[], int] = lambda: 0
        self._workers: Callable[[], Sequence[int]] = lambda: ()
        # One table for counts and durations: a request costs one look-up.
        self._requests: dict[tuple[str, str, int], Distribution] = {}
        self._rejected = dict.fromkeys(_REASONS, 0)
        self._errors: dict[str, int] = {}
        self._batch_rows = Distribution(_SIZES)
        self._batch_requests = Distribution(_SIZES)
        self.queue_wait = Distribution()
        """Seconds that requests waited for the model."""
        self.predict_duration = Distribution()
        """Seconds that calls of the model took."""
        self.ready = Level()
        """1 while the model is served."""
        self.load_seconds = Level()
        """Start of the process to readiness."""

    def observe_queue(
        self, *, depth: Callable[[], int], in_flight: Callable[[], int], stuck: Callable[[], int]
    ) -> None:
        """Let scrapes read the state of the queue and of the workers behind it from their owner."""
        self._depth, self._in_flight, self._stuck = depth, in_flight, stuck

    def observe_workers(self, pids: Callable[[], Sequence[int]]) -> None:
        """Let `process_*` include the child processes that `pids` names."""
        self._workers = pids

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        key = (route, method, status)
        series = self._requests.get(key)
        if series is None:
            series = self._requests[key] = Distribution()
        series.observe(seconds)

    def batch(self, *, rows: int, requests: int) -> None:
        """Count one call of the model."""
        self._batch_rows.observe(rows)
        self._batch_requests.observe(requests)

    def rejected(self, reason: str) -> None:
        """Count one request that never reached the model."""
        self._rejected[reason] += 1

    def failed(self, code: str) -> None:
        """Count one answer with an error code."""
        self._errors[code] = self._errors.get(code, 0) + 1

    def render(self) -> bytes:
        """All of it in the Prometheus text format."""
        return generate_latest(_Scrape(self.collect))

    def collect(self) -> Iterator[Metric]:
        """All of it, family by family."""
        yield from self._traffic()
        yield from self._calls()
        yield from self._about()
        snapshot = Snapshot(
            model=self._model.name,
            version=self._model.version,
            requests=self._requests,
            in_flight=self._in_flight(),
            batch_rows=self._batch_rows,
        )
        for name in self._dialects:
            yield from families(name, snapshot)
        yield from procfs.collect(self._workers())

    def _traffic(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "servegen_requests", "Answered requests.", labels=("route", "method", "status")
        )
        durations: dict[str, Distribution] = {}
        for (route, method, status), series in self._requests.items():
            requests.add_metric((route, method, str(status)), series.count)
            durations.setdefault(route, Distribution()).add(series)
        yield requests
        duration = HistogramMetricFamily(
            "servegen_request_duration_seconds",
            "From the request line to the end of the answer.",
            labels=("route",),
        )
        for route, series in durations.items():
            duration.add_metric((route,), series.buckets(), series.total)
        yield duration
        rejected = CounterMetricFamily(
            "servegen_rejected", "Requests that got no answer of the model.", labels=("reason",)
        )
        for reason, count in self._rejected.items():
            rejected.add_metric((reason,), count)
        yield rejected
        errors = CounterMetricFamily("servegen_errors", "Answers with an error.", labels=("error_code",))
        for code, count in self._errors.items():
            errors.add_metric((code,), count)
        yield errors

    def _calls(self) -> Iterator[Metric]:
        for name, text, value in (
            ("servegen_requests_in_flight", "Accepted requests, queued and running.", self._in_flight()),
            ("servegen_queue_depth", "Requests that wait for the model.", self._depth()),
            ("servegen_queue_limit", "Requests that may wait for the model.", self._limit),
            (
                "servegen_workers_stuck",
                "Workers in a call of the model that has lasted longer than the deadline.",
                self._stuck(),
            ),
        ):
            yield GaugeMetricFamily(name, text, value)
        for name, text, series in (
            ("servegen_queue_wait_seconds", "Wait for the model.", self.queue_wait),
            ("servegen_predict_duration_seconds", "Calls of the model.", self.predict_duration),
            ("servegen_batch_rows", "Rows of one call of the model.", self._batch_rows),
            ("servegen_batch_requests", "Requests in one call of the model.", self._batch_requests),
        ):
            yield HistogramMetricFamily(name, text, series.buckets(), series.total)

    def _about(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("servegen_model_ready", "1 while the model is served.", self.ready.value)
        yield GaugeMetricFamily(
            "servegen_model_load_seconds", "Start of the process to readiness.", self.load_seconds.value
        )
        model = self._model
        facts = {
            "name": model.name,
            "version": model.version,
            "run_id": model.run_id,
            "flavor": model.flavor,
            "mlflow_version": model.mlflow_version,
        }
        info = GaugeMetricFamily("servegen_model_info", "Facts about the model.", labels=tuple(facts))
        info.add_metric(tuple(facts.values()), 1)
        yield info


class _Scrape(Collector):
    def __init__(self, families: Callable[[], Iterator[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return self._families()
