"""Labels, annotations and selectors of our objects."""

from __future__ import annotations

from servegen.kube import Object
from servegen.values.deployment import Deployment

PREFIX = "servegen.dev/"
MANAGER = "servegen"
"""Field manager of our applies, and the value of `managed-by`."""
CONTAINER = "server"
PORT_NAME = "http"
GRPC_PORT_NAME = "grpc"
SERVICE_PORT = 80
METRICS_PATH = "/metrics"
IN_FLIGHT = "servegen_requests_in_flight"
"""The server's gauge of accepted requests, queued and running."""
OWN_KEYS = ("app.kubernetes.io/", PREFIX, "helm.sh/")
"""Prefixes of keys that users may not set."""


def selector(deployment: Deployment) -> dict[str, str]:
    """Labels that choose the pods; immutable once applied, so nothing that changes may be among them."""
    return {
        "app.kubernetes.io/instance": deployment.instance,
        "app.kubernetes.io/name": deployment.name,
    }


def labels(deployment: Deployment) -> dict[str, str]:
    """Labels of every object and of the pods, sorted."""
    ours = selector(deployment) | {
        "app.kubernetes.io/component": "inference",
        "app.kubernetes.io/managed-by": MANAGER,
        "app.kubernetes.io/part-of": deployment.part_of,
        "app.kubernetes.io/version": deployment.model.version,
        f"{PREFIX}instance": deployment.instance,
        f"{PREFIX}track": deployment.track,
    }
    return dict(sorted((dict(deployment.extras.labels) | ours).items()))


def notes(deployment: Deployment) -> dict[str, str]:
    """Annotations of every object: just enough to see whose model an object serves."""
    return dict(deployment.extras.annotations) | {f"{PREFIX}model-name": deployment.model.name}


def facts(deployment: Deployment) -> dict[str, str]:
    """Where model and numbers come from; on the Deployment only, so that other objects stay untouched."""
    model = deployment.model
    known = {
        "image-tag": deployment.image.tag,
        "model-digest": model.digest,
        "model-uri": model.uri,
        "pin": model.pin,
        "profile": deployment.profile,
        "run-id": model.run_id,
        "version": deployment.generator,
    }
    return {PREFIX + key: value for key, value in known.items() if value}


def build(deployment: Deployment, *, further: dict[str, str] | None = None) -> Object:
    """The `metadata` of an object."""
    namespace = {"namespace": deployment.namespace} if deployment.namespace else {}
    return {
        "name": deployment.instance,
        **namespace,
        "labels": labels(deployment),
        "annotations": dict(sorted((notes(deployment) | (further or {})).items())),
    }
