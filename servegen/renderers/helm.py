"""The Helm chart: written by hand, copied as it is; only values, schema and Chart.yaml come from here.

No template text is made in Python, so nothing in a model's name or address can break or change a template.
"""

from __future__ import annotations

import copy
import functools
import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml as pyyaml

from servegen.errors import RenderError
from servegen.kube import Object, metadata, objects, yaml
from servegen.renderers import Renderer, chartpatch
from servegen.values.bundle import Bundle
from servegen.values.deployment import Deployment

_CHART = "Chart.yaml"
_VALUES = "values.yaml"
_SCHEMA = "values.schema.json"
_NOT_COPIED = ("ci",)
"""Values for testing the chart itself, with images that do not exist."""


class Helm:
    """A chart for this one model: `helm install INSTANCE DIR`."""

    layered = False

    def render(self, deployment: Deployment) -> Bundle:
        """The chart's files."""
        copied = written_by_hand()
        chosen = values(deployment)
        schema = json.loads(copied[_SCHEMA])
        return Bundle.of(
            copied
            | {
                _CHART: yaml.dump(_chart(_parsed(copied[_CHART]), deployment)),
                _SCHEMA: json.dumps(_with_defaults(schema, chosen), indent=2, ensure_ascii=False) + "\n",
                _VALUES: "---\n" + commented(chosen, schema),
            }
        )

    def stream(self, deployment: Deployment) -> str:  # noqa: ARG002 (the protocol's signature)
        """Never: a chart is a folder."""
        msg = "a chart is a folder and cannot be written to standard output"
        raise RenderError(msg, hint="name a folder: servegen render … --format helm -o DIR")


def chart_folder() -> Path:
    """Where the hand-written chart is: beside this file when installed, `charts/` in a checkout."""
    installed = Path(__file__).parent / "chart"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "charts" / "servegen-model"


def written_by_hand() -> dict[str, str]:
    """The chart's files as they are, without anything of a model."""
    folder = chart_folder()
    return {path: (folder / path).read_bytes().decode() for path in _paths(folder)}


def _parsed(text: str) -> Object:
    return copy.deepcopy(_parsed_once(text))


# Parsing is half the time of a render, and a run may render hundreds of models.
@functools.cache
def _parsed_once(text: str) -> Object:
    parsed: Object = pyyaml.safe_load(text)
    return parsed


def values(deployment: Deployment) -> Object:
    """The chart's values that make it render what the plain manifests are."""
    defaults = _parsed((chart_folder() / _VALUES).read_text())
    built, added = objects.build(deployment), deployment.additions
    if added.patches:
        chartpatch.check(objects.build(replace(deployment, additions=replace(added, patches=()))), built)
    made = {one["kind"]: one for one in built}
    scaler, policy = made.get("HorizontalPodAutoscaler"), made.get("NetworkPolicy")
    spec = made["Deployment"]["spec"]
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    model, extras = deployment.model, deployment.extras
    constraints = [
        {
            k: v
            for k, v in one.items()
            if k != "labelSelector" or v != {"matchLabels": metadata.selector(deployment)}
        }
        for one in pod["topologySpreadConstraints"]
    ]
    changed = {
        "partOf": deployment.part_of,
        "commonLabels": dict(extras.labels),
        "commonAnnotations": dict(extras.annotations),
        "model": {
            "name": model.name,
            "version": model.version,
            "uri": model.uri or "",
            "pin": model.pin or "",
            "runId": model.run_id or "",
            "digest": model.digest or "",
            "example": model.example or "",
        },
        "profile": deployment.profile,
        "servegenVersion": deployment.generator,
        "image": {
            "repository": deployment.image.name,
            "tag": deployment.image.tag or "",
            "digest": deployment.image.digest,
            "pullPolicy": container["imagePullPolicy"],
        },
        "imagePullSecrets": pod.get("imagePullSecrets", []),
        "replicaCount": spec.get("replicas", 2),
        "autoscaling": _autoscaling(scaler) if scaler else defaults["autoscaling"] | {"enabled": False},
        "keda": _keda(defaults["keda"], deployment, made.get("ScaledObject")),
        "podDisruptionBudget": _disruption(made["PodDisruptionBudget"]["spec"]),
        "networkPolicy": _policy(policy["spec"]) if policy else defaults["networkPolicy"],
        "monitoring": _monitoring(deployment),
        "route": _route(made["HTTPRoute"]["spec"]) if deployment.route else defaults["route"],
        "strategy": spec["strategy"],
        "revisionHistoryLimit": spec["revisionHistoryLimit"],
        "minReadySeconds": spec.get("minReadySeconds", 0),
        "progressDeadlineSeconds": spec["progressDeadlineSeconds"],
        "terminationGracePeriodSeconds": pod["terminationGracePeriodSeconds"],
        "preStopSeconds": deployment.timing.pre_stop,
        "port": deployment.port,
        "grpcPort": deployment.grpc_port or 0,
        "env": container["env"],
        "envFrom": container.get("envFrom", []),
        "resources": container["resources"],
        "tmpSize": deployment.resources.tmp_size,
        "startupProbe": container["startupProbe"],
        "readinessProbe": container["readinessProbe"],
        "livenessProbe": container["livenessProbe"],
        "podSecurityContext": pod["securityContext"],
        "securityContext": container["securityContext"],
        "serviceAccount": {
            "create": True,
            "name": "",
            "annotations": dict(extras.service_account_annotations),
        },
        "service": defaults["service"]
        | {"type": made["Service"]["spec"]["type"]}
        | {"trafficDistribution": made["Service"]["spec"].get("trafficDistribution", "")},
        "podLabels": dict(extras.pod_labels) | chartpatch.pod_labels(spec["template"], dict(extras.labels)),
        "podAnnotations": dict(extras.pod_annotations) | chartpatch.pod_annotations(spec["template"]),
        "nodeSelector": pod.get("nodeSelector", {}),
        "tolerations": pod.get("tolerations", []),
        "topologySpreadConstraints": constraints,
        "priorityClassName": pod.get("priorityClassName", ""),
        "runtimeClassName": pod.get("runtimeClassName", ""),
        "hostUsers": pod.get("hostUsers", True),
        "affinity": pod.get("affinity", {}),
        "configMap": {"data": dict(added.config), "mountPath": added.config_path},
        "extraVolumes": chartpatch.beside_ours(pod["volumes"]),
        "extraVolumeMounts": chartpatch.beside_ours(container["volumeMounts"]),
        "extraInitContainers": pod.get("initContainers", []),
        "extraContainers": pod["containers"][1:],
    }
    return {key: changed.get(key, value) for key, value in defaults.items()}


