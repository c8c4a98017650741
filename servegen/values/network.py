"""Who may reach the pods and how: settings of NetworkPolicy, monitors and HTTPRoute, and their intent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from servegen.values.option import option


@dataclass(frozen=True, kw_only=True)
class NetworkPolicySettings:
    """`deploy.network_policy`: whom the pods may talk to."""

    enabled: bool = option(
        "Write a NetworkPolicy: callers of the own namespace, Prometheus and the gateway; calls to DNS.",
        default=False,
    )
    ingress: tuple[str, ...] = option(
        "Further callers: names of namespaces, or address blocks such as 10.1.0.0/16.", default=()
    )
    egress: tuple[str, ...] = option(
        "What the pods call, such as a feature store: namespaces or address blocks.", default=()
    )


@dataclass(frozen=True, kw_only=True)
class MonitoringSettings:
    """`deploy.monitoring`: how Prometheus finds the pods."""

    discovery: str = option(
        "`annotations` of the pods, the Prometheus operator's `podmonitor` or `servicemonitor`, or `none`.",
        default="annotations",
    )
    interval_seconds: int = option("How often a monitor asks.", default=15)
    labels: Mapping[str, str] = option(
        "Labels of the monitor, where the operator selects monitors by label.", default={}
    )
    namespace: str = option(
        "Where Prometheus runs; a NetworkPolicy lets this namespace in.", default="monitoring"
    )


@dataclass(frozen=True, kw_only=True)
class RouteSettings:
    """`deploy.route`: the way in through a gateway."""

    gateway: str | None = option("Gateway that gets an HTTPRoute to the model.", default=None)
    gateway_namespace: str | None = option("Its namespace, where that is another one.", default=None)
    section: str | None = option("Its listener; default: every one that admits the route.", default=None)
    hostnames: tuple[str, ...] = option("Host names to answer to; none: those of the listener.", default=())


@dataclass(frozen=True, kw_only=True)
class Peer:
    """The other end of a connection: a namespace or an address block, one of the two."""

    namespace: str | None = None
    cidr: str | None = None


@dataclass(frozen=True, kw_only=True)
class NetworkPolicy:
    """Who may call the pods beside their own namespace, and whom they may call beside DNS."""

    ingress: tuple[Peer, ...]
    egress: tuple[Peer, ...]


@dataclass(frozen=True, kw_only=True)
class Monitoring:
    """How Prometheus finds the pods."""

    discovery: str = "annotations"
    """`annotations`, `podmonitor`, `servicemonitor` or `none`."""
    interval: int = 15
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Route:
    """The way in through a gateway."""

    gateway: str
    gateway_namespace: str | None
    section: str | None
    hostnames: tuple[str, ...]
