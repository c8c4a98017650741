"""Service: port 80 inside the cluster, by name to the server's port."""

from __future__ import annotations

from servegen.kube import Object, metadata
from servegen.kube.objects import Builder
from servegen.values.deployment import Deployment


def build(deployment: Deployment) -> Object:
    """The Service in front of the pods."""
    port = {
        "name": metadata.PORT_NAME,
        "port": 80,
        "targetPort": metadata.PORT_NAME,
        "protocol": "TCP",
        "appProtocol": "http",
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata.build(deployment),
        "spec": {"type": "ClusterIP", "selector": metadata.selector(deployment), "ports": [port]},
    }


OBJECT: Builder = build
