"""The order in which objects are applied; they are deleted in reverse."""

from __future__ import annotations

from collections.abc import Iterable

from servegen.kube import Object

# A NetworkPolicy precedes pods, so that none runs unguarded; what scales or observes pods comes after them.
KINDS = (
    "ServiceAccount",
    "ConfigMap",
    "NetworkPolicy",
    "Service",
    "Deployment",
    "PodDisruptionBudget",
    "HorizontalPodAutoscaler",
    "PodMonitor",
    "ServiceMonitor",
    "ScaledObject",
    "HTTPRoute",
)


def sort(objects: Iterable[Object]) -> tuple[Object, ...]:
    """`objects` in the order of apply; kinds we do not know last."""
    return tuple(sorted(objects, key=lambda one: rank(one["kind"])))


def rank(kind: str) -> int:
    """Place of `kind` in that order."""
    return KINDS.index(kind) if kind in KINDS else len(KINDS)
