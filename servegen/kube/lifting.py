"""Keeps a Deployment at no less than a number of pods for a while, by its autoscaler's minimum."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence

from servegen.kube import Object, apply
from servegen.kube.client import Cluster
from servegen.progress import Progress

_BOUNDS = {
    "HorizontalPodAutoscaler": ("minReplicas", "maxReplicas"),
    "ScaledObject": ("minReplicaCount", "maxReplicaCount"),
}
_LOOK_SECONDS = 1.0


def replicas(cluster: Cluster, instance: str) -> int:
    """Pods of the live Deployment that are wanted now; 0 without one."""
    found = cluster.get("apps/v1", "Deployment", instance)
    return 0 if found is None else int(found["spec"].get("replicas", 1))


def raised(objects: Sequence[Object], least: int) -> tuple[Object, ...]:
    """The autoscalers of `objects` whose minimum is below `least`, with that one, within their maximum."""
    made = []
    for one in objects:
        if one["kind"] in _BOUNDS:
            low, high = _BOUNDS[one["kind"]]
            bound = min(least, int(one["spec"][high]))
            if int(one["spec"][low]) < bound:
                changed = copy.deepcopy(one)
                changed["spec"][low] = bound
                made.append(changed)
    return tuple(made)


def lift(
    cluster: Cluster, objects: Sequence[Object], least: int, *, seconds: float, progress: Progress
) -> bool:
    """Raise the minimum of the autoscaler in `objects` and wait for its pods; whether it was raised.

    A cluster without room for them in `seconds` is a warning: the pods there are take the requests.
    """
    scalers = raised(objects, least)
    if not scalers:
        return False
    apply.apply(cluster, apply.preflight(cluster, scalers), force=False)
    name = next(one["metadata"]["name"] for one in objects if one["kind"] == "Deployment")
    progress.step(f"{name} grows to {least} pods before it takes more requests")
    wanted = max(int(one["spec"][_BOUNDS[one["kind"]][0]]) for one in scalers)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = cluster.get("apps/v1", "Deployment", name) or {}
        if int(found.get("status", {}).get("availableReplicas", 0)) >= wanted:
            return True
        time.sleep(_LOOK_SECONDS)
    progress.warn(f"{name} did not reach {wanted} pods in {seconds:.0f} s; it takes the requests with fewer")
    return True


def settle(cluster: Cluster, objects: Sequence[Object]) -> None:
    """Give the autoscalers of `objects` their own minimum back."""
    scalers = [one for one in objects if one["kind"] in _BOUNDS]
    if scalers:
        apply.apply(cluster, apply.preflight(cluster, scalers), force=False)
