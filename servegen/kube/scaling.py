"""What an autoscaler sees and why it does or does not scale: pure functions over what the server says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from servegen.kube import Object, quantity
from servegen.kube.refusal import one_line

_TOLERANCE = Fraction(1, 10)
"""Deviation that changes nothing where the object names none."""
_SOURCES = {
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
}
"""Type of a metric to the key of its details."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One figure an autoscaler looks at."""

    name: str
    now: str | None
    """None while the autoscaler has not read it."""
    target: str
    ratio: float | None
    """`now` divided by `target`."""


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """An autoscaler's bounds, figures and decision."""

    kind: str
    """HorizontalPodAutoscaler or ScaledObject."""
    minimum: int
    maximum: int
    current: int
    desired: int
    metrics: tuple[Metric, ...]
    working: bool
    """False when it cannot scale, whatever the load."""
    why: str
    """One line: why it does or does not scale."""


def read(hpa: Object, *, scaled_object: Object | None = None, metrics_served: bool = True) -> Scaling:
    """What `hpa` does; `scaled_object` is the KEDA object that made it, `metrics_served` metrics-server."""
    spec, status = hpa["spec"], hpa.get("status") or {}
    metrics = tuple(_metrics(hpa))
    minimum = int(spec.get("minReplicas", 1))
    if scaled_object is not None:
        minimum = int(scaled_object["spec"].get("minReplicaCount", 0))
    working, why = _why(hpa, metrics, metrics_served=metrics_served)
    if scaled_object is not None:
        working, why = _why_keda(scaled_object, working=working, why=why)
    return Scaling(
        kind="HorizontalPodAutoscaler" if scaled_object is None else "ScaledObject",
        minimum=minimum,
        maximum=int(spec["maxReplicas"]),
        current=int(status.get("currentReplicas", 0)),
        desired=int(status.get("desiredReplicas", 0)),
        metrics=metrics,
        working=working,
        why=why,
    )


def of_scaled_object(scaled_object: Object) -> Scaling:
    """What a ScaledObject does for which KEDA has made no autoscaler yet."""
    spec = scaled_object["spec"]
    working, why = _why_keda(scaled_object, working=False, why="KEDA has made no autoscaler of it yet")
    return Scaling(
        kind="ScaledObject",
        minimum=int(spec.get("minReplicaCount", 0)),
        maximum=int(spec.get("maxReplicaCount", 100)),
        current=0,
        desired=0,
        metrics=(),
        working=working,
        why=why,
    )


def _metrics(hpa: Object) -> Iterator[Metric]:
    seen = [_named(one) for one in (hpa.get("status") or {}).get("currentMetrics") or ()]
    for one in hpa["spec"].get("metrics", ()):
        name, details = _named(one)
        current: Object = next((found["current"] for other, found in seen if other == name and found), {})
        target = details["target"]
        key = next(k for k in ("averageUtilization", "averageValue", "value") if target.get(k) is not None)
        now = current.get(key)
        yield Metric(
            name=name,
            now=None if now is None else _shown(key, now),
            target=_shown(key, target[key]),
            ratio=None if now is None else _ratio(str(now), str(target[key])),
        )


def _named(metric: Object) -> tuple[str, Object]:
    """Name and details of a metric; both are empty for the entry of a figure that could not be read."""
    details = metric.get(_SOURCES.get(metric.get("type", ""), "")) or {}
    name = details.get("name") or (details.get("metric") or {}).get("name") or ""
    container = f" of container {details['container']}" if details.get("container") else ""
    return f"{name}{container}", details


def _shown(key: str, value: object) -> str:
    return f"{value}%" if key == "averageUtilization" else str(value)


def _ratio(now: str, target: str) -> float | None:
    try:
        wanted = quantity.value(target)
        return float(quantity.value(now) / wanted) if wanted else None
    except ValueError:
        # Micro and nano units, which nobody writes and only a metrics adapter answers with.
        return None


def _why(hpa: Object, metrics: tuple[Metric, ...], *, metrics_served: bool) -> tuple[bool, str]:
    status = hpa.get("status") or {}
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    able, active = conditions.get("AbleToScale", {}), conditions.get("ScalingActive", {})
    current, desired = int(status.get("currentReplicas", 0)), int(status.get("desiredReplicas", 0))
    if not conditions:
        return True, "the autoscaler has not looked at it yet"
    if able.get("status") == "False":
        return False, f"cannot scale: {_said(able)}"
    if active.get("reason") == "ScalingDisabled":
        return False, "off: the Deployment was scaled to 0 by hand, and only a person can start it again"
    if active.get("status") == "False":
        return False, _blind(active, metrics_served=metrics_served)
    if desired != current:
        way = "up" if desired > current else "down"
        return True, f"scaling {way} from {current} to {desired}: {_figures(metrics)}"
    return True, _resting(hpa, conditions, metrics)


