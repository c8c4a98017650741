"""KServe: an InferenceService of the image, and a ServingRuntime for other models of the same environment.

Deployment, Service, route and autoscaler are KServe's to make, in its mode `Standard` (0.16 and newer).
"""

from __future__ import annotations

from collections.abc import Mapping

from servegen.errors import RenderError
from servegen.kube import Object, metadata, objects, order, yaml
from servegen.renderers import Renderer, manifests
from servegen.values.bundle import Bundle
from servegen.values.deployment import Deployment

GROUP = "serving.kserve.io"
CONTAINER = "kserve-container"
"""The name by which KServe knows the container that answers."""
MODELS = "/mnt/models"
"""Where KServe puts the files of `storageUri`."""
_MADE_BY_KSERVE = frozenset(
    ("Deployment", "Service", "HorizontalPodAutoscaler", "ScaledObject", "HTTPRoute", "ServiceMonitor")
)
_SELECTORS = {
    "PodDisruptionBudget": "selector",
    "NetworkPolicy": "podSelector",
    "PodMonitor": "selector",
}
"""Kinds that choose pods, and the field of their spec that does."""
_OF_RUNTIMES = ("imagePullSecrets", "nodeSelector", "tolerations", "affinity", "volumes")
"""Fields of a pod that a ServingRuntime has, too."""


class KServe:
    """Files for `kubectl apply --server-side -f DIR` where KServe is installed."""

    layered = False

    def render(self, deployment: Deployment) -> Bundle:
        """One file an object."""
        return Bundle.of({manifests.path(one["kind"]): yaml.dump(one) for one in build(deployment)})

    def stream(self, deployment: Deployment) -> str:
        """All objects in the order of apply, as one YAML stream."""
        return yaml.dump_all(build(deployment))


def build(deployment: Deployment) -> tuple[Object, ...]:
    """The objects in the order of apply; raises RenderError for what KServe has no field for."""
    if deployment.autoscaling and deployment.autoscaling.keda:
        msg = f"{deployment.instance} is scaled by KEDA, which KServe's autoscaling cannot say in full"
        raise RenderError(msg, hint="deploy.autoscaling.keda.enabled: false, or another --format")
    kept = [_selecting(one, deployment) for one in objects.build(deployment)]
    return order.sort(
        [
            *(one for one in kept if one["kind"] not in _MADE_BY_KSERVE),
            inference_service(deployment),
            serving_runtime(deployment),
        ]
    )


def inference_service(deployment: Deployment) -> Object:
    """The InferenceService (v1beta1), whose predictor is the pod of the Deployment."""
    template = _template(deployment)
    spec = template["spec"]
    (server, *others) = spec["containers"]
    notes = {
        f"{GROUP}/autoscalerClass": "hpa",
        f"{GROUP}/deploymentMode": "Standard",
    }
    return {
        "apiVersion": f"{GROUP}/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata.build(deployment, further=metadata.facts(deployment) | notes),
        "spec": {
            "predictor": {
                **_scaling(deployment),
                "timeout": deployment.timing.request_timeout,
                "deploymentStrategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {
                        "maxSurge": deployment.max_surge,
                        "maxUnavailable": deployment.max_unavailable,
                    },
                },
                "labels": template["metadata"]["labels"],
                "annotations": _annotations(template),
                **spec,
                "topologySpreadConstraints": [
                    one | {"labelSelector": {"matchLabels": _selector(deployment)}}
                    for one in spec.get("topologySpreadConstraints", ())
                ],
                "containers": [server | {"name": CONTAINER}, *others],
            }
        },
    }


def serving_runtime(deployment: Deployment) -> Object:
    """The ServingRuntime (v1alpha1): the same server for the model that KServe mounts."""
    template = _template(deployment)
    spec = template["spec"]
    (server, *others) = spec["containers"]
    # A runtime has no securityContext of its pods, and `restricted` wants this of one of both.
    pods = {key: value for key, value in spec.get("securityContext", {}).items() if key == "seccompProfile"}
    security = server["securityContext"] | pods | server["securityContext"]
    # The name of the InferenceService, which clients of the Open Inference Protocol ask for.
    name = {"fieldRef": {"fieldPath": f"metadata.labels['{GROUP}/inferenceservice']"}}
    env = [
        *(
            one
            for one in server.get("env", ())
            if one["name"] not in ("SERVEGEN_MODEL", "SERVEGEN_MODEL_NAME")
        ),
        {"name": "SERVEGEN_MODEL", "value": MODELS},
        {"name": "SERVEGEN_MODEL_NAME", "valueFrom": name},
    ]
    protocols = ["v2"] if deployment.grpc_port is None else ["v2", "grpc-v2"]
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": metadata.build(deployment),
        "spec": {
            # Chosen by name only: it serves models of this environment, not every MLflow model.
            "supportedModelFormats": [{"name": "mlflow", "version": "2", "autoSelect": False}],
            "protocolVersions": protocols,
            "multiModel": False,
            "annotations": _annotations(template),
            **{key: spec[key] for key in _OF_RUNTIMES if key in spec},
            "containers": [server | {"name": CONTAINER, "env": env, "securityContext": security}, *others],
        },
    }


def _template(deployment: Deployment) -> Object:
    """The Deployment's pods, patched; RenderError for a patch of what KServe makes itself."""
    for index, patch in enumerate(deployment.additions.patches):
        spec = patch.get("spec")
        of_template = (
            patch["kind"] == "Deployment" and isinstance(spec, Mapping) and set(spec) == {"template"}
        )
        if patch["kind"] in _MADE_BY_KSERVE and not of_template:
            msg = f"deploy.patches[{index}]: KServe makes the {patch['kind']}, so it cannot be patched"
            raise RenderError(msg, hint="patch spec.template of the Deployment, or use --format manifests")
    (made,) = (one for one in objects.build(deployment) if one["kind"] == "Deployment")
    template: Object = made["spec"]["template"]
    return template


def _scaling(deployment: Deployment) -> Object:
    scaling = deployment.autoscaling
    if scaling is None:
        # KServe makes an autoscaler in any case; this one has no choice.
        return {"minReplicas": deployment.replicas, "maxReplicas": deployment.replicas}
    return {
        "minReplicas": scaling.min_replicas,
        "maxReplicas": scaling.max_replicas,
        "scaleMetric": "cpu",
        "scaleTarget": scaling.cpu_utilization,
    }


def _annotations(template: Object) -> Object:
    notes: Object = template["metadata"].get("annotations", {})
    return notes | {"kubectl.kubernetes.io/default-container": CONTAINER}


def _selecting(one: Object, deployment: Deployment) -> Object:
    """`one`, choosing the pods that KServe makes."""
    field = _SELECTORS.get(one["kind"])
    if field is None:
        return one
    return one | {"spec": one["spec"] | {field: {"matchLabels": _selector(deployment)}}}


def _selector(deployment: Deployment) -> dict[str, str]:
    return {f"{GROUP}/inferenceservice": deployment.instance}


RENDERER: type[Renderer] = KServe
