"""What Prometheus scrapes; no label holds client data."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from servegen.server.modelfile import ModelFile

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The metrics of one server."""

    def __init__(self, model: ModelFile, *, queue_limit: int) -> None:
        # A second series for each one, which no dashboard reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # without types there
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "servegen_requests", "Answered requests.", ("route", "method", "status"), registry=registry
        )
        self._durations = Histogram(
            "servegen_request_duration_seconds",
            "From the request line to the end of the answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "servegen_requests_in_flight", "Accepted requests, queued and running.", registry=registry
        )
        self._depth = Gauge("servegen_queue_depth", "Requests that wait for the model.", registry=registry)
        limit = Gauge("servegen_queue_limit", "Requests that may wait for the model.", registry=registry)
        limit.set(queue_limit)
        self.queue_wait = Histogram(
            "servegen_queue_wait_seconds", "Wait for the model.", buckets=_SECONDS, registry=registry
        )
        self.predict_duration = Histogram(
            "servegen_predict_duration_seconds", "Calls of the model.", buckets=_SECONDS, registry=registry
        )
        self._rejected = Counter(
            "servegen_rejected", "Requests that never reached the model.", ("reason",), registry=registry
        )
        for reason in ("queue_full", "draining", "too_large", "deadline"):
            self._rejected.labels(reason)
        self._errors = Counter(
            "servegen_errors", "Answers with an error.", ("error_code",), registry=registry
        )
        self.ready = Gauge("servegen_model_ready", "1 while the model is served.", registry=registry)
        self.load_seconds = Gauge(
            "servegen_model_load_seconds", "Start of the process to readiness.", registry=registry
        )
        info = Gauge(
            "servegen_model_info",
            "Facts about the model.",
            ("name", "version", "run_id", "flavor", "mlflow_version"),
            registry=registry,
        )
        info.labels(model.name, model.version, model.run_id, model.flavor, model.mlflow_version).set(1)
        # labels() locks and formats; the few combinations there are get looked up here instead.
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def observe_queue(self, *, depth: Callable[[], int], in_flight: Callable[[], int]) -> None:
        """Let scrapes read the state of the queue from its owner."""
        self._depth.set_function(depth)
        self._in_flight.set_function(in_flight)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        key = (route, method, status)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._requests.labels(route, method, str(status))
        counter.inc()
        histogram = self._histograms.get(route)
        if histogram is None:
            histogram = self._histograms[route] = self._durations.labels(route)
        histogram.observe(seconds)

    def rejected(self, reason: str) -> None:
        """Count one request that never reached the model."""
        self._rejected.labels(reason).inc()

    def failed(self, code: str) -> None:
        """Count one answer with an error code."""
        self._errors.labels(code).inc()

    def render(self) -> bytes:
        """All of it in the Prometheus text format."""
        return generate_latest(self._registry)
