"""The parts of the pod that depend on what users add to it."""

from __future__ import annotations

import hashlib

from servegen.kube import Object, versions
from servegen.values.additions import Raw
from servegen.values.deployment import Deployment

CONFIG, MODEL, SHM, TMP = "config", "model", "shm", "tmp"
"""Names of our own volumes."""
MODEL_PATH = "/models"
SECURITY: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
}
"""`securityContext` of the server's container, and of others that bring none."""


def volumes(deployment: Deployment) -> list[Object]:
    """`volumes` of the pod: ours, then the user's."""
    added = deployment.additions
    found: list[Object] = [{"name": TMP, "emptyDir": {"sizeLimit": deployment.resources.tmp_size}}]
    if added.config:
        found.append({"name": CONFIG, "configMap": {"name": deployment.instance}})
    if added.shm_size:
        found.append({"name": SHM, "emptyDir": {"medium": "Memory", "sizeLimit": added.shm_size}})
    if added.model_volume:
        source = {"reference": added.model_volume, "pullPolicy": "IfNotPresent"}
        found.append({"name": MODEL, "image": source})
    return [*found, *map(dict, added.volumes)]


def mounts(deployment: Deployment) -> list[Object]:
    """`volumeMounts` of the server's container, in the same order."""
    added = deployment.additions
    found: list[Object] = [{"name": TMP, "mountPath": "/tmp"}]  # noqa: S108 (a path in the container)
    if added.config:
        found.append({"name": CONFIG, "mountPath": added.config_path, "readOnly": True})
    if added.shm_size:
        found.append({"name": SHM, "mountPath": "/dev/shm"})  # noqa: S108
    if added.model_volume:
        found.append({"name": MODEL, "mountPath": MODEL_PATH, "readOnly": True})
    return [*found, *map(dict, added.volume_mounts)]


def init_containers(deployment: Deployment) -> list[Object]:
    """`initContainers`: the user's, then the sidecars where Kubernetes has them there."""
    added = deployment.additions
    # After the others, as where sidecars are plain containers: what they wait for is the same everywhere.
    native = [_secured(one) | {"restartPolicy": "Always"} for one in added.sidecars if _native(deployment)]
    return [*map(_secured, added.init_containers), *native]


def containers(deployment: Deployment) -> list[Object]:
    """Containers beside the server: the sidecars where Kubernetes has no better place for them."""
    return [] if _native(deployment) else [_secured(one) for one in deployment.additions.sidecars]


def affinity(deployment: Deployment) -> Object:
    """`affinity` of the pod: the user's, or the devices that will do."""
    gpu = deployment.additions.gpu
    if gpu is None or not gpu.products:
        return dict(deployment.additions.affinity)
    wanted = {"key": gpu.product_label, "operator": "In", "values": list(gpu.products)}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [wanted]}]}
    return dict(deployment.additions.affinity) | {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    }


def tolerations(deployment: Deployment) -> list[Object]:
    """Tolerations of the taint that keeps other pods away from nodes with devices."""
    gpu = deployment.additions.gpu
    return [] if gpu is None else [{"key": gpu.resource, "operator": "Exists", "effect": "NoSchedule"}]


def checksum(deployment: Deployment) -> dict[str, str]:
    """The annotation of the pods that changes with the ConfigMap, so that they roll with it."""
    if not deployment.additions.config:
        return {}
    # The chart's template makes the same of the same files.
    lines = [
        f"{name}={hashlib.sha256(text.encode()).hexdigest()}" for name, text in deployment.additions.config
    ]
    return {"checksum/config": hashlib.sha256("\n".join(lines).encode()).hexdigest()}


def _native(deployment: Deployment) -> bool:
    return versions.supports(deployment.kube_version, "native sidecar")


def _secured(container: Raw) -> Object:
    return dict(container) if "securityContext" in container else {**container, "securityContext": SECURITY}
