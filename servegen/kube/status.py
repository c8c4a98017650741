"""How the deployed models of a namespace are, from a handful of lists however many there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from servegen.kube import Object, apply, drift, foreign, metadata, prune, reasons, scaling, traffic
from servegen.kube.client import Cluster
from servegen.kube.instances import LABEL
from servegen.kube.refusal import RefusalError, one_line
from servegen.kube.scaling import Scaling

_KEDA = "keda.sh/v1alpha1"
_METRICS = "metrics.k8s.io/v1beta1"
_EVENTS = 5
"""How many of the last warnings are kept of each instance."""
_Key = tuple[str, str]
"""Namespace and instance."""


@dataclass(frozen=True, kw_only=True)
class PodStatus:
    """One pod."""

    name: str
    state: str
    ready: bool
    restarts: int
    node: str | None


@dataclass(frozen=True, kw_only=True)
class Warned:
    """A warning that the cluster recorded."""

    when: str
    about: str
    """Kind and name."""
    reason: str
    message: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Status:
    """One deployed model."""

    namespace: str
    name: str
    model: str
    version: str
    uri: str | None
    pin: str | None
    image: str
    """With digest."""
    image_tag: str | None
    managed_by: str
    track: str
    """`stable`, `canary` or `next`."""
    share: int | None
    """Per cent of the model's requests, where two instances share them."""
    ready: int
    """Pods that answer requests."""
    updated: int
    """Pods of the newest template."""
    replicas: int
    """Pods that are wanted."""
    rollout: str
    """`complete`, or in one line what is missing and why."""
    healthy: bool
    """Whether all pods are new and ready, and the autoscaler can work."""
    scaling: Scaling | None
    """None when the number of replicas is fixed."""
    restarts: int
    pods: tuple[PodStatus, ...]
    drift: tuple[str, ...]
    """What is otherwise than servegen applied it; who and where."""
    events: tuple[Warned, ...]
    """The last warnings, oldest first."""


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """All objects that a status is made of."""

    deployments: Sequence[Object]
    scalers: Mapping[_Key, Object]
    """HorizontalPodAutoscalers by the Deployment they scale."""
    scaled_objects: Mapping[_Key, Object]
    pods: Mapping[_Key, Sequence[Object]]
    """By instance."""
    events: Mapping[_Key, Sequence[Object]] = field(default_factory=dict)
    """Warnings by the name of what they are about, oldest first."""
    metrics_served: bool = True
    shares: Mapping[_Key, int] = field(default_factory=dict)
    """By namespace and instance."""


def read(cluster: Cluster, name: str | None = None) -> tuple[Status, ...]:
    """All instances of the cluster's namespace by name, or the one called `name` if it is there."""
    selector = LABEL if name is None else f"{LABEL}={name}"
    deployments = cluster.list("apps/v1", "Deployment", labels=selector)["items"]
    # KEDA's autoscalers have other names and labels than ours, so all are listed.
    scalers = _by_target(cluster.list("autoscaling/v2", "HorizontalPodAutoscaler")["items"])
    scaled = cluster.list(_KEDA, "ScaledObject", labels=selector)["items"] if cluster.serves(_KEDA) else ()
    seen = _Seen(
        deployments=deployments,
        scalers=scalers,
        scaled_objects=_by_target(scaled),
        pods=_by_instance(cluster.list("v1", "Pod", labels=selector)["items"]),
        events=_by_object(_warnings(cluster)),
        metrics_served=not scalers or cluster.serves(_METRICS),
        shares=_shares(cluster),
    )
    if not deployments and cluster.namespace:
        apply.require_namespace(cluster)
    found = [_status(one, seen) for one in deployments]
    return tuple(sorted(found, key=lambda one: (one.namespace, one.name)))


def named(cluster: Cluster, name: str) -> Status:
    """The instance called `name`, compared with what was applied; NotDeployedError when there is none."""
    found = read(cluster, name)
    if not found:
        raise prune.absent(cluster, name)
    changed = drift.of_instance(cluster, name)
    return found[0] if changed is None else replace(found[0], drift=changed)


def _status(deployment: Object, seen: _Seen) -> Status:
    about = deployment["metadata"]
    labels, notes = about.get("labels") or {}, about.get("annotations") or {}
    key = (about["namespace"], about["name"])
    pods = seen.pods.get((about["namespace"], labels[LABEL]), ())
    scaled = seen.scaled_objects.get(key)
    scaler = seen.scalers.get(key)
    how = _scaling(scaler, scaled, metrics_served=seen.metrics_served)
    status, wanted = deployment.get("status") or {}, int(deployment["spec"].get("replicas", 1))
    ready, updated = int(status.get("readyReplicas", 0)), int(status.get("updatedReplicas", 0))
    missing = _missing(deployment, pods, seen)
    restarts = {pod["metadata"]["name"]: sum(reasons.restarts([pod]).values()) for pod in pods}
    # Items of a list come without their kind.
    ours = {"Deployment": deployment, "HorizontalPodAutoscaler": scaler, "ScaledObject": scaled}
    return Status(
        namespace=key[0],
        name=labels[LABEL],
        model=notes.get(f"{metadata.PREFIX}model-name", labels.get("app.kubernetes.io/name", "")),
        version=labels.get("app.kubernetes.io/version", ""),
        uri=notes.get(f"{metadata.PREFIX}model-uri"),
        pin=notes.get(f"{metadata.PREFIX}pin"),
        image=_image(deployment),
        image_tag=notes.get(f"{metadata.PREFIX}image-tag"),
        managed_by=labels.get("app.kubernetes.io/managed-by", ""),
        track=labels.get(f"{metadata.PREFIX}track", "stable"),
        share=seen.shares.get((about["namespace"], labels[LABEL])),
        ready=ready,
        updated=updated,
        replicas=wanted,
        rollout=missing or "complete",
        healthy=not missing and (how is None or how.working),
        scaling=how,
        restarts=sum(restarts.values()),
        pods=tuple(_pod(pod, restarts[pod["metadata"]["name"]]) for pod in pods),
        drift=tuple(f"{kind} {text}" for kind, one in ours.items() if one for text in foreign.fields(one)),
        events=_last(key, labels[LABEL], pods, seen.events),
    )