def commented(chosen: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """`chosen` as YAML with the schema's description above every key that has one."""
    return "".join(_commented(chosen, schema))


def _commented(chosen: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    for key, value in chosen.items():
        known = schema.get("properties", {}).get(key, {})
        if "description" in known:
            yield f"# -- {known['description']}\n"
        if value and isinstance(value, Mapping) and "properties" in known:
            yield f"{key}:\n{textwrap.indent(commented(value, known), '  ')}"
        else:
            yield yaml.fragment({key: value})


def _autoscaling(scaler: Object) -> Object:
    spec = scaler["spec"]
    return {
        "enabled": True,
        "minReplicas": spec["minReplicas"],
        "maxReplicas": spec["maxReplicas"],
        "metrics": spec["metrics"],
        "behavior": spec["behavior"],
    }


def _keda(defaults: Object, deployment: Deployment, scaled: Object | None) -> Object:
    """Values of the ScaledObject; the namespace in the default query is the release's, so it is not here."""
    scaling = deployment.autoscaling
    if scaled is None or scaling is None or scaling.keda is None:
        return defaults
    spec, keda = scaled["spec"], scaling.keda
    return {
        "enabled": True,
        "minReplicas": spec["minReplicaCount"],
        "maxReplicas": spec["maxReplicaCount"],
        "prometheus": keda.prometheus,
        "query": keda.query or "",
        "wakeQuery": keda.wake_query or "",
        "threshold": keda.threshold,
        "pollingInterval": spec["pollingInterval"],
        "cooldownPeriod": spec["cooldownPeriod"],
        "fallbackReplicas": spec["fallback"]["replicas"],
        "behavior": spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
    }


def _policy(spec: Object) -> Object:
    return {"enabled": True, "ingress": spec["ingress"], "egress": spec["egress"]}


def _monitoring(deployment: Deployment) -> Object:
    monitoring = deployment.monitoring
    return {
        "discovery": monitoring.discovery,
        "interval": f"{monitoring.interval}s",
        "labels": dict(monitoring.labels),
    }


def _route(spec: Object) -> Object:
    return {
        "enabled": True,
        "parentRefs": spec["parentRefs"],
        "hostnames": spec.get("hostnames", []),
        "timeouts": spec["rules"][0]["timeouts"],
    }


def _disruption(spec: Object) -> Object:
    return {
        "enabled": True,
        "maxUnavailable": spec["maxUnavailable"],
        "unhealthyPodEvictionPolicy": spec.get("unhealthyPodEvictionPolicy", ""),
    }


def _chart(chart: Object, deployment: Deployment) -> Object:
    """Chart.yaml of this model; the version stays that of the hand-written chart."""
    images = yaml.fragment({"image": deployment.image.pinned, "name": metadata.CONTAINER})
    return chart_of(chart, deployment) | {
        "appVersion": deployment.model.version,
        "annotations": chart["annotations"]
        | {"artifacthub.io/images": f"- {textwrap.indent(images, '  ').lstrip()}"},
    }


def chart_of(chart: Object, deployment: Deployment) -> Object:
    """Chart.yaml for all versions of this model."""
    return chart | {
        "name": deployment.name,
        "description": f"Serves the MLflow model {deployment.model.name}",
        # The values hold fields of this version; `-0` admits the suffixes of cloud providers.
        "kubeVersion": f">={deployment.kube_version}.0-0",
    }


def _with_defaults(schema: Object, chosen: Object) -> Object:
    made = copy.deepcopy(schema)
    for key, value in chosen.items():
        made["properties"][key]["default"] = value
    return made


def _paths(folder: Path) -> list[str]:
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in files if path.parts[0] not in _NOT_COPIED)


RENDERER: type[Renderer] = Helm
