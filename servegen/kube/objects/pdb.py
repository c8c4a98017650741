"""PodDisruptionBudget: one pod at a time may be evicted, always."""

from __future__ import annotations

from servegen.kube import Object, metadata, versions
from servegen.kube.objects import Builder
from servegen.values.deployment import Deployment


def build(deployment: Deployment) -> Object:
    """The PodDisruptionBudget of the pods."""
    # Never minAvailable: at as many replicas as it asks for it blocks a node's drain for ever.
    spec: Object = {"maxUnavailable": 1}
    if versions.supports(deployment.kube_version, "PodDisruptionBudget unhealthyPodEvictionPolicy"):
        spec["unhealthyPodEvictionPolicy"] = "AlwaysAllow"
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata.build(deployment),
        "spec": spec | {"selector": {"matchLabels": metadata.selector(deployment)}},
    }


OBJECT: Builder = build
