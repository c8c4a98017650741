from dataclasses import replace

import pytest

from servegen.errors import DeployError, NamespaceError, NotDeployedError
from servegen.kube import status
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.progress import Silent
from servegen.targets.k8s import Kubernetes
from servegen.values.deployment import AutoscalingSettings
from tests.kube import fake_api
from tests.kube.deployments import deployment

FIXED = AutoscalingSettings(enabled=False)
PULL = {"waiting": {"reason": "ImagePullBackOff", "message": "registry.example.com/ml/iris: not found"}}


@pytest.fixture
def api(tmp_path):
    with fake_api.running(tmp_path) as server:
        yield server


@pytest.fixture
def options(api):
    return ClusterOptions(kubeconfig=str(api.kubeconfig), timeout_seconds=5)


def deploy(options, **settings):
    wanted = deployment(kube_version="1.35", **settings)
    return Kubernetes(options=options).deliver(wanted, progress=Silent())


def test_all_models_are_read_with_a_handful_of_lists(api, options):
    for number in range(12):
        deploy(options, name=f"iris-{number:02}", autoscaling=FIXED)
    api.requests.clear()
    found = status.read(Cluster.connect(options))
    assert [one.name for one in found] == [f"iris-{number:02}" for number in range(12)]
    assert all(one.healthy and (one.ready, one.replicas) == (2, 2) for one in found)
    # The watches of the deploys may still end.
    assert len([path for _, path, query, _ in api.requests if "watch" not in query]) <= 7


def test_all_namespaces_are_listed_at_once(api, options):
    deploy(options, autoscaling=FIXED)
    (one,) = status.read(Cluster.connect(options).everywhere())
    assert (one.namespace, one.name) == ("ml", "iris")
    assert [path for _, path, _, _ in api.requests if path.endswith("/events")] == ["/api/v1/events"]


def test_one_instance_tells_model_pin_image_and_pods(options):
    deploy(options)
    one = status.named(Cluster.connect(options), "iris")
    assert (one.model, one.version, one.uri, one.pin) == (
        "iris",
        "7",
        "models:/iris@champion",
        "models:/iris/7",
    )
    assert one.image.endswith("@sha256:" + "a" * 64)
    assert [pod.state for pod in one.pods] == ["ready", "ready"]
    assert one.scaling is not None
    assert (one.scaling.minimum, one.scaling.maximum) == (2, 10)
    assert one.drift == ()


def test_an_unknown_name_is_refused_with_a_way_to_find_the_right_one(options):
    with pytest.raises(
        NotDeployedError, match="there is no deployment wine of servegen in namespace ml"
    ) as caught:
        status.named(Cluster.connect(options), "wine")
    assert "servegen status -A" in caught.value.hint


def test_pods_that_do_not_come_tell_why_and_show_their_warnings(api, options):
    api.controller = lambda api, one: api.run_pods(
        one, phase="Pending", containerStatuses=[{"name": "server", "restartCount": 0, "state": PULL}]
    )
    with pytest.raises(DeployError):
        deploy(options, autoscaling=FIXED)
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "iris-abc-0", "namespace": "ml"},
        "reason": "Failed",
        "message": "Failed to pull image",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "count": 3,
    }
    api.put("/api/v1/namespaces/ml/events/e", event)
    one = status.named(Cluster.connect(options), "iris")
    assert not one.healthy
    assert one.rollout.startswith("0 of 2 pods are available, 2 up to date: pod iris-abc-0 cannot pull")
    (warned,) = one.events
    assert (warned.about, warned.reason, warned.count) == ("Pod iris-abc-0", "Failed", 3)


def test_without_the_right_to_read_events_the_rest_is_shown(api, options):
    deploy(options, autoscaling=FIXED)
    api.refuse["GET", "events"] = [{"code": 403, "message": "events is forbidden"}]
    assert status.named(Cluster.connect(options), "iris").events == ()


def test_what_others_changed_is_named(api, options):
    deploy(options, autoscaling=FIXED)
    path = "/apis/apps/v1/namespaces/ml/deployments/iris"
    edited = {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:paused": {}}}}
    api.objects[path]["metadata"]["managedFields"].append(edited)
    assert status.named(Cluster.connect(options), "iris").drift == ("Deployment kubectl-edit: spec.paused",)


def test_what_differs_from_the_last_release_is_told_with_both_values(api, options):
    deploy(options, autoscaling=FIXED, env={"LEVEL": "8e1"})
    root = "/apis/apps/v1/namespaces/ml/deployments/iris"
    (container,) = api.objects[root]["spec"]["template"]["spec"]["containers"]
    next(one for one in container["env"] if one["name"] == "LEVEL")["value"] = "9"
    del api.objects["/apis/policy/v1/namespaces/ml/poddisruptionbudgets/iris"]
    assert set(status.named(Cluster.connect(options), "iris").drift) == {
        "Deployment spec.template.spec.containers[server].env[LEVEL].value is 9, applied was 8e1",
        "PodDisruptionBudget iris is missing",
    }


def test_a_namespace_that_does_not_exist_is_not_an_empty_one(options):
    elsewhere = replace(options, namespace="nowhere")
    with pytest.raises(NamespaceError, match="namespace nowhere does not exist"):
        status.read(Cluster.connect(elsewhere))
