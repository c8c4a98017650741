"""The chart under the real helm: strict, usable as a part of others, and installable on a cluster."""

from __future__ import annotations

import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.planning.deployment import plan
from servegen.renderers.helm import chart_folder
from servegen.renderers.manifests import Manifests
from servegen.targets.directory import write
from servegen.values.deployment import AutoscalingSettings, ResourceSettings, Settings
from servegen.values.image import Image
from tests.e2e.kubetools import GoLoader, chart, neutral, run
from tests.kube.deployments import image
from tests.kube.test_objects import CUSTOM
from tests.renderers.configurations import CONFIGURATIONS

pytest_plugins = ("tests.e2e.kubernetes",)
pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("path", sorted((chart_folder() / "ci").iterdir()), ids=lambda path: path.name)
@pytest.mark.parametrize("version", ["1.29", "1.35", "1.37"])
def test_example_values_give_objects_that_are_strictly_valid(tools: Path, path: Path, version: str) -> None:
    run(tools / "helm", "lint", "--strict", chart_folder(), "--values", path)
    text = run(
        tools / "helm", "template", "fraud", chart_folder(), "--values", path, "--kube-version", version
    )
    for one in yaml.load_all(text, GoLoader):
        if one["kind"] in CUSTOM:
            continue
        kubernetes_validate.validate(one, version, strict=True)


def test_a_cluster_older_than_the_values_is_refused(tools: Path, tmp_path: Path) -> None:
    folder = chart(plan(image(), Settings()), tmp_path)
    done = subprocess.run(
        [tools / "helm", "template", "iris", folder, "--kube-version", "1.30"], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "kubeVersion: >=1.35.0-0" in done.stderr


def test_a_typo_in_the_values_is_refused(tools: Path, tmp_path: Path) -> None:
    folder = chart(plan(image(), Settings()), tmp_path)
    done = subprocess.run(
        [tools / "helm", "template", "iris", folder, "--set", "image.digset=x"],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "digset" in done.stderr


@pytest.mark.parametrize(
    ("release", "values", "words"),
    [
        ("9x", ["nameOverride=x"], 'a Service cannot be named "9x"'),
        ("iris", ["terminationGracePeriodSeconds=70"], "is 70, but preStopSeconds and the drain take 70"),
        ("iris", ["image.digest=", "image.tag="], "image.digest or image.tag is needed"),
        ("iris", ["keda.enabled=true"], "exclude each other"),
        (
            "iris",
            ["autoscaling.enabled=false", "keda.enabled=true", "keda.minReplicas=0"],
            "keda.wakeQuery has to say",
        ),
        ("iris", ["autoscaling.enabled=false", "keda.enabled=true"], "keda.prometheus is needed"),
        ("iris", ["route.enabled=true"], "a Gateway in route.parentRefs"),
    ],
)
def test_values_that_cannot_work_are_refused(
    tools: Path, tmp_path: Path, release: str, values: list[str], words: str
) -> None:
    folder = chart(plan(image(), Settings()), tmp_path)
    options = [part for value in values for part in ("--set", value)]
    done = subprocess.run(
        [tools / "helm", "template", release, folder, *options], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert words in done.stderr


def test_two_aliases_of_one_chart_live_in_one_parent(tools: Path, tmp_path: Path) -> None:
    chart(plan(image(), Settings()), tmp_path / "parent/charts/iris")
    aliases = [{"name": "iris", "version": "0.1.0", "alias": alias} for alias in ("left", "right")]
    parent = {"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": aliases}
    (tmp_path / "parent/Chart.yaml").write_text(yaml.safe_dump(parent))
    (tmp_path / "parent/values.yaml").write_text("global: {imageRegistry: mirror.example.com}\n")
    found = list(yaml.load_all(run(tools / "helm", "template", "all", tmp_path / "parent"), GoLoader))
    deployments = [one for one in found if one["kind"] == "Deployment"]
    assert {one["metadata"]["name"] for one in deployments} == {"all-left", "all-right"}
    selectors = [tuple(one["spec"]["selector"]["matchLabels"].items()) for one in deployments]
    assert len(set(selectors)) == 2
    for one in deployments:
        (container,) = one["spec"]["template"]["spec"]["containers"]
        assert container["image"].startswith("mirror.example.com/ml/iris@sha256:")


def test_kubectl_reads_hostile_strings_back_unchanged(tools: Path, tmp_path: Path) -> None:
    hostile = CONFIGURATIONS["hostile"]
    write(Manifests().render(plan(image(), hostile)), tmp_path)
    files = sorted(path.name for path in tmp_path.iterdir())
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": files}))
    built = neutral(yaml.load_all(run(tools / "kubectl", "kustomize", tmp_path), GoLoader))
    container = built["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    values = {one["name"]: one["value"] for one in container["env"]}
    assert {name: values[name] for name in hostile.env} == hostile.env
    annotations = built["Service"]["metadata"]["annotations"]
    assert {name: annotations[name] for name in hostile.annotations} == hostile.annotations


def test_the_chart_installs_answers_its_test_and_upgrades(
    tools: Path, tmp_path: Path, stub_image: Image, options: ClusterOptions, kubeconfig: str
) -> None:
    small = Settings(
        resources=ResourceSettings(cpu="50m", memory="64Mi", ephemeral_storage="16Mi"),
        autoscaling=AutoscalingSettings(min_replicas=1),
        min_ready_seconds=0,
    )
    folder = chart(plan(stub_image, small), tmp_path / "chart")
    helm = (tools / "helm", "--namespace", options.namespace, "--kubeconfig", kubeconfig)
    run(*helm, "install", "iris", folder, "--wait=watcher", "--timeout", "60s")
    assert "Phase:          Succeeded" in run(*helm, "test", "iris", "--timeout", "60s")
    run(
        *helm,
        "upgrade",
        "iris",
        folder,
        "--set",
        "extraEnv[0].name=LEVEL,extraEnv[0].value=8e1",
        "--wait=watcher",
    )
    live = Cluster.connect(options).get("apps/v1", "Deployment", "iris")
    assert live is not None
    assert live["spec"]["template"]["spec"]["containers"][0]["env"][-1] == {"name": "LEVEL", "value": "8e1"}
    run(*helm, "rollback", "iris", "1", "--wait=watcher")
    run(*helm, "uninstall", "iris")
