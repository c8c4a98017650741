"""Which patches the chart can express: those of what its values hold."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

from servegen.errors import RenderError
from servegen.kube import Object, additions, metadata

_POD = "spec.template.spec"
_SERVER = f"{_POD}.containers.0"
_CARRIED = {
    "Deployment": (
        *(
            f"spec.{key}"
            for key in ("minReadySeconds", "progressDeadlineSeconds", "replicas", "revisionHistoryLimit")
        ),
        "spec.strategy",
        *(
            f"{_POD}.{key}"
            for key in (
                "affinity",
                "hostUsers",
                "imagePullSecrets",
                "initContainers",
                "nodeSelector",
                "priorityClassName",
                "runtimeClassName",
                "securityContext",
                "terminationGracePeriodSeconds",
                "tolerations",
                "topologySpreadConstraints",
            )
        ),
        *(
            f"{_SERVER}.{key}"
            for key in (
                "env",
                "envFrom",
                "imagePullPolicy",
                "livenessProbe",
                "readinessProbe",
                "resources",
                "securityContext",
                "startupProbe",
            )
        ),
    ),
    "HorizontalPodAutoscaler": ("spec.behavior", "spec.maxReplicas", "spec.metrics", "spec.minReplicas"),
    "NetworkPolicy": ("spec.egress", "spec.ingress"),
    "PodDisruptionBudget": ("spec.maxUnavailable", "spec.unhealthyPodEvictionPolicy"),
    "Service": ("spec.type", "spec.trafficDistribution"),
}
"""Kind → paths whose value the chart takes from its values as a whole."""
_OPTIONAL = frozenset(
    (
        "affinity",
        "envFrom",
        "hostUsers",
        "imagePullSecrets",
        "initContainers",
        "minReadySeconds",
        "nodeSelector",
        "priorityClassName",
        "replicas",
        "runtimeClassName",
        "tolerations",
        "trafficDistribution",
        "unhealthyPodEvictionPolicy",
    )
)
"""Of those, what the templates leave out where the values are empty."""
_OWN_VOLUMES = (additions.TMP, additions.CONFIG)
_OWN_ANNOTATIONS = ("checksum/config", "kubectl.kubernetes.io/default-container", "prometheus.io/")
"""Annotations of pods, and prefixes of some, that the templates write."""


def check(before: Sequence[Object], after: Sequence[Object]) -> None:
    """Raise RenderError naming the first field that patches changed and that no value of the chart holds."""
    for old, new in zip(before, after, strict=True):
        for path in (*_taken(old, new), *_differences(_fixed(old), _fixed(new), "")):
            msg = f"deploy.patches: the chart has no value for {path} of the {new['kind']}"
            raise RenderError(msg, hint="leave the patch out, or use --format manifests or kustomize")


def beside_ours(parts: Sequence[Object]) -> list[Object]:
    """Volumes or mounts beside those that the templates write."""
    return [one for one in parts if one["name"] not in _OWN_VOLUMES]


def pod_annotations(template: Object) -> Object:
    """Annotations of the pods beside those that the templates write."""
    found = template["metadata"].get("annotations", {})
    return {key: value for key, value in found.items() if not key.startswith(_OWN_ANNOTATIONS)}


def pod_labels(template: Object, common: Object) -> Object:
    """Labels of the pods beside ours and those of all objects."""
    found = template["metadata"]["labels"]
    return {k: v for k, v in found.items() if not k.startswith(metadata.OWN_KEYS) and common.get(k) != v}


def _taken(old: Object, new: Object) -> Iterator[str]:
    """Paths that `new` has no more, and that the templates always write."""
    for path in _CARRIED.get(old["kind"], ()):
        parts = path.split(".")
        if (
            parts[-1] not in _OPTIONAL
            and parts[-1] in _holder(old, parts)
            and parts[-1] not in _holder(new, parts)
        ):
            yield path


def _fixed(one: Object) -> Object:
    """`one` without what the chart's values hold."""
    made = copy.deepcopy(one)
    for path in _CARRIED.get(one["kind"], ()):
        _remove(made, path.split("."))
    if one["kind"] == "Deployment":
        template = made["spec"]["template"]
        pod, about = template["spec"], template["metadata"]
        pod["containers"] = pod["containers"][:1]
        for holder, key in ((pod, "volumes"), (pod["containers"][0], "volumeMounts")):
            holder[key] = [part for part in holder.get(key, ()) if part["name"] in _OWN_VOLUMES]
        about["annotations"] = {
            k: v for k, v in about.get("annotations", {}).items() if k not in pod_annotations(template)
        }
        about["labels"] = {k: v for k, v in about["labels"].items() if k.startswith(metadata.OWN_KEYS)}
    return made


def _remove(node: Object, path: Sequence[str]) -> None:
    _holder(node, path).pop(path[-1], None)


def _holder(node: object, path: Sequence[str]) -> Object:
    """The mapping that has, or could have, the last part of `path`; an empty one where there is none."""
    for part in path[:-1]:
        if isinstance(node, list):
            node = node[int(part)]
        else:
            node = node.get(part) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else {}


def _differences(old: object, new: object, path: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
    elif old != new:
        yield path
