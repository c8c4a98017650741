"""Objects of Argo CD and Flux, and of operators, under others' models; and the folders that both document."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from servegen.config import environment
from servegen.gitops.controllers import Delivered
from servegen.kube import objects as kube_objects
from servegen.progress import Silent
from servegen.targets.directory import write
from servegen.validation import validate
from servegen.values.gitops import ArgoSettings, GitSettings
from tests.e2e.conftest import program
from tests.e2e.kubetools import kustomized, neutral, run
from tests.renderers.configurations import CONFIGURATIONS, planned
from tests.tools import trim_crds

pytestmark = pytest.mark.e2e

MODELS = Path(trim_crds.__file__).parent / "kubernetes_models"
GIT = GitSettings(
    repo="https://git.example.com/flowers/models.git", branch="main", argo=ArgoSettings(project="ml")
)
SET = replace(GIT, argo=replace(GIT.argo, application_set=True))
CHARTS = replace(GIT, repo="oci://registry.example.com/charts/iris", branch="1.0.0")
Check = Callable[[Iterable[Mapping[str, Any]]], list[str | None]]


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """Tells for each object what @kubernetes-models finds; npm's own cache keeps the packages."""
    folder = tmp_path_factory.mktemp("kubernetes-models")
    for path in MODELS.iterdir():
        shutil.copy(path, folder)
    node, npm = program("node"), program("npm")
    subprocess.run(
        [npm, "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"],
        cwd=folder,
        check=True,
    )

    def checked(objects: Iterable[Mapping[str, Any]]) -> list[str | None]:
        text = json.dumps(list(objects))
        done = subprocess.run(
            [node, "check.mjs"], cwd=folder, input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return checked


def delivered(configuration: str, controller: str, layout: str, git: GitSettings) -> list[dict[str, Any]]:
    text = Delivered(layout_name=layout, controller=controller, git=git).stream(planned(configuration))
    return list(yaml.safe_load_all(text))


def written() -> list[dict[str, Any]]:
    """Every object of every configuration, and those that bring them to a cluster."""
    made = [one for name in CONFIGURATIONS for one in kube_objects.build(planned(name))]
    for configuration in ("newest", "defaults", "keda", "hostile"):
        for layout in ("kustomize", "manifests", "helm"):
            for git in (GIT, SET):
                made += delivered(configuration, "argo", layout, git)
            for git in (GIT, CHARTS):
                made += delivered(configuration, "flux", layout, git)
        made += delivered(configuration, "argo", "helm", CHARTS)
        for controller, git in (("argo", GIT), ("argo", SET), ("flux", GIT)):
            made += delivered(configuration, controller, "values", replace(git, chart=f"{CHARTS.repo}:1.0.0"))
    return made


def test_other_peoples_models_take_what_we_write(check: Check) -> None:
    objects = written()
    kinds = {one["kind"] for one in objects}
    assert kinds >= {
        "Application", "ApplicationSet", "GitRepository", "HelmRelease", "HTTPRoute", "Kustomization",
        "OCIRepository", "PodMonitor", "ScaledObject", "ServiceMonitor", "Deployment",
        "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service",
    }  # fmt: skip
    found = check(objects)
    wrong = {
        f"{one['kind']} {one['metadata']['name']}: {text}"
        for one, text in zip(objects, found, strict=True)
        if text
    }
    assert wrong == set()


MUTANTS: tuple[tuple[str, tuple[str | int, ...], object], ...] = (
    ("Application", ("spec", "project"), None),
    ("Application", ("spec", "syncPolicy", "automated", "prune"), "yes"),
    ("ApplicationSet", ("spec", "generators"), {}),
    ("ApplicationSet", ("spec", "template", "spec", "destination"), None),
    ("GitRepository", ("spec", "url"), None),
    ("OCIRepository", ("spec", "interval"), 60),
    ("HelmRelease", ("spec", "upgrade", "remediation", "retries"), "2"),
    ("Kustomization", ("spec", "sourceRef"), None),
    ("Kustomization", ("spec", "prune"), "yes"),
    ("ScaledObject", ("spec", "triggers"), None),
    ("ScaledObject", ("spec", "triggers", 0, "metadata", "threshold"), 5),
    ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "port"), 3000),
    ("ServiceMonitor", ("spec", "selector"), None),
    ("HTTPRoute", ("spec", "parentRefs", 0, "name"), 1),
    ("HTTPRoute", ("spec", "rules", 0, "timeouts", "request"), "soon"),
)


