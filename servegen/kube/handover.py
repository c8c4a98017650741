"""Moves the ownership of `spec.replicas` between us and the autoscaler without a dip in replicas.

Applying an object without a field that one owned deletes the field, and the server then puts 1 in its place.
"""

from __future__ import annotations

from servegen.errors import ConflictError
from servegen.kube import Object, metadata
from servegen.kube.client import Cluster
from servegen.kube.refusal import RefusalError

HANDOVER = "servegen-handover"
_AUTOSCALERS = (HANDOVER, "kube-controller-manager", "keda")
_TRIES = 5
_CONFLICT = 409


def release(cluster: Cluster, wanted: Object) -> None:
    """Before applying `wanted` without replicas: give the live number to another manager if it is ours."""
    for _ in range(_TRIES):
        live = cluster.live(wanted)
        if live is None or not owns_replicas(live, metadata.MANAGER):
            return
        try:
            cluster.apply(_only_replicas(wanted, live["spec"]["replicas"]), manager=HANDOVER)
        except RefusalError as exc:
            if exc.status != _CONFLICT:
                raise
            continue
        return
    msg = (
        f"the replicas of Deployment {wanted['metadata']['name']} change faster than they can be handed over"
    )
    raise ConflictError(msg, hint="wait until nobody scales it by hand, then deploy again")


def take(cluster: Cluster, wanted: Object, replicas: int) -> None:
    """Before applying `wanted`: set the number of its replicas where others own it."""
    cluster.apply(_only_replicas(wanted, replicas), manager=HANDOVER, force=True)


def owned_by_autoscaler(live: Object) -> bool:
    """Whether the number of replicas may be taken: its owners are the autoscaler or an earlier hand-over."""
    owners = {entry["manager"] for entry in _owners(live)} - {metadata.MANAGER}
    return bool(owners) and owners <= set(_AUTOSCALERS)


def owned_by_others(live: Object) -> bool:
    """Whether a manager beside us owns the number of replicas, such as the person who ran `kubectl scale`."""
    return any(entry["manager"] != metadata.MANAGER for entry in _owners(live))


def owns_replicas(live: Object, manager: str) -> bool:
    """Whether `manager` owns `spec.replicas` by an apply."""
    return any(entry["manager"] == manager and entry["operation"] == "Apply" for entry in _owners(live))


def _owners(live: Object) -> list[Object]:
    entries = live["metadata"].get("managedFields", ())
    return [one for one in entries if "f:replicas" in one.get("fieldsV1", {}).get("f:spec", {})]


def _only_replicas(wanted: Object, replicas: int) -> Object:
    return {
        "apiVersion": wanted["apiVersion"],
        "kind": wanted["kind"],
        "metadata": {"name": wanted["metadata"]["name"], "namespace": wanted["metadata"]["namespace"]},
        "spec": {"replicas": replicas},
    }
