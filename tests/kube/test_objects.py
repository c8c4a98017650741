from dataclasses import replace

import kubernetes_validate
import pytest

from servegen.kube import invariants, objects, order, restricted
from servegen.kube.versions import NEWEST, OLDEST
from servegen.planning.deployment import plan
from servegen.values.deployment import AutoscalingSettings, Settings
from tests.kube.deployments import EVERYTHING, deployment, everything, image

VERSIONS = [f"1.{minor}" for minor in range(OLDEST.minor, NEWEST.minor + 1)]
CONFIGURATIONS = {
    "defaults": Settings(),
    "everything": EVERYTHING,
    "fixed": Settings(autoscaling=AutoscalingSettings(enabled=False), replicas=3),
    "dev": Settings(dev=True, pre_stop_seconds=0, min_ready_seconds=0),
}


def by_kind(found):
    return {one["kind"]: one for one in found}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_objects_are_strictly_valid_for_every_supported_kubernetes(name, version):
    settings = replace(CONFIGURATIONS[name], kube_version=version)
    for one in objects.build(plan(image(), settings)):
        kubernetes_validate.validate(one, version, strict=True)


def test_the_validator_would_notice_an_unknown_field():
    one = by_kind(objects.build(deployment()))["Deployment"]
    one["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["periodSecond"] = 5
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(one, "1.35", strict=True)


def test_objects_come_in_the_order_of_apply():
    assert [one["kind"] for one in objects.build(everything())] == [
        "ServiceAccount",
        "Service",
        "Deployment",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
    ]
    assert order.rank("ScaledObject") > order.rank("HorizontalPodAutoscaler")


def test_every_object_carries_the_instance_as_its_name_and_label():
    for one in objects.build(everything()):
        about = one["metadata"]
        assert about["name"] == about["labels"]["app.kubernetes.io/instance"] == "iris-prod"
        assert about["namespace"] == "ml"
        assert list(about["labels"]) == sorted(about["labels"])
        assert about["annotations"]["servegen.dev/model-name"] == "iris"


def test_without_a_namespace_none_is_written():
    assert all("namespace" not in one["metadata"] for one in objects.build(deployment()))


def test_the_autoscaler_owns_the_number_of_replicas():
    scaled = by_kind(objects.build(deployment()))
    assert "replicas" not in scaled["Deployment"]["spec"]
    fixed = by_kind(objects.build(deployment(autoscaling=AutoscalingSettings(enabled=False), replicas=3)))
    assert fixed["Deployment"]["spec"]["replicas"] == 3
    assert "HorizontalPodAutoscaler" not in fixed


@pytest.mark.parametrize(
    ("version", "metric", "tolerance", "eviction", "groups"),
    [
        ("1.29", "Resource", False, False, False),
        ("1.30", "ContainerResource", False, False, False),
        ("1.31", "ContainerResource", False, True, False),
        ("1.34", "ContainerResource", False, True, False),
        ("1.35", "ContainerResource", True, True, True),
    ],
)
def test_fields_appear_with_the_version_that_keeps_them(version, metric, tolerance, eviction, groups):
    made = by_kind(objects.build(deployment(kube_version=version)))
    scaler = made["HorizontalPodAutoscaler"]["spec"]
    assert scaler["metrics"][0]["type"] == metric
    assert ("tolerance" in scaler["behavior"]["scaleUp"]) is tolerance
    assert ("unhealthyPodEvictionPolicy" in made["PodDisruptionBudget"]["spec"]) is eviction
    context = made["Deployment"]["spec"]["template"]["spec"]["securityContext"]
    assert ("supplementalGroupsPolicy" in context) is groups


def test_a_changed_model_changes_no_selector():
    def selectors(made):
        return [one["spec"].get("selector") for one in made if one["kind"] != "ServiceAccount"]

    before = objects.build(deployment())
    after = objects.build(plan(image(model_version="8", pin="models:/iris/8"), Settings()))
    assert selectors(before) == selectors(after)
    assert before != after


def test_pods_do_not_roll_because_servegen_was_updated():
    def template(made):
        return by_kind(made)["Deployment"]["spec"]["template"]

    old = deployment()
    assert template(objects.build(old)) == template(objects.build(replace(old, generator="9.9.9")))
    assert objects.build(old) != objects.build(replace(old, generator="9.9.9"))


def test_free_text_stays_out_of_labels():
    made = objects.build(plan(image(model_name="Fraud: {{ x }}", model_version=""), Settings()))
    for one in made:
        assert one["metadata"]["annotations"]["servegen.dev/model-name"] == "Fraud: {{ x }}"
        assert not any("{" in value for value in one["metadata"]["labels"].values())
    assert by_kind(made)["Deployment"]["metadata"]["labels"]["app.kubernetes.io/version"] == "sha-" + "b" * 12


def test_all_configurations_pass_the_offline_checks():
    for settings in CONFIGURATIONS.values():
        made = objects.build(plan(image(), settings))
        assert invariants.violations(made) == ()
        assert restricted.violations_of(made) == ()


def test_an_image_that_speaks_grpc_gets_a_second_port():
    found = by_kind(objects.build(plan(image(grpc_port="9000"), Settings())))
    (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["ports"][1] == {"name": "grpc", "containerPort": 9000, "protocol": "TCP"}
    port = found["Service"]["spec"]["ports"][1]
    assert (port["port"], port["targetPort"], port["appProtocol"]) == (9000, "grpc", "kubernetes.io/h2c")
    for each in found.values():
        kubernetes_validate.validate(each, str(NEWEST), strict=True)
