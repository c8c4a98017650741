"""status, logs, port-forward and a folder of models on a real cluster, with the tiny image for a server."""

from __future__ import annotations

import json
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from servegen import errors
from servegen.kube import logs, status
from servegen.kube.client import Cluster
from servegen.kube.forward import Pods, listening
from servegen.kube.options import ClusterOptions
from servegen.planning.deployment import plan
from servegen.progress import Silent
from servegen.targets.k8s import Kubernetes
from servegen.values.deployment import AutoscalingSettings, ResourceSettings, Settings
from servegen.values.image import Image
from tests.e2e.workspace import Workspace

pytest_plugins = ("tests.e2e.kubernetes", "tests.e2e.workspace")
pytestmark = pytest.mark.e2e

SMALL = ResourceSettings(cpu="50m", memory="64Mi", ephemeral_storage="16Mi")
FIXED = Settings(
    resources=SMALL, min_ready_seconds=0, replicas=2, autoscaling=AutoscalingSettings(enabled=False)
)


def get(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
        return int(answer.status)


def test_a_running_model_is_shown_read_and_reached_also_when_its_pod_goes(
    stub_image: Image, options: ClusterOptions, api: Any, namespace: str
) -> None:
    Kubernetes(options=options).deliver(plan(stub_image, FIXED), progress=Silent())
    cluster = Cluster.connect(options)
    one = status.named(cluster, "iris")
    assert (one.healthy, one.ready, one.drift, one.scaling) == (True, 2, (), None)
    assert one.image == stub_image.ref.pinned
    pods = Pods(cluster, "iris", Silent())
    with listening(pods.dial, 0, Silent()) as port:
        assert get(port) == 200
        gone = min(pod.name for pod in one.pods)
        api.delete_namespaced_pod(gone, namespace, grace_period_seconds=0)
        assert get(port) == 200


def test_what_a_person_changes_and_a_crash_are_shown(
    stub_image: Image, options: ClusterOptions, kubeconfig: str, namespace: str
) -> None:
    crash = replace(FIXED, replicas=1, env={"MODE": "crash"})
    with pytest.raises(errors.RolloutError):
        Kubernetes(options=options).deliver(plan(stub_image, crash), progress=Silent())
    from kubernetes import client, config

    apps = client.AppsV1Api(config.new_client_from_config(config_file=kubeconfig))
    apps.patch_namespaced_deployment("iris", namespace, {"spec": {"paused": True}}, field_manager="somebody")
    cluster = Cluster.connect(options)
    one = status.named(cluster, "iris")
    for _ in range(100):
        if "not looked at the last change" not in one.rollout:
            break
        time.sleep(0.1)
        one = status.named(cluster, "iris")
    assert one.drift == ("Deployment somebody: spec.paused",)
    assert not one.healthy
    assert "crashes" in one.rollout
    assert one.restarts >= 1
    written = {line.text for line in logs.read(cluster, logs.Wanted(instance="iris", previous=True))}
    assert "ValueError: no column petal" in written


def test_a_folder_of_models_is_deployed_and_the_broken_one_fails_alone(
    stub_image: Image, namespace: str, kubeconfig: str, tmp_path: Path
) -> None:
    deploy = {"namespace": namespace, "replicas": 1, "autoscaling": {"enabled": False}}
    deploy |= {"min_ready_seconds": 0, "resources": {"cpu": "50m", "memory": "64Mi"}}
    for name, more in (("one", {}), ("two", {}), ("broken", {"env": {"MODE": "crash"}})):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        own = {"image": stub_image.ref.pinned, "deploy": deploy | {"name": name} | more}
        (folder / "servegen.yaml").write_text(json.dumps(own))
    variables = {"KUBECONFIG": kubeconfig, "SERVEGEN_CACHE_DIR": str(tmp_path / "cache")}
    place = Workspace(folder=tmp_path, variables=variables)
    done = place.run("deploy", "models", "--json")
    assert done.returncode == errors.FleetError.exit_code, done.stderr
    results = {one["name"]: one for one in json.loads(done.stdout)}
    assert {name: one["result"] for name, one in results.items()} == {
        "broken": "failed",
        "one": "created",
        "two": "created",
    }
    assert "crashes" in results["broken"]["error"]["message"]
    shown = json.loads(place.ok("status", "-n", namespace, "--json"))
    assert {one["name"]: one["healthy"] for one in shown} == {"broken": False, "one": True, "two": True}
