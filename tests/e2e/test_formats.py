"""Every format says the same: what helm and kustomize make of our files equals the plain manifests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from servegen import charts
from servegen.config import Config
from servegen.config import environment as config_environment
from servegen.job import Job
from servegen.planning.deployment import plan
from servegen.progress import Silent
from servegen.renderers.compose import Compose
from servegen.renderers.helm import Helm
from servegen.renderers.kustomize import Kustomize
from servegen.renderers.manifests import Manifests
from servegen.targets.directory import write
from servegen.values.additions import ConfigSettings, GpuSettings
from servegen.values.deployment import AutoscalingSettings, Deployment, ResourceSettings, Settings
from servegen.values.network import NetworkPolicySettings
from tests.e2e.conftest import program
from tests.e2e.kubetools import chart, kustomized, neutral, run, templated
from tests.kube.deployments import image
from tests.renderers.configurations import CONFIGURATIONS, VERSIONS, planned

pytestmark = pytest.mark.e2e

COMPOSE = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2"
"""What docker compose reads its files with: schema, variables and consistency."""

SHARED = Settings(namespace="ml", env={"LEVEL": "1"}, network_policy=NetworkPolicySettings(enabled=True))
ENVIRONMENTS = {
    "dev": replace(SHARED, autoscaling=AutoscalingSettings(enabled=False), replicas=1),
    "staging": replace(SHARED, network_policy=NetworkPolicySettings()),
    "prod": replace(SHARED, resources=ResourceSettings(cpu="4", memory="8Gi"), env={"LEVEL": "8e1"}),
}
"""What an environment overrides: an object less, another object less, numbers and variables."""


def plain(deployment: Deployment) -> dict[str, object]:
    return neutral(yaml.safe_load_all(Manifests().stream(deployment)))


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_helm_template_and_kustomize_build_equal_the_manifests(
    tools: Path, tmp_path: Path, name: str
) -> None:
    deployment = planned(name)
    deployment = replace(deployment, namespace=deployment.namespace or "default")
    folder = chart(deployment, tmp_path / "chart")
    run(tools / "helm", "lint", "--strict", folder)
    assert templated(tools, deployment, folder) == plain(deployment)
    write(Kustomize().render(deployment), tmp_path / "apps")
    overlay = tmp_path / "apps/overlays" / (deployment.environment or "default")
    assert kustomized(tools, overlay) == plain(deployment)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_format_says_the_same_for_every_version(tools: Path, tmp_path: Path, version: str) -> None:
    def differing(name: str) -> list[str]:
        deployment = planned(name, version)
        deployment = replace(deployment, namespace=deployment.namespace or "default")
        folder = chart(deployment, tmp_path / name / "chart")
        write(Kustomize().render(deployment), tmp_path / name)
        overlay = tmp_path / name / "overlays" / (deployment.environment or "default")
        built = {
            "helm": templated(tools, deployment, folder, "--kube-version", version),
            "kustomize": kustomized(tools, overlay),
        }
        return [f"{name}: {how}" for how, objects in built.items() if objects != plain(deployment)]

    # What equals the plain manifests is as valid as they are, which tests/renderers/test_versions.py shows.
    with ThreadPoolExecutor(2) as workers:
        assert [text for found in workers.map(differing, CONFIGURATIONS) for text in found] == []


def test_environments_side_by_side_are_each_their_own_manifests(tools: Path, tmp_path: Path) -> None:
    releases = {}
    for version, (name, settings) in enumerate(ENVIRONMENTS.items(), start=1):
        port = "9000" if name == "staging" else ""
        packaged = image(model_version=str(version), pin=f"models:/iris/{version}", grpc_port=port)
        ref = replace(packaged.ref, registry=f"{name}.example.com", digest="sha256:" + str(version) * 64)
        packaged = replace(packaged, ref=ref)
        releases[name] = plan(packaged, replace(settings, environment=name), SHARED)
        write(Kustomize().render(releases[name]), tmp_path)
    for name, deployment in releases.items():
        assert kustomized(tools, tmp_path / "overlays" / name) == plain(deployment)


def test_an_environment_still_builds_when_the_base_lost_an_object(tools: Path, tmp_path: Path) -> None:
    write(Kustomize().render(plan(image(), replace(SHARED, environment="prod"), SHARED)), tmp_path)
    fixed = replace(SHARED, autoscaling=AutoscalingSettings(enabled=False))
    write(Kustomize().render(plan(image(), replace(fixed, environment="staging"), fixed)), tmp_path)
    assert "HorizontalPodAutoscaler" not in kustomized(tools, tmp_path / "overlays/prod")


def test_an_overlay_patches_by_the_names_that_its_objects_have(tools: Path, tmp_path: Path) -> None:
    write(Kustomize().render(plan(image(), replace(SHARED, environment="prod"), SHARED)), tmp_path)
    overlay = tmp_path / "overlays/prod/kustomization.yaml"
    patch = {"op": "add", "path": "/metadata/annotations/example.com~1mine", "value": "yes"}
    target = {"kind": "Service", "name": "iris-prod"}
    mine = {"patches": [{"target": target, "patch": yaml.safe_dump([patch])}]}
    overlay.write_text(overlay.read_text() + yaml.safe_dump(mine))
    built = kustomized(tools, overlay.parent)
    assert built["Service"]["metadata"]["annotations"]["example.com/mine"] == "yes"


def unpacked(archive: Path, folder: Path) -> dict[str, str]:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_packed_chart_is_what_helm_package_makes(tools: Path, tmp_path: Path) -> None:
    bundle = Helm().render(planned("everything"))
    write(bundle, tmp_path / "chart")
    charts.write(charts.pack(bundle), tmp_path / "ours.tgz")
    run(tools / "helm", "package", tmp_path / "chart", "--destination", tmp_path)
    (theirs,) = tmp_path.glob("iris-*.tgz")
    left, right = unpacked(tmp_path / "ours.tgz", tmp_path / "a"), unpacked(theirs, tmp_path / "b")
    # Helm writes this file anew, with its own order and quotes.
    assert yaml.safe_load(left.pop("iris/Chart.yaml")) == yaml.safe_load(right.pop("iris/Chart.yaml"))
    assert left == right
    run(tools / "helm", "lint", "--strict", tmp_path / "ours.tgz")


def test_helm_pulls_and_renders_a_chart_that_was_pushed(
    tools: Path, tmp_path: Path, docker_registry: str
) -> None:
    deployment = planned("everything")
    bundle = charts.with_version(Helm().render(deployment), "1.4.0")
    job = Job(
        config=Config(insecure_registries=(docker_registry,)),
        environment=config_environment({"SERVEGEN_CACHE_DIR": str(tmp_path / "cache")}),
        lock_file=None,
    )
    pushed = charts.push(charts.pack(bundle), f"oci://{docker_registry}/charts", job, Silent())
    chart_name, _, digest = pushed.partition(":1.4.0@")
    assert chart_name == f"oci://{docker_registry}/charts/iris"
    argv = ("--version", "1.4.0", "--plain-http")
    told = run(tools / "helm", "pull", chart_name, *argv, "--destination", tmp_path)
    assert digest in told
    pulled = tmp_path / "iris-1.4.0.tgz"
    assert pulled.read_bytes() == charts.pack(bundle).data
    assert templated(tools, deployment, pulled) == plain(deployment)
    shown = yaml.safe_load(run(tools / "helm", "show", "chart", chart_name, *argv))
    assert (shown["version"], shown["appVersion"]) == ("1.4.0", "7")


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compose")
    argv = [program("go"), "install", COMPOSE]
    subprocess.run(argv, env=os.environ | {"GOBIN": str(folder)}, check=True, capture_output=True)
    return folder / "cmd"


def loaded(compose: Path, file: Path) -> subprocess.CompletedProcess[str]:
    argv = [compose, "--format", "json", file]
    return subprocess.run(argv, cwd=file.parent, capture_output=True, text=True, check=False)


# Parts of a pod have no form there, and are refused.
@pytest.mark.parametrize("name", sorted(CONFIGURATIONS.keys() - {"added"}))
def test_compose_reads_back_what_was_written(compose: Path, tmp_path: Path, name: str) -> None:
    deployment = planned(name)
    file = tmp_path / "compose.yaml"
    # This reader sees no variables of its environment; the next test shows that it knows what is asked.
    file.write_text(re.sub(r"\$\{\w+:\?[^}]*\}", "given", Compose().stream(deployment)))
    for secret in deployment.env_from_secrets:
        (tmp_path / f"{secret}.env").write_text("FROM_FILE=1\n")
    given = {one.name: "given" for one in deployment.env if one.secret}
    project = json.loads(loaded(compose, file).stdout)
    (service,) = project["services"].values()
    assert service["image"] == deployment.image.pinned
    literal = {one.name: _of_kubelet(one.value) for one in deployment.env if not one.secret}
    read = {key: value for key, value in service["environment"].items() if key != "FROM_FILE"}
    assert read == literal | given


def test_compose_reads_files_devices_and_shared_memory(compose: Path, tmp_path: Path) -> None:
    settings = Settings(
        config=ConfigSettings(files={"note": "costs $5 or ${FIVE}"}),
        gpu=GpuSettings(count=2),
        resources=ResourceSettings(shm_size="512Mi"),
    )
    file = tmp_path / "compose.yaml"
    file.write_text(Compose().stream(plan(image(), settings)))
    project = json.loads(loaded(compose, file).stdout)
    (service,) = project["services"].values()
    assert project["configs"]["note"]["content"] == "costs $5 or ${FIVE}"
    assert service["configs"] == [{"source": "note", "target": "/etc/model/note"}]
    assert service["shm_size"] == "512m"
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device["count"] == 2


def test_compose_stops_where_a_secret_is_missing(compose: Path, tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(Compose().stream(plan(image(), Settings(secret_env={"API_KEY": "vault/api-key"}))))
    done = loaded(compose, file)
    assert done.returncode != 0
    assert "set it to key api-key of the Secret vault" in done.stderr


def _of_kubelet(value: str) -> str:
    """What a container sees of a value that refers to no variable which exists."""
    return re.sub(r"\$\$", "$", value)
