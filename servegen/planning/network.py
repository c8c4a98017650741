"""Settings of NetworkPolicy, monitors and HTTPRoute to their intent; what cannot be is refused."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from servegen.kube import metadata, names
from servegen.planning.refusing import refuse
from servegen.values.deployment import Settings
from servegen.values.network import Monitoring, NetworkPolicy, Peer, Route

DISCOVERIES = ("annotations", "podmonitor", "servicemonitor", "none")
_MOST_HOSTNAMES = 16
"""Of one HTTPRoute."""
_HOSTNAME = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def network_policy(settings: Settings) -> NetworkPolicy | None:
    """Whom the pods may talk to; None where everybody may."""
    policy, route = settings.network_policy, settings.route
    ingress = [peer("network_policy.ingress", text) for text in policy.ingress]
    egress = [peer("network_policy.egress", text) for text in policy.egress]
    if not policy.enabled:
        if ingress or egress:
            refuse(
                "network_policy",
                "peers are named, but no NetworkPolicy is written",
                "set deploy.network_policy.enabled: true",
            )
        return None
    if route.gateway and route.gateway_namespace:
        ingress.insert(0, Peer(namespace=route.gateway_namespace))
    if settings.monitoring.discovery != "none":
        ingress.insert(0, Peer(namespace=settings.monitoring.namespace))
    return NetworkPolicy(ingress=_unique(ingress), egress=_unique(egress))


def monitoring(settings: Settings) -> Monitoring:
    """How Prometheus finds the pods."""
    wanted = settings.monitoring
    if wanted.discovery not in DISCOVERIES:
        refuse(
            "monitoring.discovery",
            f"there is no discovery by {wanted.discovery!r}",
            f"use one of: {', '.join(DISCOVERIES)}",
        )
    if not 1 <= wanted.interval_seconds <= 3600:
        refuse(
            "monitoring.interval_seconds",
            f"interval_seconds is {wanted.interval_seconds}",
            "use a number from 1 to 3600",
        )
    _namespace("monitoring.namespace", wanted.namespace)
    for key, value in wanted.labels.items():
        if not names.is_key(key) or not names.is_label_value(value):
            refuse(
                "monitoring.labels", f"{key}: {value!r} is no label", "use a label the operator selects by"
            )
        if key.startswith(metadata.OWN_KEYS):
            refuse("monitoring.labels", f"{key} is written by servegen", "choose another key")
    return Monitoring(
        discovery=wanted.discovery,
        interval=wanted.interval_seconds,
        labels=tuple(sorted(wanted.labels.items())),
    )


def route(settings: Settings) -> Route | None:
    """The way in through a gateway; None where there is none."""
    wanted = settings.route
    if wanted.gateway is None:
        if wanted.hostnames or wanted.gateway_namespace or wanted.section:
            refuse(
                "route.gateway",
                "a route needs a gateway to be attached to",
                "set deploy.route.gateway to the name of a Gateway: kubectl get gateways --all-namespaces",
            )
        return None
    if not names.is_subdomain(wanted.gateway):
        refuse("route.gateway", f"{wanted.gateway!r} cannot name an object", "use a-z, 0-9, - and .")
    if wanted.gateway_namespace is not None:
        _namespace("route.gateway_namespace", wanted.gateway_namespace)
    if wanted.section is not None and not names.is_subdomain(wanted.section):
        refuse("route.section", f"{wanted.section!r} cannot name a listener", "use a-z, 0-9, - and .")
    if len(set(wanted.hostnames)) > _MOST_HOSTNAMES:
        refuse(
            "route.hostnames",
            f"there are {len(set(wanted.hostnames))} of them",
            f"name at most {_MOST_HOSTNAMES}; *.example.com stands for many",
        )
    for name in wanted.hostnames:
        if len(name) > 253 or not _HOSTNAME.fullmatch(name) or _is_address(name):
            refuse(
                "route.hostnames",
                f"{name!r} is no host name",
                "write a DNS name in lower case, without port, such as iris.example.com or *.example.com",
            )
    return Route(
        gateway=wanted.gateway,
        gateway_namespace=wanted.gateway_namespace,
        section=wanted.section,
        hostnames=tuple(dict.fromkeys(wanted.hostnames)),
    )


def peer(setting: str, text: str) -> Peer:
    """The namespace or address block that `text` names; RenderError where it names none."""
    hint = "write a namespace, or an address block such as 10.1.0.0/16"
    if "/" not in text:
        _namespace(setting, text, hint)
        return Peer(namespace=text)
    try:
        return Peer(cidr=str(ipaddress.ip_network(text)))
    except ValueError as exc:
        refuse(setting, str(exc), hint)


def _namespace(setting: str, text: str, hint: str = "use a-z, 0-9 and -") -> None:
    if len(text) > names.LABEL_LIMIT or not names.is_subdomain(text) or "." in text:
        refuse(setting, f"{text!r} is not a namespace's name", hint)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _unique(peers: Iterable[Peer]) -> tuple[Peer, ...]:
    return tuple(dict.fromkeys(peers))
