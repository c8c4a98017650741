"""The custom resources we write: what brings their types, and how to do without."""

from __future__ import annotations

from dataclasses import dataclass

from servegen.errors import AbsentKindError
from servegen.kube import Object
from servegen.kube.client import Cluster


@dataclass(frozen=True, kw_only=True)
class Operator:
    """What has to be installed for a kind."""

    name: str
    without: str
    """The setting that writes no such object."""


_MONITORS = Operator(name="the Prometheus operator", without="set deploy.monitoring.discovery: annotations")
OPERATORS = {
    "HTTPRoute": Operator(name="the Gateway API", without="remove deploy.route"),
    "PodMonitor": _MONITORS,
    "ScaledObject": Operator(name="KEDA", without="set deploy.autoscaling.keda.enabled: false"),
    "ServiceMonitor": _MONITORS,
}


def require(cluster: Cluster, one: Object) -> None:
    """Raise AbsentKindError when `one` is a custom resource whose type the cluster does not have."""
    operator = OPERATORS.get(one["kind"])
    if operator is None or cluster.serves(one["apiVersion"]):
        return
    msg = f"the cluster of context {cluster.context} has no {one['kind']} of {one['apiVersion']}"
    raise AbsentKindError(msg, hint=f"install {operator.name}, or do without: {operator.without}")
