"""How many replicas follow the load: settings, and the numbers that come of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from servegen.values.option import option


@dataclass(frozen=True, kw_only=True)
class KedaSettings:
    """`deploy.autoscaling.keda`: scaling by KEDA on what Prometheus knows, also to zero."""

    enabled: bool = option("Write a ScaledObject instead of a HorizontalPodAutoscaler.", default=False)
    prometheus: str | None = option(
        "Address of the Prometheus to ask, such as http://prometheus.monitoring:9090.", default=None
    )
    query: str | None = option(
        "PromQL of the requests in flight in all replicas; default: the server's own metric.", default=None
    )
    wake_query: str | None = option(
        "PromQL of requests before the pods, such as at a gateway; starts the first replica.",
        default=None,
    )
    polling_seconds: int = option("How often Prometheus is asked.", default=15)
    cooldown_seconds: int = option("How long nothing must happen before the last replica stops.", default=300)
    fallback_replicas: int | None = option(
        "Replicas while Prometheus does not answer; default: the fewest, or 2 where those are none.",
        default=None,
    )


@dataclass(frozen=True, kw_only=True)
class AutoscalingSettings:
    """`deploy.autoscaling`: how many replicas follow the load."""

    enabled: bool = option("Let the load decide; off: a fixed number of replicas.", default=True)
    metric: str = option(
        "`cpu`, or `in-flight`: requests in flight and CPU. KEDA always follows requests in flight.",
        default="cpu",
    )
    min_replicas: int | None = option(
        "Fewest replicas; default 2, or 1 with `dev`. 0 needs `keda`.", default=None
    )
    max_replicas: int = option("Most replicas.", default=10)
    cpu_utilization: int = option("Wanted use of the CPU request in percent; may exceed 100.", default=50)
    in_flight: str = option("Wanted requests in flight for each replica, queued and running.", default="4")
    keda: KedaSettings = field(
        default_factory=KedaSettings,
        metadata={"help": "Scaling by KEDA on what Prometheus knows, also to zero."},
    )
    scale_up_window_seconds: int = option("How long a rise must last before replicas are added.", default=0)
    scale_up_percent: int = option("Replicas added per period, in percent of those running.", default=100)
    scale_up_pods: int = option("Replicas added per period; the larger of the two counts.", default=4)
    scale_up_period_seconds: int = option("Length of a scale-up period.", default=15)
    scale_down_window_seconds: int = option(
        "How long a fall must last before replicas are removed.", default=300
    )
    scale_down_percent: int = option("Replicas removed per period, in percent of those running.", default=50)
    scale_down_period_seconds: int = option("Length of a scale-down period.", default=60)


@dataclass(frozen=True, kw_only=True)
class Keda:
    """What a ScaledObject says beside the numbers of every autoscaler."""

    prometheus: str
    query: str | None
    """None: the server's own metric in the namespace of the objects."""
    wake_query: str | None
    threshold: str
    """Requests in flight for each replica, as a decimal number."""
    polling: int
    cooldown: int
    fallback_replicas: int


@dataclass(frozen=True, kw_only=True)
class Autoscaling:
    """Numbers of the autoscaler."""

    min_replicas: int
    max_replicas: int
    cpu_utilization: int
    in_flight: str | None
    """Wanted requests in flight for each replica as a quantity; None: CPU alone decides."""
    scale_up_window: int
    scale_up_percent: int
    scale_up_pods: int
    scale_up_period: int
    scale_down_window: int
    scale_down_percent: int
    scale_down_period: int
    tolerance: str = "50m"
    """Deviation from the target that changes nothing."""
    keda: Keda | None = None
    """None: a HorizontalPodAutoscaler does it."""
