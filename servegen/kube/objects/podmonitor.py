"""PodMonitor: the Prometheus operator finds the pods themselves."""

from __future__ import annotations

from servegen.kube import Object, monitor
from servegen.kube.objects import Builder
from servegen.values.deployment import Deployment


def build(deployment: Deployment) -> Object | None:
    """The PodMonitor, or None when Prometheus finds the pods otherwise."""
    return monitor.build(deployment, "PodMonitor", "podMetricsEndpoints")


OBJECT: Builder = build
