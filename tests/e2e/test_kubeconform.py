"""A second validator, in another language, has no objection to any format for any Kubernetes."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from servegen.kube import objects
from servegen.kube.yaml import dump_all
from servegen.renderers.helm import Helm
from servegen.renderers.kserve import KServe
from servegen.renderers.kustomize import Kustomize
from servegen.renderers.manifests import Manifests
from servegen.targets.directory import write
from tests.e2e.conftest import program
from tests.e2e.kubetools import run
from tests.renderers.configurations import CONFIGURATIONS, VERSIONS, planned
from tests.tools import inline_schemas

pytestmark = pytest.mark.e2e

KUBECONFORM = "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0"
OF_KSERVE = "InferenceService,ServingRuntime"
"""Their schemas are 2 MB of KServe's own."""
NOT_IN_KSERVE = ("added", "keda")
"""Configurations that have no form there, and are refused."""
BUILT = ("defaults", "everything", "keda")
"""What helm and kustomize are asked to build; that the others are alike is shown by test_formats.py."""


@pytest.fixture(scope="module")
def kubeconform(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, from Go's cache."""
    folder = tmp_path_factory.mktemp("kubeconform")
    argv = [program("go"), "install", KUBECONFORM]
    subprocess.run(argv, env=os.environ | {"GOBIN": str(folder)}, check=True, capture_output=True)
    return folder / "kubeconform"


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the schemas of all kinds and versions."""
    folder = tmp_path_factory.mktemp("schemas")
    made = [one for name in CONFIGURATIONS for one in objects.build(planned(name))]
    kinds = {(one["apiVersion"], one["kind"]) for one in made} | {("v1", "Pod")}
    for version in VERSIONS:
        inline_schemas.write(folder, version, sorted(kinds))
    return folder


def checked(kubeconform: Path, schemas: Path, version: str, files: Path) -> dict[str, Any]:
    argv = [kubeconform, "-strict", "-n", "2", "-skip", OF_KSERVE, "-kubernetes-version", f"{version}.0"]
    options = ["-schema-location", schemas / inline_schemas.LOCATION, "-output", "json", "-summary"]
    # It ends with 1 when it found something.
    done = subprocess.run([*argv, *options, files], check=False, capture_output=True, text=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_every_format_is_valid_for_every_version(kubeconform: Path, schemas: Path, tmp_path: Path) -> None:
    for version in VERSIONS:
        folder = tmp_path / version
        folder.mkdir()
        for name in CONFIGURATIONS:
            deployment = planned(name, version)
            (folder / f"{name}.yaml").write_text(Manifests().stream(deployment))
            if name not in NOT_IN_KSERVE:
                (folder / f"{name}-kserve.yaml").write_text(KServe().stream(deployment))
        report = checked(kubeconform, schemas, version, folder)
        assert report.get("resources", []) == []
        assert report["summary"]["valid"] > 5 * len(CONFIGURATIONS)
        assert report["summary"]["skipped"] == 2 * len(list(folder.glob("*-kserve.yaml")))


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_what_helm_and_kustomize_build_is_valid_with_the_hooks(
    tools: Path, kubeconform: Path, schemas: Path, tmp_path: Path, version: str
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for name in BUILT:
        deployment = replace(planned(name, version), namespace="ml")
        write(Helm().render(deployment), tmp_path / name / "chart")
        write(Kustomize().render(deployment), tmp_path / name)
        overlay = tmp_path / name / "overlays" / (deployment.environment or "default")
        helm = ("template", deployment.instance, tmp_path / name / "chart", "--kube-version", version)
        (files / f"{name}-helm.yaml").write_text(run(tools / "helm", *helm))
        (files / f"{name}-kustomize.yaml").write_text(run(tools / "kubectl", "kustomize", overlay))
    report = checked(kubeconform, schemas, version, files)
    assert report.get("resources", []) == []
    kinds = [
        one["kind"] for file in files.glob("*-helm.yaml") for one in yaml.safe_load_all(file.read_text())
    ]
    assert kinds.count("Pod") == len(BUILT)


def test_it_does_find_an_unknown_field_and_a_wrong_type(
    kubeconform: Path, schemas: Path, tmp_path: Path
) -> None:
    wanted = list(objects.build(planned("defaults", VERSIONS[-1])))
    for one in wanted:
        if one["kind"] == "Deployment":
            one["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["periodSecond"] = 5
        if one["kind"] == "HorizontalPodAutoscaler":
            one["spec"]["maxReplicas"] = "12"
    (tmp_path / "broken.yaml").write_text(dump_all(wanted))
    found = {
        one["kind"]: one["msg"] for one in checked(kubeconform, schemas, VERSIONS[-1], tmp_path)["resources"]
    }
    assert found.keys() == {"Deployment", "HorizontalPodAutoscaler"}
    assert "periodSecond" in found["Deployment"]