def _missing(deployment: Object, pods: Sequence[Object], seen: _Seen) -> str:
    """What keeps the rollout from being complete; empty when nothing does."""
    status, wanted = deployment.get("status") or {}, int(deployment["spec"].get("replicas", 1))
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
        return "the cluster has not looked at the last change yet"
    updated, available, total = (
        int(status.get(name, 0)) for name in ("updatedReplicas", "availableReplicas", "replicas")
    )
    if updated == available == total == wanted:
        return ""
    namespace = deployment["metadata"]["namespace"]
    events = {
        name: seen.events.get((namespace, name), ()) for name in (pod["metadata"]["name"] for pod in pods)
    }
    found = [*reasons.of_pods(pods, events), *reasons.of_deployment(deployment)]
    far = f"{available} of {wanted} pods are available, {updated} up to date"
    return f"{far}: {found[0].message}" if found else far


def _scaling(hpa: Object | None, scaled: Object | None, *, metrics_served: bool) -> Scaling | None:
    if hpa is not None:
        return scaling.read(hpa, scaled_object=scaled, metrics_served=metrics_served)
    return None if scaled is None else scaling.of_scaled_object(scaled)


def _image(deployment: Object) -> str:
    containers = deployment["spec"]["template"]["spec"]["containers"]
    named = [one for one in containers if one["name"] == metadata.CONTAINER]
    return str((named or containers)[0].get("image", ""))


def _pod(pod: Object, restarts: int) -> PodStatus:
    leaving = pod["metadata"].get("deletionTimestamp") is not None
    return PodStatus(
        name=pod["metadata"]["name"],
        state="ending" if leaving else reasons.state(pod),
        ready=reasons.is_ready(pod) and not leaving,
        restarts=restarts,
        node=pod["spec"].get("nodeName"),
    )


def _last(
    key: _Key, instance: str, pods: Iterable[Object], events: Mapping[_Key, Sequence[Object]]
) -> tuple[Warned, ...]:
    namespace, deployment = key
    names = dict.fromkeys((deployment, instance, *(pod["metadata"]["name"] for pod in pods)))
    # An autoscaler that KEDA made, and the ReplicaSets of the pods.
    names |= dict.fromkeys(f"keda-hpa-{name}" for name in (deployment, instance))
    names |= dict.fromkeys(
        owner["name"] for pod in pods for owner in pod["metadata"].get("ownerReferences") or ()
    )
    found = sorted((one for name in names for one in events.get((namespace, name), ())), key=_when)
    return tuple(_warned(one) for one in found[-_EVENTS:])


def _warned(event: Object) -> Warned:
    about = event.get("involvedObject") or {}
    return Warned(
        when=_when(event),
        about=f"{about.get('kind', '')} {about.get('name', '')}",
        reason=event.get("reason") or "",
        message=one_line(event.get("message") or ""),
        count=int(event.get("count") or (event.get("series") or {}).get("count") or 1),
    )


def _warnings(cluster: Cluster) -> list[Object]:
    try:
        found: list[Object] = cluster.list("v1", "Event", fields="type=Warning")["items"]
    except RefusalError as exc:
        if exc.status != 403:
            raise
        # Events only explain; without the right to read them the objects have to do.
        return []
    return sorted(found, key=_when)


def _when(event: Object) -> str:
    series = (event.get("series") or {}).get("lastObservedTime")
    stamps = (event.get("lastTimestamp"), series, event.get("eventTime"))
    return next((str(stamp) for stamp in stamps if stamp), "")


def _shares(cluster: Cluster) -> Mapping[_Key, int]:
    try:
        return traffic.shares(cluster)
    except RefusalError as exc:
        if exc.status != 403:
            raise
        # Without the right to read routes and Services nobody can say.
        return {}


def _by_target(scalers: Iterable[Object]) -> dict[_Key, Object]:
    return {
        (one["metadata"]["namespace"], one["spec"]["scaleTargetRef"]["name"]): one
        for one in scalers
        if one["spec"]["scaleTargetRef"].get("kind", "Deployment") == "Deployment"
    }


def _by_instance(pods: Iterable[Object]) -> dict[_Key, list[Object]]:
    found = defaultdict(list)
    for pod in pods:
        found[pod["metadata"]["namespace"], pod["metadata"]["labels"][LABEL]].append(pod)
    return found


def _by_object(events: Iterable[Object]) -> dict[_Key, list[Object]]:
    found = defaultdict(list)
    for event in events:
        about = event.get("involvedObject") or {}
        found[about.get("namespace", ""), about.get("name", "")].append(event)
    return found
