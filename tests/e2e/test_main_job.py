"""The whole way on a real cluster: URI → image → pods that answer, and that scale with the load."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from servegen import errors
from tests.e2e.workspace import Workspace, expected

pytest_plugins = ("tests.e2e.kubernetes", "tests.e2e.workspace")
pytestmark = pytest.mark.e2e

SCALING = {
    "min_replicas": 1,
    "max_replicas": 3,
    "cpu_utilization": 50,
    "scale_down_window_seconds": 10,
    "scale_down_percent": 100,
    "scale_down_period_seconds": 15,
}


@pytest.fixture
def place(workspace: Workspace, namespace: str, kubeconfig: str, test_registry: str) -> Workspace:
    """The user's folder, set to a namespace of its own, with a scaling window that fits a test."""
    workspace.variables["KUBECONFIG"] = kubeconfig
    workspace.configure(
        model="models:/iris@champion",
        image=f"{test_registry}/iris",
        deploy={
            "namespace": namespace,
            "autoscaling": SCALING,
            "resources": {"cpu": "200m", "memory": "768Mi"},
            "min_ready_seconds": 1,
        },
    )
    return workspace


def wait_for(what: str, seconds: float, found: Callable[[], Any]) -> Any:
    """The first true value of `found` within `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(1)
    pytest.fail(f"{what}: not within {seconds:g} s")


def ask(address: str, body: dict[str, Any]) -> Any:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{address}/invocations", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.fixture
def cluster(kubeconfig: str) -> Any:
    from kubernetes import client, config

    return client.ApiClient(
        config.load_kube_config(config_file=kubeconfig) or client.Configuration.get_default_copy()
    )


def test_the_two_lines_every_user_types_give_pods_that_answer_and_scale(place, namespace, cluster):
    from kubernetes import client

    assert place.ok("package", "models:/iris@champion").count("\n") == 1
    place.ok("deploy", "--target", "k8s")

    core, scaling = client.CoreV1Api(cluster), client.AutoscalingV2Api(cluster)
    pods = core.list_namespaced_pod(namespace).items
    assert pods
    assert all(c.ready for pod in pods for c in pod.status.container_statuses)
    service = core.list_namespaced_service(namespace).items[0]
    body = json.loads((place.model / "serving_input_example.json").read_text())
    assert ask(service.spec.cluster_ip, body) == {"predictions": expected(place.model, body)}

    asked = json.loads(place.ok("test", "--requests", "3", "--json"))
    assert (asked["status"], asked["answer"]) == (200, {"predictions": expected(place.model, body)})
    assert "POST /invocations 200" in place.ok("logs", "iris")

    again = place.run("deploy", "--target", "k8s")
    assert again.returncode == 0, again.stderr
    assert "configured" not in again.stderr
    assert "created" not in again.stderr

    def hpa() -> Any:
        return scaling.list_namespaced_horizontal_pod_autoscaler(namespace).items[0].status

    def cpu() -> Any:
        metrics = hpa().current_metrics or []
        return [
            m
            for m in metrics
            if m.container_resource and m.container_resource.current.average_utilization is not None
        ]

    wait_for("a CPU figure in the HPA", 90, cpu)
    stop = threading.Event()
    load = [threading.Thread(target=call_until, args=(service.spec.cluster_ip, body, stop)) for _ in range(4)]
    for thread in load:
        thread.start()
    try:
        wait_for("more replicas under load", 120, lambda: (hpa().current_replicas or 0) > 1)
    finally:
        stop.set()
        for thread in load:
            thread.join()
    wait_for("the minimum after the load", 180, lambda: hpa().current_replicas == 1)


def call_until(address: str, body: dict[str, Any], stop: threading.Event) -> None:
    end = time.monotonic() + 150
    while not stop.is_set() and time.monotonic() < end:
        try:
            ask(address, body)
        except OSError:
            time.sleep(0.1)


def test_manifests_of_the_image_name_it_by_digest_and_never_by_alias(place):
    reference = place.ok("package", "models:/iris@champion", "--push").strip()
    objects = list(yaml.safe_load_all(place.ok("render", reference)))
    deployment = next(o for o in objects if o["kind"] == "Deployment")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == reference
    assert deployment["metadata"]["annotations"]["servegen.dev/pin"] == "models:/iris/1"
    assert "replicas" not in deployment["spec"]


def test_a_namespace_that_does_not_exist_stops_before_anything_is_applied(place):
    error, hint = place.fails(errors.NamespaceError.exit_code, "deploy", "-n", "does-not-exist")
    assert "does-not-exist" in error
    assert "kubectl create namespace does-not-exist" in hint


def test_no_cluster_is_said_before_anything_is_built(place, tmp_path):
    error, hint = place.fails(
        errors.ClusterUnreachableError.exit_code, "deploy", KUBECONFIG=str(tmp_path / "absent")
    )
    assert error
    assert hint


def test_a_digest_that_the_registry_lacks_is_an_error_before_the_cluster_is_touched(place, test_registry):
    absent = f"{test_registry}/iris@sha256:{'0' * 64}"
    error, _ = place.fails(errors.ImageNotFoundError.exit_code, "deploy", absent)
    assert absent in error
