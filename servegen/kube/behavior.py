"""How fast an autoscaler may add and remove replicas."""

from __future__ import annotations

from servegen.kube import Object
from servegen.values.scaling import Autoscaling


def build(scaling: Autoscaling, *, tolerance: bool) -> Object:
    """`behavior` of a HorizontalPodAutoscaler."""
    tolerated = {"tolerance": scaling.tolerance} if tolerance else {}
    up, down = scaling.scale_up_period, scaling.scale_down_period
    return {
        "scaleUp": {
            "stabilizationWindowSeconds": scaling.scale_up_window,
            "selectPolicy": "Max",
            "policies": [
                {"type": "Percent", "value": scaling.scale_up_percent, "periodSeconds": up},
                {"type": "Pods", "value": scaling.scale_up_pods, "periodSeconds": up},
            ],
            **tolerated,
        },
        "scaleDown": {
            "stabilizationWindowSeconds": scaling.scale_down_window,
            "selectPolicy": "Min",
            "policies": [{"type": "Percent", "value": scaling.scale_down_percent, "periodSeconds": down}],
            **tolerated,
        },
    }
