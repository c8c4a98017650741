"""ScaledObject: KEDA scales on the requests in flight that Prometheus knows, also from and to zero."""

from __future__ import annotations

from servegen.kube import Object, behavior, metadata
from servegen.kube.objects import Builder
from servegen.values.deployment import Deployment
from servegen.values.scaling import Keda

_TAKE_OVER = {"scaledobject.keda.sh/transfer-hpa-ownership": "true"}
"""An autoscaler of the same name becomes KEDA's, so that moving to KEDA leaves no moment without one."""


def build(deployment: Deployment) -> Object | None:
    """The ScaledObject, or None when a HorizontalPodAutoscaler or nobody scales."""
    scaling = deployment.autoscaling
    if scaling is None or scaling.keda is None:
        return None
    keda = scaling.keda
    # A first rollout takes its time, and KEDA would stop the pod before anybody has seen it run.
    start = max(keda.cooldown, deployment.timing.progress_deadline)
    first = {} if scaling.min_replicas else {"initialCooldownPeriod": start}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata.build(deployment, further=_TAKE_OVER),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": deployment.instance,
                "envSourceContainerName": metadata.CONTAINER,
            },
            "pollingInterval": keda.polling,
            "cooldownPeriod": keda.cooldown,
            **first,
            "minReplicaCount": scaling.min_replicas,
            "maxReplicaCount": scaling.max_replicas,
            "fallback": {"failureThreshold": 3, "replicas": keda.fallback_replicas},
            # No restoreToOriginalReplicaCount: KEDA drops a `false`, which would look like drift.
            "advanced": {
                "horizontalPodAutoscalerConfig": {
                    "name": deployment.instance,
                    # Without tolerance: only KEDA's newest versions know it, others refuse it.
                    "behavior": behavior.build(scaling, tolerance=False),
                },
            },
            "triggers": _triggers(deployment, keda, scales_to_zero=not scaling.min_replicas),
        },
    }


def _triggers(deployment: Deployment, keda: Keda, *, scales_to_zero: bool) -> list[Object]:
    # No series is no load only where there may be no pod; else it is trouble, and the fallback is for that.
    found = [_trigger(keda, keda.query or _in_flight(deployment), nothing_is_zero=scales_to_zero)]
    if keda.wake_query:
        found.append(_trigger(keda, keda.wake_query, nothing_is_zero=True))
    return found


def _trigger(keda: Keda, query: str, *, nothing_is_zero: bool) -> Object:
    return {
        "type": "prometheus",
        "metricType": "AverageValue",
        # KEDA takes texts only.
        "metadata": {
            "serverAddress": keda.prometheus,
            "query": query,
            "threshold": keda.threshold,
            "activationThreshold": "0",
            "ignoreNullValues": str(nothing_is_zero).lower(),
        },
    }


def _in_flight(deployment: Deployment) -> str:
    # A pod is called as its ReplicaSet and 5 characters; the pattern leaves out `NAME-canary-…`.
    pods = f"{deployment.instance}-[a-z0-9]+-[a-z0-9]{{5}}"
    return f'sum({metadata.IN_FLIGHT}{{namespace="{deployment.namespace}",pod=~"{pods}"}})'


OBJECT: Builder = build
