"""Applies objects server-side as field manager `servegen`: all of them, or none when one would be refused."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from servegen.errors import AdmissionError, ConflictError, DeployError, NamespaceError
from servegen.kube import Object, handover, keda, metadata, operators, order, ownership
from servegen.kube.client import Answer, Cluster
from servegen.kube.refusal import Cause, RefusalError
from servegen.values.delivery import Change

_CONFLICT = 409
_REPLICAS = ".spec.replicas"
_SERVER_OWNED = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """What the server would make of the objects."""

    objects: tuple[Object, ...]
    """With namespace, in the order of apply."""
    live: Mapping[str, Object]
    """What is there now, by `key`."""
    would_be: Mapping[str, Object]
    """What would be there, by `key`."""
    stale: tuple[Object, ...]
    """Our own objects that contradict the new ones and are deleted first."""
    adopted: frozenset[str]
    """Objects, by `key`, of which other tools' fields become ours first."""
    takes_replicas: frozenset[str]
    """Deployments, by `key`, whose number of replicas is taken from its owner by a step of its own."""
    warnings: tuple[str, ...]


def changes_nothing(plan: Preflight) -> bool:
    """Whether the cluster is as the objects want it."""
    return not plan.stale and all(
        key(one) in plan.live and _action(plan.live[key(one)], plan.would_be[key(one)]) == "unchanged"
        for one in plan.objects
    )


def key(one: Object) -> str:
    """Kind and name, for people and for lookups."""
    return f"{one['kind']} {one['metadata']['name']}"


