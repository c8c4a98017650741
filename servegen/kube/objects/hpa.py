"""HorizontalPodAutoscaler on the CPU use of the server's container, or on requests in flight and that."""

from __future__ import annotations

from servegen.kube import Object, behavior, metadata, versions
from servegen.kube.objects import Builder
from servegen.values.deployment import Deployment
from servegen.values.scaling import Autoscaling


def build(deployment: Deployment) -> Object | None:
    """The autoscaler, or None when the number of replicas is fixed or KEDA makes one."""
    scaling = deployment.autoscaling
    if scaling is None or scaling.keda is not None:
        return None
    tolerant = versions.supports(deployment.kube_version, "HorizontalPodAutoscaler tolerance")
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata.build(deployment),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment.instance},
            "minReplicas": scaling.min_replicas,
            "maxReplicas": scaling.max_replicas,
            # In this order: the server keeps it, and Git tools compare it.
            "metrics": [*_in_flight(scaling), _cpu(deployment, scaling)],
            "behavior": behavior.build(scaling, tolerance=tolerant),
        },
    }


def _in_flight(scaling: Autoscaling) -> list[Object]:
    if scaling.in_flight is None:
        return []
    target = {"type": "AverageValue", "averageValue": scaling.in_flight}
    return [{"type": "Pods", "pods": {"metric": {"name": metadata.IN_FLIGHT}, "target": target}}]


def _cpu(deployment: Deployment, scaling: Autoscaling) -> Object:
    target = {"type": "Utilization", "averageUtilization": scaling.cpu_utilization}
    if versions.supports(deployment.kube_version, "ContainerResource metric"):
        # By container, so that sidecars do not dilute the figure.
        named = {"name": "cpu", "container": metadata.CONTAINER, "target": target}
        return {"type": "ContainerResource", "containerResource": named}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


OBJECT: Builder = build
