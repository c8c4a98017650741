"""Service: port 80 inside the cluster, by name to the server's port."""

from __future__ import annotations

from servegen.kube import Object, metadata
from servegen.kube.objects import Builder
from servegen.values.deployment import Deployment


def build(deployment: Deployment) -> Object:
    """The Service in front of the pods."""
    ports: list[Object] = [
        {
            "name": metadata.PORT_NAME,
            "port": metadata.SERVICE_PORT,
            "targetPort": metadata.PORT_NAME,
            "protocol": "TCP",
            "appProtocol": "http",
        }
    ]
    if deployment.grpc_port is not None:
        ports.append(
            {
                "name": metadata.GRPC_PORT_NAME,
                "port": deployment.grpc_port,
                "targetPort": metadata.GRPC_PORT_NAME,
                "protocol": "TCP",
                # HTTP/2 from the first byte on, for gateways that do not know gRPC by itself.
                "appProtocol": "kubernetes.io/h2c",
            }
        )
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata.build(deployment),
        "spec": {
            "type": "ClusterIP",
            "selector": metadata.selector(deployment),
            **({"trafficDistribution": "PreferSameZone"} if deployment.same_zone else {}),
            "ports": ports,
        },
    }


OBJECT: Builder = build
