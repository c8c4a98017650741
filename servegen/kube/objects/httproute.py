"""HTTPRoute of the Gateway API: host names to the Service."""

from __future__ import annotations

from servegen.kube import Object, metadata
from servegen.kube.objects import Builder
from servegen.values.deployment import Deployment
from servegen.values.network import Route


def build(deployment: Deployment) -> Object | None:
    """The route, or None when no gateway is named."""
    route, timing = deployment.route, deployment.timing
    if route is None:
        return None
    hostnames = {"hostnames": list(route.hostnames)} if route.hostnames else {}
    timeout = timing.request_timeout
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata.build(deployment),
        "spec": {
            "parentRefs": [_parent(route)],
            **hostnames,
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                    "backendRefs": [
                        {"name": deployment.instance, "port": metadata.SERVICE_PORT, "weight": 100}
                    ],
                    # Longer than one try, so that a request to a pod that stops may be tried on another.
                    "timeouts": {"request": f"{timeout + timing.pre_stop}s", "backendRequest": f"{timeout}s"},
                }
            ],
        },
    }


def _parent(route: Route) -> Object:
    known = {"name": route.gateway, "namespace": route.gateway_namespace, "sectionName": route.section}
    return {key: value for key, value in known.items() if value}


OBJECT: Builder = build
