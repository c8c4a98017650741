"""What an earlier version of a deployment left, and the removal of all of it; nothing that is not ours."""

from __future__ import annotations

from collections.abc import Sequence

from servegen.errors import AbsentKindError, DeployError, NotDeployedError
from servegen.kube import Object, instances, keda, order, ownership, release
from servegen.kube.apply import key
from servegen.kube.client import Cluster
from servegen.kube.refusal import RefusalError
from servegen.values.delivery import Change


def leftover(
    cluster: Cluster, instance: str, inventory: release.Inventory, wanted: Sequence[Object]
) -> tuple[Object, ...]:
    """Our live objects of `instance` that are not among `wanted`, in the order of deletion."""
    kept = {key(one) for one in wanted} | {f"ConfigMap {release.name_of(instance)}"}
    if any(one["kind"] == keda.KIND for one in wanted):
        # KEDA takes over an autoscaler of ours, perhaps only a moment from now.
        kept.add(f"HorizontalPodAutoscaler {instance}")
    return tuple(one for one in _ours(cluster, instance, inventory) if key(one) not in kept)


def everything(cluster: Cluster, instance: str) -> tuple[Object, ...]:
    """All of `instance` that is ours, in the order of deletion; refuses what a controller would bring back.

    Raises NotDeployedError when there is nothing.
    """
    found = _ours(cluster, instance, release.read(cluster, instance))
    if not found:
        raise absent(cluster, instance)
    for one in found:
        ownership.refuse_gitops(one)
    return found


def absent(cluster: Cluster, instance: str) -> NotDeployedError:
    """The error for an instance that is not there."""
    msg = f"there is no deployment {instance} of servegen in namespace {cluster.namespace}"
    hint = f"servegen status -A --context {cluster.context} lists them"
    return NotDeployedError(msg, hint=hint)


def delete(cluster: Cluster, objects: Sequence[Object]) -> tuple[Change, ...]:
    """Delete these live objects one after the other; an error says in its details what is gone."""
    changes: list[Change] = []
    try:
        for one in objects:
            cluster.delete(one)
            changes.append(Change(kind=one["kind"], name=one["metadata"]["name"], action="deleted"))
    except DeployError as exc:
        gone = ", ".join(f"{one.kind} {one.name}" for one in changes)
        exc.details += "\n" * bool(exc.details) + f"deleted: {gone or 'nothing'}"
        raise
    return tuple(changes)


def _ours(cluster: Cluster, instance: str, inventory: release.Inventory) -> tuple[Object, ...]:
    found = instances.find(cluster, instance)
    named = {key(one) for one in found.objects}
    # Of kinds that could be listed, what has our label was found; the rest is known by the inventory alone.
    listed = {kind for kind in instances.KINDS if kind[1] not in found.hidden}
    unlisted = [
        one
        for part in inventory.parts
        if (part.api_version, part.kind) not in listed
        and f"{part.kind} {part.name}" not in named
        and (one := _get(cluster, part)) is not None
    ]
    ours = (
        one
        for one in (*found.objects, *unlisted)
        if ownership.is_ours(one) and one["metadata"]["labels"][ownership.INSTANCE] == instance
    )
    return order.sort(ours)[::-1]


def _get(cluster: Cluster, part: release.Part) -> Object | None:
    try:
        return cluster.get(part.api_version, part.kind, part.name)
    except AbsentKindError:
        return None
    except RefusalError as exc:
        # What the login may not see it may not delete either.
        if exc.status == 403:
            return None
        raise
