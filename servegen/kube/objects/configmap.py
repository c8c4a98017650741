"""ConfigMap: files of `deploy.config`."""

from __future__ import annotations

from servegen.kube import Object, metadata
from servegen.kube.objects import Builder
from servegen.values.deployment import Deployment


def build(deployment: Deployment) -> Object | None:
    """The ConfigMap of the pods, or None when they have no files of the user."""
    files = deployment.additions.config
    if not files:
        return None
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata.build(deployment),
        "data": dict(files),
    }


OBJECT: Builder = build
