"""Deployment: how replicas are replaced; `servegen.kube.pod` says what one is."""

from __future__ import annotations

from servegen.kube import Object, metadata, pod
from servegen.kube.objects import Builder
from servegen.values.deployment import Deployment


def build(deployment: Deployment) -> Object:
    """The Deployment; without `replicas` where the autoscaler owns the number."""
    timing = deployment.timing
    replicas = {} if deployment.replicas is None else {"replicas": deployment.replicas}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata.build(deployment, further=metadata.facts(deployment)),
        "spec": {
            **replicas,
            "revisionHistoryLimit": 5,
            # The server drops a 0, so writing it would look like drift.
            **({"minReadySeconds": timing.min_ready} if timing.min_ready else {}),
            "progressDeadlineSeconds": timing.progress_deadline,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {
                    "maxSurge": deployment.max_surge,
                    "maxUnavailable": deployment.max_unavailable,
                },
            },
            "selector": {"matchLabels": metadata.selector(deployment)},
            "template": pod.template(deployment),
        },
    }


OBJECT: Builder = build