def preflight(
    cluster: Cluster,
    objects: Sequence[Object],
    *,
    force: bool = False,
    adopt: bool = False,
    known: Mapping[str, Object | None] = MappingProxyType({}),
) -> Preflight:
    """Ask the server about every object and a pod of every Deployment, without writing anything.

    What is there of the `known` ones, by `key`, was asked already.
    """
    require_namespace(cluster)
    ours = order.sort(_in_namespace(one, cluster.namespace) for one in objects)
    for one in ours:
        operators.require(cluster, one)
    stale = _stale(cluster, ours)
    asked = {key(one): known[key(one)] if key(one) in known else cluster.live(one) for one in ours}
    live = {name: found for name, found in asked.items() if found is not None}
    # An autoscaler of KEDA's has the name of ours, and is gone before ours is applied.
    leaving = {name for name, found in live.items() if keda.goes_with(found, stale)}
    live = {name: found for name, found in live.items() if name not in leaving}
    warnings = []
    for one in ours:
        if there := live.get(key(one)):
            ownership.refuse_foreign(one, there, adopt=adopt)
            if not adopt and ownership.client_side(there):
                warnings.append(
                    f"kubectl apply owns fields of {key(one)}, which stay when they are no longer wanted; "
                    "--adopt makes them ours"
                )
    adopted = {
        name: managers for name, one in live.items() if adopt and (managers := ownership.leftovers(one))
    }
    takes = frozenset(
        key(one) for one in ours if _takes_replicas(cluster, one, live.get(key(one)), force=force)
    )
    would_be = {}
    for one in ours:
        name = key(one)
        answer = _dry_run(
            cluster,
            one,
            live.get(name),
            force=force or name in leaving,
            takes_replicas=name in takes,
            adopted=adopted.get(name, frozenset()),
        )
        would_be[name] = answer.object
        warnings += [*answer.warnings, *_check_pod(cluster, one, exists=name in live)]
    for warning in warnings:
        if "would violate PodSecurity" in warning:
            raise AdmissionError(
                warning, hint="the namespace enforces a Pod Security level that these pods break"
            )
    return Preflight(
        objects=ours,
        live=live,
        would_be=would_be,
        stale=stale,
        adopted=frozenset(adopted),
        takes_replicas=takes,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def require_namespace(cluster: Cluster) -> None:
    """Raise NamespaceError unless objects can be made in the cluster's namespace."""
    phase, name = cluster.phase(), cluster.namespace
    if phase == "Absent":
        msg = f"namespace {name} does not exist in the cluster of context {cluster.context}"
        raise NamespaceError(msg, hint=f"kubectl create namespace {name}")
    if phase == "Terminating":
        msg = f"namespace {name} is being deleted from the cluster of context {cluster.context}"
        raise NamespaceError(msg, hint=f"wait until it is gone, then: kubectl create namespace {name}")


def apply(cluster: Cluster, plan: Preflight, *, force: bool) -> tuple[tuple[Change, ...], dict[str, Object]]:
    """Write what the pre-flight allowed; what changed, and the objects as they are now by `key`.

    What had been applied before an error is in the error's details.
    """
    changes: list[Change] = []
    applied: dict[str, Object] = {}
    try:
        for one in plan.stale:
            cluster.delete(one)
            if one["kind"] == keda.KIND:
                keda.await_gone(cluster, one)
            changes.append(Change(kind=one["kind"], name=one["metadata"]["name"], action="deleted"))
        for one in plan.objects:
            now = _write(cluster, one, plan, force=force)
            applied[key(one)] = now
            action = _action(plan.live.get(key(one)), now)
            changes.append(Change(kind=one["kind"], name=one["metadata"]["name"], action=action))
    except DeployError as exc:
        exc.details += "\n" * bool(exc.details) + _progress(plan, applied)
        raise
    return tuple(changes), applied


def content(one: Object) -> Object:
    """`one` without what the server keeps for itself, so that two states can be compared."""
    kept = {name: value for name, value in copy.deepcopy(one).items() if name != "status"}
    kept["metadata"] = {name: value for name, value in kept["metadata"].items() if name not in _SERVER_OWNED}
    # The Deployment controller counts revisions in an annotation.
    notes = kept["metadata"].get("annotations", {})
    kept["metadata"]["annotations"] = {
        name: value for name, value in notes.items() if not name.startswith("deployment.kubernetes.io/")
    }
    return kept


def _in_namespace(one: Object, namespace: str) -> Object:
    named = one["metadata"].get("namespace", namespace)
    if named != namespace:
        msg = f"{key(one)} was rendered for namespace {named}, not {namespace}"
        raise DeployError(msg, hint="render without a namespace, or deploy to the one it was rendered for")
    ours = copy.deepcopy(one)
    ours["metadata"]["namespace"] = namespace
    return ours


def _write(cluster: Cluster, one: Object, plan: Preflight, *, force: bool) -> Object:
    before = plan.live.get(key(one))
    if key(one) in plan.adopted:
        ownership.adopt(cluster, one)
    if one["kind"] == "Deployment" and before is not None:
        if "replicas" not in one["spec"]:
            handover.release(cluster, one)
            if replicas := _wakes_to(before, plan):
                handover.take(cluster, one, replicas)
        elif key(one) in plan.takes_replicas:
            handover.take(cluster, one, one["spec"]["replicas"])
    return _apply(cluster, one, before, force=force).object


def _wakes_to(before: Object, plan: Preflight) -> int:
    """Replicas to start where KEDA goes and let the model sleep, as no other autoscaler wakes one; else 0."""
    if before["spec"].get("replicas") != 0 or not any(one["kind"] == keda.KIND for one in plan.stale):
        return 0
    scalers = [one for one in plan.objects if one["kind"] == "HorizontalPodAutoscaler"]
    return max((int(one["spec"]["minReplicas"]) for one in scalers), default=0)


def _progress(plan: Preflight, applied: Mapping[str, Object]) -> str:
    missing = [key(one) for one in plan.objects if key(one) not in applied]
    return f"applied: {', '.join(applied) or 'nothing'}; not applied: {', '.join(missing)}"


def _dry_run(
    cluster: Cluster,
    one: Object,
    live: Object | None,
    *,
    force: bool,
    takes_replicas: bool,
    adopted: frozenset[str],
) -> Answer:
    try:
        return cluster.apply(one, manager=metadata.MANAGER, dry_run=True)
    except RefusalError as exc:
        causes = _conflicts(exc)
        if not causes:
            raise _named(exc, one) from exc
        # Replicas are taken and tools' fields adopted by steps of their own: these conflicts are expected.
        serious = [
            cause
            for cause in causes
            if not (takes_replicas and cause.field == _REPLICAS) and not ownership.is_of(cause, adopted)
        ]
        if serious and not (force and all(cause.field != _REPLICAS for cause in serious)):
            raise _conflict(one, live, serious) from exc
    return cluster.apply(one, manager=metadata.MANAGER, dry_run=True, force=True)


def _apply(cluster: Cluster, one: Object, live: Object | None, *, force: bool) -> Answer:
    try:
        return cluster.apply(one, manager=metadata.MANAGER)
    except RefusalError as exc:
        causes = _conflicts(exc)
        if not causes:
            raise _named(exc, one) from exc
        if not force or any(cause.field == _REPLICAS for cause in causes):
            raise _conflict(one, live, causes) from exc
    return cluster.apply(one, manager=metadata.MANAGER, force=True)


def _takes_replicas(cluster: Cluster, one: Object, live: Object | None, *, force: bool) -> bool:
    """Whether the number of replicas may be taken: from an autoscaler, or by force from a person."""
    wanted = one["spec"].get("replicas") if one["kind"] == "Deployment" else None
    if live is None or wanted is None or wanted == live["spec"].get("replicas"):
        return False
    if handover.owned_by_autoscaler(live):
        return True
    return force and handover.owned_by_others(live) and not _scaled(cluster, one)


def _scaled(cluster: Cluster, one: Object) -> bool:
    """Whether an autoscaler that is not ours to delete would undo a number of replicas at once."""
    for scaler in cluster.list("autoscaling/v2", "HorizontalPodAutoscaler")["items"]:
        target = scaler["spec"]["scaleTargetRef"]
        if (target["kind"], target["name"]) == (
            one["kind"],
            one["metadata"]["name"],
        ) and not ownership.is_ours(scaler):
            return True
    return False


def _conflicts(exc: RefusalError) -> list[Cause]:
    if exc.status != _CONFLICT:
        return []
    return [cause for cause in exc.causes if cause.reason == "FieldManagerConflict"]


def _conflict(one: Object, live: Object | None, causes: Sequence[Cause]) -> ConflictError:
    fields = "; ".join(f"{cause.field} ({cause.message})" for cause in causes)
    msg = f"{key(one)} has fields that another manager owns: {fields}"
    if live is not None and any(cause.field == _REPLICAS for cause in causes):
        return ConflictError(
            msg,
            hint=f"it was scaled to {live['spec'].get('replicas')}: set deploy.replicas to that, or use "
            "--force-conflicts; where an autoscaler does it, remove that one or turn deploy.autoscaling on",
        )
    if live is not None and ownership.MANAGED_BY not in live["metadata"].get("labels", {}):
        return ConflictError(
            f"{key(one)} was not made by servegen, and it differs: {fields}",
            hint="choose another deploy.name; --adopt turns that object into one of this model",
        )
    return ConflictError(msg, hint="make the change there, or take the fields with --force-conflicts")


def _check_pod(cluster: Cluster, one: Object, *, exists: bool) -> tuple[str, ...]:
    """Ask for a pod of `one`'s template: Pod Security and quotas look at pods only."""
    template = one.get("spec", {}).get("template", {})
    if one["kind"] != "Deployment":
        return ()
    spec = {name: value for name, value in template["spec"].items() if name != "serviceAccountName"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": template["metadata"]
        | {"name": f"{one['metadata']['name']}-preflight", "namespace": cluster.namespace},
        "spec": spec,
    }
    try:
        return cluster.create(pod, dry_run=True).warnings
    except RefusalError as exc:
        if exc.status == 403 and "cannot create resource" in str(exc):
            # Who may apply a Deployment need not be allowed to make pods.
            return ()
        if exists and "exceeded quota" in str(exc):
            # The pods that are replaced leave room; the rollout shows whether enough.
            return ()
        raise _named(exc, one, "a pod of ") from exc


def _named(exc: RefusalError, one: Object, prefix: str = "") -> DeployError:
    return exc.kind(f"the cluster refuses {prefix}{key(one)}: {exc}", hint=exc.hint)


def _stale(cluster: Cluster, ours: Sequence[Object]) -> tuple[Object, ...]:
    """Our autoscalers of an earlier deployment that would contradict the new one."""
    kinds = {one["kind"] for one in ours}
    name = next((one["metadata"]["name"] for one in ours if one["kind"] == "Deployment"), None)
    # KEDA takes over an autoscaler of ours, so one that is replaced by a ScaledObject stays.
    if name is None or keda.KIND in kinds:
        return ()
    found = [keda.find(cluster, name)]
    if "HorizontalPodAutoscaler" not in kinds:
        found.append(cluster.get("autoscaling/v2", "HorizontalPodAutoscaler", name))
    return tuple(one for one in found if one is not None and ownership.is_ours(one))


def _action(before: Object | None, now: Object) -> str:
    if before is None:
        return "created"
    return "unchanged" if content(before) == content(now) else "configured"