def _blind(active: Object, *, metrics_served: bool) -> str:
    said = _said(active)
    if not metrics_served and "Resource" in active.get("reason", ""):
        return "cannot scale: nobody measures CPU, as the cluster serves no metrics.k8s.io (metrics-server)"
    if re.search(r"missing request for (\w+)", said):
        return f"cannot scale: a container of the pods requests none of what is measured: {said}"
    if re.search(r"no metrics returned|did not receive metrics|no pods? .*metrics", said):
        return (
            f"cannot scale yet: no pod has been measured, which takes up to a minute after a start ({said})"
        )
    return f"cannot scale up or down: {said}"


def _resting(hpa: Object, conditions: Mapping[str, Object], metrics: tuple[Metric, ...]) -> str:
    """Why the number of replicas stays as it is."""
    current, figures = int(hpa["status"].get("currentReplicas", 0)), _figures(metrics)
    limited = conditions.get("ScalingLimited", {})
    able = conditions.get("AbleToScale", {})
    if limited.get("status") == "True":
        if limited.get("reason") == "TooManyReplicas":
            return f"at its maximum of {current}, the load would need more: {figures}"
        if limited.get("reason") == "TooFewReplicas":
            return f"at its minimum of {current}, the load would need less: {figures}"
        return f"held back: {_said(limited)}"
    if able.get("reason") == "ScaleDownStabilized":
        window = _rules(hpa, "scaleDown").get("stabilizationWindowSeconds", 300)
        return f"waits before it scales down: more was needed within the last {window} s; {figures}"
    if able.get("reason") == "ScaleUpStabilized":
        window = _rules(hpa, "scaleUp").get("stabilizationWindowSeconds", 0)
        return f"waits before it scales up: less was needed within the last {window} s; {figures}"
    ratios = [one.ratio for one in metrics if one.ratio is not None]
    if not ratios:
        return f"steady: {figures}"
    highest = max(ratios)
    tolerance = _tolerance(hpa, "scaleUp" if highest > 1 else "scaleDown")
    if abs(highest - 1) <= tolerance:
        return f"steady: within {float(tolerance):.0%} of the target: {figures}"
    if highest < 1:
        return f"steady: with a replica less it would be above the target: {figures}"
    return f"about to look again: {figures}"


def _why_keda(scaled_object: Object, *, working: bool, why: str) -> tuple[bool, str]:
    status = scaled_object.get("status") or {}
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    notes = scaled_object["metadata"].get("annotations") or {}
    if conditions.get("Paused", {}).get("status") == "True" or "autoscaling.keda.sh/paused" in notes:
        return False, "paused by an annotation of the ScaledObject"
    if conditions.get("Ready", {}).get("status") == "False":
        return False, f"KEDA cannot use it: {_said(conditions['Ready'])}"
    if conditions.get("Fallback", {}).get("status") == "True":
        return False, f"on its fallback number of replicas: {_said(conditions['Fallback'])}"
    if not conditions:
        return working, "KEDA has not looked at it yet"
    # While nothing is asked for, KEDA itself sets 0 and the autoscaler rests.
    if conditions.get("Active", {}).get("status") == "False" and not scaled_object["spec"].get(
        "minReplicaCount"
    ):
        return True, "no load: KEDA keeps it at 0 replicas, or takes it there after the cooldown"
    return working, why


def _figures(metrics: tuple[Metric, ...]) -> str:
    texts = [
        f"{one.name} is {one.now}, the target {one.target}"
        if one.now is not None
        else f"{one.name} is unknown, the target {one.target}"
        for one in metrics
    ]
    return "; ".join(texts) or "no metric is configured"


def _said(condition: Object) -> str:
    return one_line(condition.get("message") or condition.get("reason") or "without a reason", 200)


def _rules(hpa: Object, way: str) -> Object:
    return dict((hpa["spec"].get("behavior") or {}).get(way) or {})


def _tolerance(hpa: Object, way: str) -> Fraction:
    text = _rules(hpa, way).get("tolerance")
    return quantity.value(str(text)) if text is not None else _TOLERANCE
