"""NetworkPolicy: requests from those who are known, calls to DNS and to what is named."""

from __future__ import annotations

from collections.abc import Iterable

from servegen.kube import Object, metadata
from servegen.kube.objects import Builder
from servegen.values.deployment import Deployment
from servegen.values.network import Peer

_NAMESPACE = "kubernetes.io/metadata.name"


def build(deployment: Deployment) -> Object | None:
    """The policy of the pods, or None when everybody may talk to them."""
    policy = deployment.network_policy
    if policy is None:
        return None
    ports = [metadata.PORT_NAME] + ([metadata.GRPC_PORT_NAME] if deployment.grpc_port is not None else [])
    ingress = {
        # The own namespace whole: callers, `helm test`, a gateway that runs here.
        "from": [{"podSelector": {}}, *peers(policy.ingress)],
        "ports": [{"port": port, "protocol": "TCP"} for port in ports],
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata.build(deployment),
        "spec": {
            # One label only: it says all, and reviewers' tools look for exactly one.
            "podSelector": {"matchLabels": {"app.kubernetes.io/instance": deployment.instance}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [ingress],
            "egress": [_dns(), *({"to": [one]} for one in peers(policy.egress))],
        },
    }


def _dns() -> Object:
    server = {
        "namespaceSelector": {"matchLabels": {_NAMESPACE: "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    return {"to": [server], "ports": [{"port": 53, "protocol": name} for name in ("UDP", "TCP")]}


def peers(named: Iterable[Peer]) -> list[Object]:
    """Namespaces and address blocks as a policy has them."""
    return [
        {"ipBlock": {"cidr": one.cidr}}
        if one.cidr
        else {"namespaceSelector": {"matchLabels": {_NAMESPACE: one.namespace}}}
        for one in named
    ]


OBJECT: Builder = build
