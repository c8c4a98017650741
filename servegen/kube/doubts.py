"""What keeps applied objects from doing their work although the pods answer: warnings, no failures."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

from servegen.kube import Object, metadata, scaling
from servegen.kube.client import Cluster
from servegen.kube.refusal import one_line

_METRICS = "metrics.k8s.io/v1beta1"
_PATIENCE_SECONDS = 60
"""After which an autoscaler should have a figure of pods that answer."""
_CUSTOM_METRICS = ("custom.metrics.k8s.io/v1beta2", "custom.metrics.k8s.io/v1beta1")


def about(cluster: Cluster, applied: Sequence[Object]) -> tuple[str, ...]:
    """What the user has to know about `applied`, one line each."""
    return (
        *_metrics(cluster, applied),
        *_blind(cluster, applied),
        *(text for one in applied for text in _answer(cluster, one)),
    )


def blind_seconds(scaler: Object, workload: Object, now: datetime.datetime) -> float:
    """For how long an autoscaler has had no figures of a Deployment whose pods answer; 0 when it has some."""
    scales = _condition(scaler, "ScalingActive")
    if scales.get("status") != "False" or scales.get("reason") == "ScalingDisabled":
        return 0
    # The rollout's end: until then there may have been nothing to measure.
    rolled_out = _condition(workload, "Progressing").get("lastUpdateTime")
    times = [_time(text) for text in (scales.get("lastTransitionTime"), rolled_out) if text]
    return (now - max(times)).total_seconds() if times else 0


def _metrics(cluster: Cluster, applied: Sequence[Object]) -> Iterator[str]:
    scalers = [one for one in applied if one["kind"] == "HorizontalPodAutoscaler"]
    kinds = {metric["type"] for one in scalers for metric in one["spec"].get("metrics", ())}
    if scalers and not cluster.serves(_METRICS):
        yield f"the cluster serves no {_METRICS}: without metrics-server the autoscaler cannot scale"
    if "Pods" in kinds and not any(cluster.serves(one) for one in _CUSTOM_METRICS):
        yield (
            f"the cluster serves no {_CUSTOM_METRICS[0]}: without an adapter that knows "
            f"{metadata.IN_FLIGHT} the autoscaler adds replicas on CPU and never removes one"
        )


def _blind(cluster: Cluster, applied: Sequence[Object]) -> Iterator[str]:
    for one in applied:
        # As it was when it was applied; only then it is worth to ask again.
        if (
            one["kind"] != "HorizontalPodAutoscaler"
            or _condition(one, "ScalingActive").get("status") != "False"
        ):
            continue
        scaler = cluster.live(one) or {}
        target = one["spec"]["scaleTargetRef"]
        workload = cluster.get(target["apiVersion"], target["kind"], target["name"]) or {}
        seconds = blind_seconds(scaler, workload, datetime.datetime.now(datetime.timezone.utc))
        if seconds >= _PATIENCE_SECONDS:
            why = scaling.read(scaler, scaled_object=None, metrics_served=True).why
            yield (
                f"the autoscaler of {target['name']} has seen no figures for {seconds:.0f} s, "
                f"and removes no replica meanwhile: {why}"
            )


def _condition(one: Object, kind: str) -> Object:
    found: list[Object] = (one.get("status") or {}).get("conditions") or []
    return next((each for each in found if each["type"] == kind), {})


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def _answer(cluster: Cluster, one: Object) -> Iterator[str]:
    """What the controller of a custom resource says about it; it has had the time that the pods took."""
    if one["kind"] not in ("HTTPRoute", "ScaledObject"):
        return
    status = (cluster.live(one) or {}).get("status", {})
    name = one["metadata"]["name"]
    if one["kind"] == "ScaledObject":
        yield from _refusals(f"KEDA does not scale {name}", status.get("conditions", ()), ("Ready",))
        return
    parents = status.get("parents", ())
    if not parents:
        gateway = one["spec"]["parentRefs"][0]["name"]
        yield f"no controller has answered for HTTPRoute {name}: is there a Gateway {gateway} that is served?"
    for parent in parents:
        title = f"Gateway {parent['parentRef']['name']} does not take HTTPRoute {name}"
        yield from _refusals(title, parent.get("conditions", ()), ("Accepted", "ResolvedRefs"))


def _refusals(title: str, conditions: Sequence[Object], types: Sequence[str]) -> Iterator[str]:
    for condition in conditions:
        if condition["type"] in types and condition["status"] == "False":
            yield one_line(f"{title}: {condition.get('reason', '')}: {condition.get('message', '')}")
