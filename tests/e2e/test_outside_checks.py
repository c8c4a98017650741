"""Other people's checkers find what we leave so on purpose, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from servegen.config import environment
from servegen.kube.exceptions import WAIVED, suppressing
from servegen.planning.deployment import plan
from servegen.renderers import renderer
from servegen.renderers.manifests import Manifests
from servegen.targets.directory import write as write_bundle
from servegen.values.deployment import Deployment
from tests.e2e.conftest import program
from tests.kube.deployments import image
from tests.renderers.configurations import CONFIGURATIONS, planned

pytestmark = pytest.mark.e2e

CHECKOV = "checkov==3.3.30"
YAMLLINT = "yamllint==1.38.0"
ROOT = Path(__file__).parents[2]
KUBE_SCORE = "github.com/zegl/kube-score/cmd/kube-score@v1.20.0"
USERS = {"added"}
"""Configurations with containers and patches of users, which are theirs to answer for."""
GOOD = 10
"""The grade with which kube-score passes an object."""


def write(folder: Path, deployments: Mapping[str, Deployment]) -> Path:
    """A file for each; its objects have names of their own, so that none covers another's."""
    for name, deployment in deployments.items():
        named = replace(deployment, name=name, instance=name)
        (folder / f"{name}.yaml").write_text(Manifests().stream(named))
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ours = {name: planned(name) for name in CONFIGURATIONS if name not in USERS}
    return write(tmp_path_factory.mktemp("written"), ours)


@pytest.fixture(scope="module")
def suppressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ours = {
        name: plan(image(), suppressing(settings))
        for name, settings in CONFIGURATIONS.items()
        if name not in USERS
    }
    return write(tmp_path_factory.mktemp("suppressed"), ours)


@pytest.fixture(scope="module")
def checkers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with kube-score and the environment of checkov and yamllint, from caches of Go and uv."""
    folder = tmp_path_factory.mktemp("checkers")
    variables = dict(environment(os.environ).variables)
    uv = Path(sys.executable).parent / "uv"
    python = folder / "checkov/bin/python"
    for argv, env in (
        ([uv, "venv", "--quiet", "--python", sys.executable, folder / "checkov"], {}),
        ([uv, "pip", "install", "--quiet", "--python", python, CHECKOV, YAMLLINT], {}),
        ([program("go"), "install", KUBE_SCORE], {"GOBIN": str(folder)}),
    ):
        subprocess.run(argv, env=os.environ | variables | env, check=True)
    return folder


def expected(tool: str) -> set[tuple[str, str]]:
    return {(one.id, one.kind) for one in WAIVED if one.tool == tool}


def by_rule(found: list[tuple[str, str, str]]) -> dict[tuple[str, str], set[str]]:
    """Rule and kind to the places where it failed."""
    made = defaultdict(set)
    for rule, kind, place in found:
        made[rule, kind].add(place)
    return dict(made)


def checkov(checkers: Path, written: Path) -> dict[tuple[str, str], set[str]]:
    argv = [checkers / "checkov/bin/checkov", "--directory", written, "--framework", "kubernetes"]
    options = ["--skip-download", "--compact", "--quiet", "--soft-fail", "--output", "json"]
    done = subprocess.run([*argv, *options], check=True, capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert report["summary"]["passed"] > 0
    assert report["summary"]["parsing_errors"] == 0
    failed = report["results"]["failed_checks"]
    return by_rule([(one["check_id"], one["resource"].split(".")[0], one["file_path"]) for one in failed])


def kube_score(checkers: Path, written: Path) -> dict[tuple[str, str], set[str]]:
    argv = [checkers / "kube-score", "score", "--output-format", "json", *sorted(written.iterdir())]
    # It ends with 1 when it found something.
    report = json.loads(subprocess.run(argv, check=False, capture_output=True, text=True).stdout)
    assert report
    return by_rule(
        [
            (each["check"]["id"], one["type_meta"]["kind"], one["object_meta"]["name"])
            for one in report
            for each in one["checks"] or ()
            if not each["skipped"] and each["grade"] < GOOD
        ]
    )


# A rule that fires no more is as wrong on the list as one that fires and is not on it.
def test_checkov_finds_what_is_left_so_on_purpose(checkers: Path, written: Path) -> None:
    found = checkov(checkers, written)
    assert found.keys() == expected("checkov"), found


def test_kube_score_finds_what_is_left_so_on_purpose(checkers: Path, written: Path) -> None:
    found = kube_score(checkers, written)
    assert found.keys() == expected("kube-score"), found


def test_annotations_make_both_content(checkers: Path, suppressed: Path) -> None:
    assert checkov(checkers, suppressed) == {}
    assert kube_score(checkers, suppressed) == {}


def test_yamllint_finds_nothing_in_what_is_rendered_nor_here(checkers: Path, tmp_path: Path) -> None:
    for format_name in ("manifests", "kustomize", "helm", "kserve", "compose"):
        for name in ("everything", "hostile", "scaling"):
            write_bundle(renderer(format_name).render(planned(name)), tmp_path / format_name / name)
    lint = [checkers / "checkov/bin/yamllint", "--config-file", ROOT / ".yamllint", "--format", "parsable"]
    for place in (tmp_path, ROOT / "charts", ROOT / "models", ROOT / "manifests"):
        done = subprocess.run([*lint, place], check=False, capture_output=True, text=True)
        assert done.stdout == ""
    (tmp_path / "broken.yaml").write_text("---\na: yes\nb: 010\nb: 1e3\n")
    done = subprocess.run([*lint, tmp_path / "broken.yaml"], check=False, capture_output=True, text=True)
    rules = ("truthy", "octal-values", "key-duplicates", "float-values")
    assert [rule for rule in rules if f"({rule})" not in done.stdout] == []
