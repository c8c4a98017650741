"""Strict schemas: what an API server of that version would refuse."""

import copy
import json

import pytest

from servegen.errors import RenderError
from servegen.kube import objects, strict, versions
from servegen.planning.deployment import plan
from servegen.values.deployment import KubeVersion, Settings
from tests.kube.deployments import deployment, everything, image
from tests.kube.test_objects import by_kind

NEWEST = versions.NEWEST
SUPPORTED = [KubeVersion(major=1, minor=minor) for minor in range(29, 38)]


@pytest.mark.parametrize("version", SUPPORTED, ids=str)
def test_every_supported_version_has_schemas_of_what_we_write(version):
    for one in objects.build(plan(image(), Settings(kube_version=str(version)))):
        assert strict.knows(one, version)
        assert strict.problems(one, version) == ()


def mutated(kind, *path, value):
    one = copy.deepcopy(by_kind(objects.build(everything()))[kind])
    place = one
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return strict.problems(one, NEWEST)


@pytest.mark.parametrize(
    ("kind", "path", "value", "said"),
    [
        ("Deployment", ("spec", "replicas"), "3", "spec.replicas"),
        ("Deployment", ("spec", "templte"), {}, "templte"),
        (
            "Deployment",
            ("spec", "template", "spec", "containers", 0, "imag"),
            "x",
            "spec.template.spec.containers[0]",
        ),
        ("Service", ("spec", "ports", 0, "port"), "http", "spec.ports[0].port"),
        ("HorizontalPodAutoscaler", ("spec", "maxReplicas"), "12", "spec.maxReplicas"),
        ("PodDisruptionBudget", ("spec", "maxUnavailible"), 1, "maxUnavailible"),
        ("NetworkPolicy", ("spec", "policyTypes"), "Ingress", "spec.policyTypes"),
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "port"), 3000, "spec.podMetricsEndpoints[0].port"),
        ("HTTPRoute", ("spec", "rules", 0, "backendRefs", 0, "wieght"), 1, "spec.rules[0].backendRefs[0]"),
    ],
)
def test_unknown_fields_and_wrong_types_are_found(kind, path, value, said):
    (problem,) = mutated(kind, *path, value=value)
    assert said in problem


def test_a_field_is_unknown_before_its_version():
    one = by_kind(objects.build(everything()))["HorizontalPodAutoscaler"]
    assert strict.problems(one, NEWEST) == ()
    assert any("tolerance" in text for text in strict.problems(one, versions.OLDEST))


def test_a_kind_that_nobody_knows_has_no_problems_and_is_told_apart():
    one = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "x"}}
    assert strict.problems(one, NEWEST) == ()
    assert not strict.knows(one, NEWEST)


def test_what_users_add_is_refused_by_field_before_anything_is_written():
    settings = Settings(volumes=({"name": "data", "emptyDir": {"sizelimit": "1Gi"}},))
    with pytest.raises(
        RenderError, match=r"spec\.template\.spec\.volumes\[\d\].emptyDir.*sizelimit"
    ) as caught:
        objects.build(plan(image(), settings))
    assert "deploy.volumes" in caught.value.hint


@pytest.mark.parametrize(
    "part",
    [
        {"env": [{"value": "x"}]},
        {"env": {"A": "b"}},
        {"volumeMounts": [{"name": "tmp"}]},
        {"volumeMounts": "x"},
        {"lifecycle": "x"},
        {"securityContext": "x"},
    ],
)
def test_a_container_of_a_wrong_shape_is_refused_by_field(part):
    (field,) = part
    settings = Settings(sidecars=({"name": "side", "image": "x", **part},))
    with pytest.raises(RenderError, match=rf"initContainers\[0\]\.{field}") as caught:
        objects.build(plan(image(), settings))
    assert "deploy.sidecars" in caught.value.hint


def test_problems_are_readable_without_the_object():
    one = by_kind(objects.build(deployment()))["Deployment"]
    one["metadata"]["labels"]["a"] = ["x" * 5000]
    (problem,) = strict.problems(one, NEWEST)
    assert problem.startswith("metadata.labels.a: ")
    assert len(problem) < 400
    json.dumps(problem)
