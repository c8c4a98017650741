"""Which fields are written for which Kubernetes."""

from __future__ import annotations

from servegen.errors import RenderError
from servegen.values.deployment import KubeVersion

OLDEST = KubeVersion(major=1, minor=29)
NEWEST = KubeVersion(major=1, minor=37)
DEFAULT = KubeVersion(major=1, minor=35)

SINCE = {
    "preStop.sleep": 29,
    "ContainerResource metric": 30,
    "PodDisruptionBudget unhealthyPodEvictionPolicy": 31,
    "native sidecar": 33,
    "supplementalGroupsPolicy": 35,
    # 1.33 and 1.34 know the field but drop it silently, older ones refuse it.
    "HorizontalPodAutoscaler tolerance": 35,
    "trafficDistribution PreferSameZone": 35,
    # Earlier ones know the field, too, but not every runtime mounted it.
    "volumes.image": 35,
    "hostUsers": 36,
}
"""Field to the minor version from which it is on by default and kept by the server."""
OPT_IN = {
    "model_volume": "volumes.image",
    "same_zone": "trafficDistribution PreferSameZone",
    "user_namespace": "hostUsers",
}
"""Settings that ask for a field of `SINCE`; the others are written wherever they are kept."""


def supports(version: KubeVersion, field: str) -> bool:
    """Whether `field`, a key of `SINCE`, may be written for `version`."""
    return version >= KubeVersion(major=1, minor=SINCE[field])


def wanted(text: str | None) -> KubeVersion:
    """The version to write for when `text` is asked; raises RenderError when it is none we know."""
    if text is None:
        return DEFAULT
    hint = f"set deploy.kube_version to {OLDEST} … {NEWEST}"
    try:
        version = KubeVersion.parse(text)
    except ValueError as exc:
        raise RenderError(str(exc), hint=hint) from exc
    if version < OLDEST:
        msg = f"Kubernetes {version} is too old: servegen writes for {OLDEST} and newer"
        raise RenderError(msg, hint=hint)
    if version > NEWEST:
        msg = f"Kubernetes {version} is newer than this servegen knows"
        raise RenderError(msg, hint=f"{hint}: newer servers take what is written for {NEWEST}")
    return version


def of_server(version: KubeVersion) -> KubeVersion:
    """What to write for a server of that version: a newer one knows all fields of the newest we know."""
    return min(version, NEWEST)
