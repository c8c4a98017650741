"""The chart under the real helm: equal to the plain manifests, and installable on a cluster.

`SERVEGEN_KUBE_TOOLS` may name the folder that tests/tools/fetch_kube_tools.py keeps helm and kubectl in.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import kubernetes_validate
import pytest
import yaml

from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.planning.deployment import plan
from servegen.renderers.helm import Helm, chart_folder
from servegen.renderers.manifests import Manifests
from servegen.targets.directory import write
from servegen.values.deployment import AutoscalingSettings, Deployment, ResourceSettings, Settings
from servegen.values.image import Image
from tests.kube.deployments import ADDED, EVERYTHING, KEDA, image
from tests.kube.hazards import HAZARDS
from tests.kube.test_objects import CUSTOM
from tests.tools.fetch_kube_tools import fetch

pytest_plugins = ("tests.e2e.kubernetes",)
pytestmark = pytest.mark.e2e

HOSTILE = Settings(
    env={f"HAZARD_{index}": text for index, text in enumerate(HAZARDS)},
    annotations={f"example.com/hazard-{index}": text for index, text in enumerate(HAZARDS)},
    labels={"a": "8e1", "b": "N", "c": "0o17", "d": "007"},
)
CONFIGURATIONS = {
    "defaults": Settings(namespace="ml"),
    "everything": EVERYTHING,
    "fixed": Settings(autoscaling=AutoscalingSettings(enabled=False), replicas=3),
    "dev": Settings(dev=True, pre_stop_seconds=0, min_ready_seconds=0, surge=False),
    "added": ADDED,
    "added-oldest": replace(ADDED, kube_version="1.29", model_volume=None),
    "oldest": Settings(kube_version="1.29", environment="staging"),
    "hostile": HOSTILE,
    "keda": KEDA,
}
IMAGES = {
    "plain": image(),
    "hostile": image(model_name='Fraud: {{ "x" }} `Détection` 😀 #1'),
    "grpc": image(grpc_port="9000"),
}


class GoLoader(yaml.SafeLoader):
    """Reads what Go programs write: they quote whatever they would take for another type, and only that."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


for kind, pattern, first in (
    ("bool", "true|false", "tf"),
    ("int", "-?[0-9]+", "-0123456789"),
    ("null", "null|~|", ["n", "~", ""]),
):
    GoLoader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"^(?:{pattern})$"), list(first))


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = Path(os.environ.get("SERVEGEN_KUBE_TOOLS") or tmp_path_factory.mktemp("kube-tools"))
    cache.mkdir(parents=True, exist_ok=True)
    return fetch(cache)


def run(*argv: object, **env: str) -> str:
    done = subprocess.run(
        [str(part) for part in argv], env=os.environ | env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def chart(deployment: Deployment, folder: Path) -> Path:
    write(Helm().render(deployment), folder)
    return folder


def templated(tools: Path, deployment: Deployment, folder: Path, *options: str) -> dict[str, Any]:
    namespace = deployment.namespace or "default"
    text = run(tools / "helm", "template", deployment.instance, folder, "--namespace", namespace, *options)
    return neutral(yaml.load_all(text, GoLoader))


def neutral(found: Any) -> dict[str, Any]:
    """The objects by kind, without hooks and without the labels in which a chart must differ."""
    made = {}
    for one in found:
        if one is None or "helm.sh/hook" in one["metadata"].get("annotations", {}):
            continue
        about = [one["metadata"], one.get("spec", {}).get("template", {}).get("metadata", {})]
        for metadata in about:
            for label in ("helm.sh/chart", "app.kubernetes.io/managed-by"):
                metadata.get("labels", {}).pop(label, None)
        made[one["kind"]] = one
    return made


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_helm_template_equals_the_manifests(
    tools: Path, tmp_path: Path, configuration: str, name: str
) -> None:
    deployment = plan(IMAGES[name], CONFIGURATIONS[configuration])
    deployment = replace(deployment, namespace=deployment.namespace or "default")
    folder = chart(deployment, tmp_path / "chart")
    run(tools / "helm", "lint", "--strict", folder)
    plain = neutral(yaml.safe_load_all(Manifests().stream(deployment)))
    assert templated(tools, deployment, folder) == plain


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
    write(Manifests().render(plan(image(), HOSTILE)), tmp_path)
    files = sorted(path.name for path in tmp_path.iterdir())
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": files}))
    built = neutral(yaml.load_all(run(tools / "kubectl", "kustomize", tmp_path), GoLoader))
    container = built["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    values = {one["name"]: one["value"] for one in container["env"]}
    assert {name: values[name] for name in HOSTILE.env} == HOSTILE.env
    annotations = built["Service"]["metadata"]["annotations"]
    assert {name: annotations[name] for name in HOSTILE.annotations} == HOSTILE.annotations


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
