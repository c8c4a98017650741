"""ServiceMonitor: the Prometheus operator finds the pods through their Service."""

from __future__ import annotations

from servegen.kube import Object, monitor
from servegen.kube.objects import Builder
from servegen.values.deployment import Deployment


def build(deployment: Deployment) -> Object | None:
    """The ServiceMonitor, or None when Prometheus finds the pods otherwise."""
    return monitor.build(deployment, "ServiceMonitor", "endpoints")


OBJECT: Builder = build
