"""What a watcher counts for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest


class Counters:
    """Counters of one watcher, in a registry of their own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.deliveries = Counter(
            "servegen_watch_deliveries",
            "Webhook deliveries by what became of them: accepted, ignored or refused.",
            ["result"],
            registry=self._registry,
        )
        self.polls = Counter(
            "servegen_watch_polls",
            "Questions to model registries by whether they were answered: yes or no.",
            ["answered"],
            registry=self._registry,
        )
        self.runs = Counter(
            "servegen_watch_runs",
            "Models that were looked at by result: deployed, unchanged, held or failed.",
            ["result"],
            registry=self._registry,
        )
        self.models = Gauge(
            "servegen_watch_models", "Models and environments that are watched.", registry=self._registry
        )

    def text(self) -> bytes:
        """The counters as Prometheus reads them."""
        return generate_latest(self._registry)
