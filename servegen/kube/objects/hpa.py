"""HorizontalPodAutoscaler on the CPU use of the server's container."""

from __future__ import annotations

from servegen.kube import Object, metadata, versions
from servegen.kube.objects import Builder
from servegen.values.deployment import Autoscaling, Deployment


def build(deployment: Deployment) -> Object | None:
    """The autoscaler, or None when the number of replicas is fixed."""
    scaling = deployment.autoscaling
    if scaling is None:
        return None
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata.build(deployment),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment.instance},
            "minReplicas": scaling.min_replicas,
            "maxReplicas": scaling.max_replicas,
            "metrics": [_cpu(deployment, scaling)],
            "behavior": _behavior(deployment, scaling),
        },
    }


def _cpu(deployment: Deployment, scaling: Autoscaling) -> Object:
    target = {"type": "Utilization", "averageUtilization": scaling.cpu_utilization}
    if versions.supports(deployment.kube_version, "ContainerResource metric"):
        # By container, so that sidecars do not dilute the figure.
        named = {"name": "cpu", "container": metadata.CONTAINER, "target": target}
        return {"type": "ContainerResource", "containerResource": named}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def _behavior(deployment: Deployment, scaling: Autoscaling) -> Object:
    tolerance = (
        {"tolerance": scaling.tolerance}
        if versions.supports(deployment.kube_version, "HorizontalPodAutoscaler tolerance")
        else {}
    )
    up = scaling.scale_up_period
    return {
        "scaleUp": {
            "stabilizationWindowSeconds": scaling.scale_up_window,
            "selectPolicy": "Max",
            "policies": [
                {"type": "Percent", "value": scaling.scale_up_percent, "periodSeconds": up},
                {"type": "Pods", "value": scaling.scale_up_pods, "periodSeconds": up},
            ],
            **tolerance,
        },
        "scaleDown": {
            "stabilizationWindowSeconds": scaling.scale_down_window,
            "selectPolicy": "Min",
            "policies": [
                {
                    "type": "Percent",
                    "value": scaling.scale_down_percent,
                    "periodSeconds": scaling.scale_down_period,
                }
            ],
            **tolerance,
        },
    }


OBJECT: Builder = build
