"""The same counts once more, under the names that dashboards made for other model servers read.

Derived at a scrape from what is counted anyway, and only of the routes that reach the model. A family without
a counterpart here, such as KServe's time for preprocessing, is left out rather than made up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import Metric
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)


class Series(Protocol):
    """A distribution of durations or sizes."""

    @property
    def count(self) -> int:
        """How many values were observed."""

    @property
    def total(self) -> float:
        """Their sum."""

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound and cumulative count."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What is known at a scrape."""

    model: str
    version: str
    requests: Mapping[tuple[str, str, int], Series]
    """Durations by route, method and status."""
    in_flight: int
    batch_rows: Series

    def predictions(self) -> list[tuple[str, int, Series]]:
        """Route, status and durations of the requests for a prediction."""
        return [
            (route, status, series)
            for (route, method, status), series in self.requests.items()
            if method == "POST" and (route == "/invocations" or route.endswith(("/infer", "/ModelInfer")))
        ]


def families(name: str, snapshot: Snapshot) -> Iterator[Metric]:
    """The metric families of the dialect `name`."""
    return _DIALECTS[name](snapshot)


def _kserve(snapshot: Snapshot) -> Iterator[Metric]:
    # KServe's model server has one series a model; it times its predict(), which waits in its queue too.
    merged: dict[str, float] = {}
    total = 0.0
    for _, _, series in snapshot.predictions():
        total += series.total
        for bound, count in series.buckets():
            merged[bound] = merged.get(bound, 0) + count
    predict = HistogramMetricFamily(
        "request_predict_seconds", "KServe's name: requests for a prediction.", labels=("model_name",)
    )
    if merged:
        predict.add_metric((snapshot.model,), list(merged.items()), total)
    yield predict


def _mlserver(snapshot: Snapshot) -> Iterator[Metric]:
    labels, of_model = ("model", "version"), (snapshot.model, snapshot.version)
    predictions = snapshot.predictions()
    good = sum(series.count for _, status, series in predictions if status == 200)
    count = sum(series.count for _, _, series in predictions)
    success = CounterMetricFamily(
        "model_infer_request_success", "MLServer's name: requests answered with 200.", labels=labels
    )
    success.add_metric(of_model, good)
    yield success
    failure = CounterMetricFamily(
        "model_infer_request_failure", "MLServer's name: requests answered otherwise.", labels=labels
    )
    failure.add_metric(of_model, count - good)
    yield failure
    duration = SummaryMetricFamily(
        "model_infer_request_duration", "MLServer's name: seconds for a prediction.", labels=labels
    )
    duration.add_metric(of_model, count, sum(series.total for _, _, series in predictions))
    yield duration
    yield from _rest(
        snapshot,
        ("rest_server_requests", "rest_server_request_duration_seconds", "rest_server_requests_in_progress"),
        lambda route, status: {
            "app_name": "mlserver",
            "method": "POST",
            "path": route,
            "status_code": str(status),
        },
        {"app_name": "mlserver", "method": "POST"},
    )


def _bentoml(snapshot: Snapshot) -> Iterator[Metric]:
    service = {
        "service_name": snapshot.model,
        "service_version": snapshot.version,
        "runner_name": snapshot.model,
    }
    yield from _rest(
        snapshot,
        (
            "bentoml_service_request",
            "bentoml_service_request_duration_seconds",
            "bentoml_service_request_in_progress",
        ),
        lambda route, status: {"endpoint": route, "http_response_code": str(status)} | service,
        service,
    )
    labels = {"method_name": "predict", "worker_index": "1"} | service
    batches = HistogramMetricFamily(
        "bentoml_service_adaptive_batch_size",
        "BentoML's name: rows of one call of the model.",
        labels=tuple(labels),
    )
    batches.add_metric(tuple(labels.values()), snapshot.batch_rows.buckets(), snapshot.batch_rows.total)
    yield batches


def _rest(
    snapshot: Snapshot,
    names: tuple[str, str, str],
    labelled: Callable[[str, int], dict[str, str]],
    in_progress_labels: dict[str, str],
) -> Iterator[Metric]:
    """Counter, histogram and gauge as web frameworks have them; `labelled` gives a route's labels."""
    labels = tuple(labelled("", 0))
    total = CounterMetricFamily(names[0], "Requests for a prediction.", labels=labels)
    duration = HistogramMetricFamily(names[1], "Requests for a prediction.", labels=labels)
    for route, status, series in snapshot.predictions():
        values = tuple(labelled(route, status).values())
        total.add_metric(values, series.count)
        duration.add_metric(values, series.buckets(), series.total)
    yield total
    yield duration
    in_progress = GaugeMetricFamily(
        names[2], "Accepted requests for a prediction.", labels=tuple(in_progress_labels)
    )
    in_progress.add_metric(tuple(in_progress_labels.values()), snapshot.in_flight)
    yield in_progress


_DIALECTS: Mapping[str, Callable[[Snapshot], Iterator[Metric]]] = {
    "kserve": _kserve,
    "mlserver": _mlserver,
    "bentoml": _bentoml,
}
NAMES: Sequence[str] = tuple(_DIALECTS)
