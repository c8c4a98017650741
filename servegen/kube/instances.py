"""The live objects of one deployment, found by their label `servegen.dev/instance`."""

from __future__ import annotations

from dataclasses import dataclass

from servegen.errors import AbsentKindError
from servegen.kube import Object, metadata, order
from servegen.kube.client import Cluster
from servegen.kube.refusal import RefusalError

LABEL = f"{metadata.PREFIX}instance"
KINDS = (
    ("v1", "ServiceAccount"),
    ("v1", "ConfigMap"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("v1", "Service"),
    ("apps/v1", "Deployment"),
    ("policy/v1", "PodDisruptionBudget"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("monitoring.coreos.com/v1", "PodMonitor"),
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("keda.sh/v1alpha1", "ScaledObject"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    ("networking.k8s.io/v1", "Ingress"),
)
"""API version and kind of all that servegen may have applied, now or in an earlier version."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the namespace holds of one deployment."""

    objects: tuple[Object, ...]
    """In the order of apply."""
    hidden: tuple[str, ...]
    """Kinds that the login may not list, so that there may be more."""


def find(cluster: Cluster, instance: str) -> Found:
    """The objects labelled as parts of `instance`; kinds that the cluster lacks have none."""
    objects, hidden = [], []
    for api_version, kind in KINDS:
        try:
            listed = cluster.list(api_version, kind, labels=f"{LABEL}={instance}")["items"]
        except AbsentKindError:
            continue
        except RefusalError as exc:
            if exc.status != 403:
                raise
            hidden.append(kind)
            continue
        # Items of a list come without these two.
        objects += [one | {"apiVersion": api_version, "kind": kind} for one in listed]
    return Found(objects=order.sort(objects), hidden=tuple(hidden))