def test_they_refuse_broken_ones(check: Check) -> None:
    # What argues that the test above finds something.
    by_kind = {one["kind"]: one for one in written()}
    broken = []
    for kind, path, value in MUTANTS:
        one = copy.deepcopy(by_kind[kind])
        place: Any = one
        for key in path[:-1]:
            place = place[key]
        if value is None:
            del place[path[-1]]
        else:
            place[path[-1]] = value
        broken.append(one)
    found = check(broken)
    assert [mutant for mutant, text in zip(MUTANTS, found, strict=True) if text is None] == []


@pytest.fixture(scope="module", params=["argo", "flux"])
def repository(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A repository of two models in two environments; one of them as Flux and Argo CD document it."""
    root = tmp_path_factory.mktemp(request.param)
    for name in ("iris", "tulip"):
        for stage in ("staging", "production"):
            settings = replace(CONFIGURATIONS["large"], name=name, environment=stage, namespace=stage)
            git = SET if request.param == "argo" else GIT
            made = Delivered(layout_name="kustomize", controller=request.param, git=git)
            write(made.render(_plan(settings)), root)
    return request.param, root


def _plan(settings: Any) -> Any:
    from servegen.planning.deployment import plan
    from tests.kube.deployments import image

    return plan(image(), settings, replace(settings, environment=None, namespace=None))


def test_every_overlay_builds_what_render_says(tools: Path, repository: tuple[str, Path]) -> None:
    _, root = repository
    # The glob of the ApplicationSet, and the folders of the Kustomizations.
    overlays = sorted(root.glob("apps/*/overlays/*"))
    assert len(overlays) == 4
    for overlay in overlays:
        name, stage = overlay.parts[-3], overlay.name
        settings = replace(CONFIGURATIONS["large"], name=name, environment=stage, namespace=stage)
        assert kustomized(tools, overlay) == neutral(kube_objects.build(_plan(settings)))


def test_the_folders_of_the_controllers_build_and_pass_our_checks(
    tools: Path, repository: tuple[str, Path]
) -> None:
    controller, root = repository
    if controller == "flux":
        applied = {}
        for stage in ("staging", "production"):
            folder = root / "clusters" / stage
            # As Flux itself does with a folder that has none.
            files = sorted(path.name for path in folder.glob("*.yaml"))
            (folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": files}))
            built = list(yaml.safe_load_all(run(tools / "kubectl", "kustomize", folder)))
            assert sorted(one["kind"] for one in built) == ["GitRepository", "Kustomization", "Kustomization"]
            applied |= {one["metadata"]["name"]: one for one in built if one["kind"] == "Kustomization"}
        assert len(applied) == 4
        for one in applied.values():
            assert (root / one["spec"]["path"] / "kustomization.yaml").is_file()
        # Its own example has a folder for each environment, which gathers the models.
        gathered = root / "apps" / "staging"
        gathered.mkdir()
        (gathered / "kustomization.yaml").write_text(
            yaml.safe_dump({"resources": ["../iris/overlays/staging", "../tulip/overlays/staging"]})
        )
        text = run(tools / "kubectl", "kustomize", gathered)
        assert text.count("\nkind: Deployment\n") == 2
    else:
        (one,) = yaml.safe_load_all((root / "argocd" / "models-apps.yaml").read_text())
        (directory,) = one["spec"]["generators"][0]["git"]["directories"]
        assert len(sorted(root.glob(directory["path"]))) == 4
    env = dict(environment(os.environ).variables) | {"PATH": f"{tools}:{os.environ['PATH']}"}
    version = planned("large").kube_version
    report = validate([str(root)], version, env=env, progress=Silent())
    assert report.findings == ()
    assert report.objects > 4 * 5
