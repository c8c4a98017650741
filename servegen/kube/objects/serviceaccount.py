"""ServiceAccount: an identity of its own, without a token and without rights."""

from __future__ import annotations

from servegen.kube import Object, metadata
from servegen.kube.objects import Builder
from servegen.values.deployment import Deployment


def build(deployment: Deployment) -> Object:
    """The ServiceAccount of the pods."""
    notes = dict(deployment.extras.service_account_annotations)
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata.build(deployment, further=notes),
        "automountServiceAccountToken": False,
    }


OBJECT: Builder = build
