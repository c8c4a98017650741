"""Settings to the numbers of the autoscaler; without a measured profile they are constants."""

from __future__ import annotations

import re
from fractions import Fraction

from servegen.kube import quantity
from servegen.kube.metadata import IN_FLIGHT
from servegen.planning.refusing import refuse
from servegen.values.deployment import Settings
from servegen.values.scaling import Autoscaling, AutoscalingSettings, Keda, KedaSettings

METRICS = ("cpu", "in-flight")
_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_MOST_IN_FLIGHT = 100_000
_KEDA_RANGES = {
    "polling_seconds": (1, 600),
    "cooldown_seconds": (0, 86_400),
    "fallback_replicas": (0, 10_000),
}


def autoscaling(settings: Settings) -> Autoscaling | None:
    """The numbers of the autoscaler; None where the number of replicas is fixed."""
    scaling = settings.autoscaling
    if not scaling.enabled:
        if scaling.keda.enabled:
            refuse(
                "autoscaling.keda.enabled",
                "KEDA would scale, but autoscaling is off",
                "set deploy.autoscaling.enabled: true, or remove keda",
            )
        return None
    if settings.replicas is not None:
        refuse(
            "replicas",
            f"replicas is {settings.replicas}, but the autoscaler owns the number",
            "remove deploy.replicas, or set deploy.autoscaling.enabled: false",
        )
    if scaling.metric not in METRICS:
        refuse("autoscaling.metric", f"there is no metric {scaling.metric!r}", f"use {' or '.join(METRICS)}")
    smallest = _smallest(settings)
    in_flight = _in_flight(scaling)
    return Autoscaling(
        min_replicas=smallest,
        max_replicas=scaling.max_replicas,
        cpu_utilization=scaling.cpu_utilization,
        in_flight=in_flight if scaling.metric == "in-flight" or scaling.keda.enabled else None,
        scale_up_window=scaling.scale_up_window_seconds,
        scale_up_percent=scaling.scale_up_percent,
        scale_up_pods=scaling.scale_up_pods,
        scale_up_period=scaling.scale_up_period_seconds,
        scale_down_window=scaling.scale_down_window_seconds,
        scale_down_percent=scaling.scale_down_percent,
        scale_down_period=scaling.scale_down_period_seconds,
        keda=_keda(settings, smallest, in_flight) if scaling.keda.enabled else None,
    )


def _smallest(settings: Settings) -> int:
    scaling = settings.autoscaling
    smallest = scaling.min_replicas
    if smallest is None:
        smallest = 1 if settings.dev else 2
    if smallest < 0 or (smallest == 0 and not scaling.keda.enabled):
        refuse(
            "autoscaling.min_replicas",
            f"min_replicas is {smallest}, but a HorizontalPodAutoscaler looks at the replicas that run",
            "set deploy.autoscaling.min_replicas to 1 or more; to scale to zero set deploy.autoscaling.keda",
        )
    if smallest > scaling.max_replicas:
        refuse(
            "autoscaling.min_replicas",
            f"min_replicas {smallest} is above max_replicas {scaling.max_replicas}",
            "raise deploy.autoscaling.max_replicas",
        )
    return smallest


def _in_flight(scaling: AutoscalingSettings) -> str:
    try:
        target = quantity.canonical(scaling.in_flight)
    except ValueError as exc:
        refuse("autoscaling.in_flight", str(exc), "write a number such as 4 or 1500m")
    if scaling.in_flight.endswith("i") or not 1 <= quantity.value(target) <= _MOST_IN_FLIGHT:
        refuse(
            "autoscaling.in_flight",
            f"{scaling.in_flight!r} is no number of requests",
            f"use a number from 1 to {_MOST_IN_FLIGHT}, such as 4 or 1500m",
        )
    return target


def _keda(settings: Settings, smallest: int, in_flight: str) -> Keda:
    keda = settings.autoscaling.keda
    for name, (lowest, highest) in _KEDA_RANGES.items():
        value = getattr(keda, name)
        if value is not None and not lowest <= value <= highest:
            refuse(
                f"autoscaling.keda.{name}",
                f"{name} is {value}",
                f"use a number from {lowest} to {highest}",
            )
    if keda.prometheus is None or not _URL.fullmatch(keda.prometheus):
        refuse(
            "autoscaling.keda.prometheus",
            f"{keda.prometheus!r} is no address of a Prometheus"
            if keda.prometheus
            else "KEDA asks a Prometheus",
            "name it as the cluster sees it, without a login: http://prometheus.monitoring:9090",
        )
    if keda.query is None and settings.namespace is None:
        refuse(
            "autoscaling.keda",
            "the requests in flight are asked for by namespace, and none is named",
            "set deploy.namespace, or deploy.autoscaling.keda.query",
        )
    for name in ("query", "wake_query"):
        text = getattr(keda, name)
        if text is not None and not text.strip():
            refuse(f"autoscaling.keda.{name}", "the query is empty", "write PromQL, or leave the key out")
    _wake(keda, smallest)
    fallback = keda.fallback_replicas
    return Keda(
        prometheus=keda.prometheus,
        query=keda.query,
        wake_query=keda.wake_query,
        threshold=_decimal(quantity.value(in_flight)),
        polling=keda.polling_seconds,
        cooldown=keda.cooldown_seconds,
        fallback_replicas=(smallest or 2) if fallback is None else fallback,
    )


def _wake(keda: KedaSettings, smallest: int) -> None:
    if smallest == 0 and not keda.wake_query:
        refuse(
            "autoscaling.keda.wake_query",
            "replicas that do not run report no requests, so nothing would start the first one",
            "name a query that is above 0 then, such as of a gateway's or a queue's requests; "
            "or set deploy.autoscaling.min_replicas to 1 or more",
        )
    if keda.wake_query and IN_FLIGHT in keda.wake_query:
        refuse(
            "autoscaling.keda.wake_query",
            f"{IN_FLIGHT} comes from replicas that run, so it cannot start the first one",
            "name a series that exists without replicas, such as a gateway's or a queue's",
        )


def _decimal(number: Fraction) -> str:
    """`number`, a multiple of a thousandth, as a decimal."""
    whole, rest = divmod(number * 1000, 1000)
    return f"{int(whole)}.{int(rest):03}".rstrip("0").rstrip(".")
