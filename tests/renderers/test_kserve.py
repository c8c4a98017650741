from dataclasses import replace
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from servegen.errors import RenderError
from servegen.kube import restricted
from servegen.planning.deployment import plan
from servegen.renderers.kserve import KServe
from servegen.values.deployment import AutoscalingSettings, Settings
from tests.kube.deployments import KEDA, deployment, everything, image
from tests.kube.test_objects import CUSTOM
from tests.renderers.configurations import CONFIGURATIONS, planned
from tests.renderers.golden import assert_golden

GOLDEN = Path(__file__).parent / "golden_files"
# Fields of serving.kserve.io/v1beta1 ComponentExtensionSpec beside those of a pod, with their types.
EXTENSION = {
    "minReplicas": int,
    "maxReplicas": int,
    "scaleMetric": str,
    "scaleTarget": int,
    "timeout": int,
    "labels": dict,
    "annotations": dict,
    "deploymentStrategy": dict,
}
# Fields of serving.kserve.io/v1alpha1 ServingRuntimeSpec beside those of its pod.
RUNTIME = {"supportedModelFormats", "protocolVersions", "multiModel", "annotations", "labels"}
RUNTIME_POD = {"containers", "volumes", "nodeSelector", "affinity", "tolerations", "imagePullSecrets"}


def objects(planned_):
    return {one["kind"]: one for one in yaml.safe_load_all(KServe().stream(planned_))}


def unpatched(planned_):
    """Without patches of what KServe makes, which are refused."""
    return replace(planned_, additions=replace(planned_.additions, patches=()))


def pod(spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}


def test_every_field_is_written_as_reviewed():
    assert_golden(GOLDEN / "kserve.yaml", KServe().stream(everything()))


def test_files_and_stream_hold_the_same_objects():
    bundle = KServe().render(deployment())
    assert "".join(bundle.text(path) for path in bundle.paths) == KServe().stream(deployment())
    assert set(bundle.paths) == {
        "serviceaccount.yaml",
        "pdb.yaml",
        "inferenceservice.yaml",
        "servingruntime.yaml",
    }


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS.keys() - {"keda"}))
def test_the_predictor_is_a_valid_pod_with_fields_that_kserve_has(name):
    deployment = unpatched(planned(name))
    predictor = objects(deployment)["InferenceService"]["spec"]["predictor"]
    extension = {key: predictor.pop(key) for key in EXTENSION if key in predictor}
    assert all(type(value) is EXTENSION[key] for key, value in extension.items())
    kubernetes_validate.validate(pod(predictor), str(deployment.kube_version), strict=True)
    assert restricted.violations_of([pod(predictor)]) == ()
    assert predictor["containers"][0]["name"] == "kserve-container"


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS.keys() - {"keda"}))
def test_the_runtime_is_a_valid_pod_with_fields_that_kserve_has(name):
    deployment = unpatched(planned(name))
    spec = objects(deployment)["ServingRuntime"]["spec"]
    assert spec.keys() <= RUNTIME | RUNTIME_POD
    of_pod = {key: value for key, value in spec.items() if key in RUNTIME_POD}
    kubernetes_validate.validate(pod(of_pod), str(deployment.kube_version), strict=True)
    assert restricted.violations_of([pod(of_pod)]) == ()


def test_the_other_objects_are_valid_and_choose_the_pods_that_kserve_makes():
    made = objects(everything())
    for kind, one in made.items():
        if kind not in (*CUSTOM, "InferenceService", "ServingRuntime"):
            kubernetes_validate.validate(one, "1.37", strict=True)
    wanted = {"matchLabels": {"serving.kserve.io/inferenceservice": "iris-prod"}}
    assert made["PodDisruptionBudget"]["spec"]["selector"] == wanted
    assert made["NetworkPolicy"]["spec"]["podSelector"] == wanted
    assert made["PodMonitor"]["spec"]["selector"] == wanted
    for spread in made["InferenceService"]["spec"]["predictor"]["topologySpreadConstraints"]:
        assert spread["labelSelector"] == wanted


def test_what_kserve_makes_itself_is_not_written():
    kinds = objects(everything()).keys()
    assert not kinds & {"Deployment", "Service", "HorizontalPodAutoscaler", "HTTPRoute"}


def test_probes_are_those_of_the_deployment():
    (server,) = objects(deployment())["InferenceService"]["spec"]["predictor"]["containers"]
    assert server["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert server["startupProbe"]["httpGet"]["path"] == "/readyz"
    assert server["livenessProbe"]["httpGet"]["path"] == "/livez"


def test_a_fixed_number_of_replicas_leaves_the_autoscaler_no_choice():
    fixed = deployment(autoscaling=AutoscalingSettings(enabled=False), replicas=4)
    predictor = objects(fixed)["InferenceService"]["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (4, 4)


def test_scaling_by_keda_has_no_form_here():
    with pytest.raises(RenderError, match="KEDA") as caught:
        KServe().stream(plan(image(), replace(KEDA, namespace="ml")))
    assert "keda.enabled: false" in caught.value.hint


def test_a_runtime_serves_the_mounted_model_under_the_name_of_its_service():
    spec = objects(plan(image(grpc_port="9000"), Settings()))["ServingRuntime"]["spec"]
    env = {one["name"]: one for one in spec["containers"][0]["env"]}
    assert env["SERVEGEN_MODEL"]["value"] == "/mnt/models"
    field = env["SERVEGEN_MODEL_NAME"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert field == "metadata.labels['serving.kserve.io/inferenceservice']"
    assert spec["protocolVersions"] == ["v2", "grpc-v2"]
    assert spec["supportedModelFormats"][0]["autoSelect"] is False
