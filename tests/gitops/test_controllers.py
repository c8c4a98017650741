from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import yaml

from servegen.errors import ConfigError
from servegen.gitops.controllers import Delivered, bundle
from servegen.gitops.layouts import layout
from servegen.gitops.source import LAYOUTS, source
from servegen.kube import objects as kube_objects
from servegen.kube import strict
from servegen.targets.directory import write
from servegen.values.deployment import Deployment
from servegen.values.gitops import ArgoSettings, FluxSettings, GitSettings
from tests.renderers.configurations import CONFIGURATIONS, planned

GIT = GitSettings(
    repo="https://git.example.com/flowers/models.git",
    branch="main",
    argo=ArgoSettings(project="ml"),
)
SET = replace(GIT, argo=ArgoSettings(project="ml", application_set=True))
CHARTS = replace(GIT, repo="oci://registry.example.com/charts/iris", branch="1.0.0")
PROD = planned("newest")


def objects(name: str, deployment: Deployment = PROD, git: GitSettings = GIT, layout_name: str = "kustomize"):
    """The objects by kind."""
    text = Delivered(layout_name=layout_name, controller=name, git=git).stream(deployment)
    return {one["kind"]: one for one in yaml.safe_load_all(text)}


def spec(name: str, kind: str, **given: Any) -> dict[str, Any]:
    return objects(name, **given)[kind]["spec"]


def test_an_application_syncs_one_overlay():
    one = objects("argo")["Application"]
    assert (one["metadata"]["name"], one["metadata"]["namespace"]) == (PROD.instance, "argocd")
    assert "finalizers" not in one["metadata"]
    assert one["spec"] == {
        "project": "ml",
        "source": {
            "repoURL": GIT.repo,
            "targetRevision": "main",
            "path": f"apps/{PROD.name}/overlays/prod",
        },
        "destination": {"server": "https://kubernetes.default.svc", "namespace": "ml"},
        "syncPolicy": {
            "automated": {"prune": True, "selfHeal": True},
            "retry": {"limit": 5, "backoff": {"duration": "10s", "factor": 2, "maxDuration": "3m"}},
            "syncOptions": [
                "ServerSideApply=true",
                "CreateNamespace=true",
                "RespectIgnoreDifferences=true",
                "ApplyOutOfSyncOnly=true",
            ],
        },
    }
    with_finalizer = replace(GIT, argo=replace(GIT.argo, finalizer=True))
    assert objects("argo", git=with_finalizer)["Application"]["metadata"]["finalizers"] == [
        "resources-finalizer.argocd.argoproj.io"
    ]


def test_replicas_are_in_no_object_that_something_else_scales_so_nothing_is_ignored():
    for name in CONFIGURATIONS:
        deployment = planned(name)
        scaled = deployment.autoscaling is not None
        [one] = [each for each in kube_objects.build(deployment) if each["kind"] == "Deployment"]
        assert ("replicas" in one["spec"]) != scaled
        assert "ignoreDifferences" not in spec("argo", "Application", deployment=deployment)


@pytest.mark.parametrize(
    ("layout_name", "generator", "name", "place"),
    [
        (
            "kustomize",
            {"directories": [{"path": "apps/*/overlays/*"}]},
            "{{ index .path.segments 1 }}-{{ .path.basenameNormalized }}",
            {"path": "{{ .path.path }}"},
        ),
        (
            "manifests",
            {"directories": [{"path": "apps/*/*"}]},
            "{{ index .path.segments 1 }}-{{ .path.basenameNormalized }}",
            {"path": "{{ .path.path }}"},
        ),
        (
            "helm",
            {"files": [{"path": "apps/*/values-*.yaml"}]},
            '{{ index .path.segments 1 }}-{{ .path.filename | trimPrefix "values-" | trimSuffix ".yaml" }}',
            {"path": "{{ .path.path }}/chart"},
        ),
    ],
)
def test_an_application_set_finds_every_model(layout_name, generator, name, place):
    one = spec("argo", "ApplicationSet", git=SET, layout_name=layout_name)
    assert one["goTemplate"] is True
    assert one["goTemplateOptions"] == ["missingkey=error"]
    assert one["syncPolicy"] == {"preserveResourcesOnDeletion": True}
    assert one["generators"] == [{"git": {"repoURL": GIT.repo, "revision": "main", **generator}}]
    template = one["template"]
    assert template["metadata"]["name"] == name
    assert template["spec"]["project"] == "ml"
    helm = (
        {"helm": {"valueFiles": ["../{{ .path.filename }}"], "releaseName": name}}
        if layout_name == "helm"
        else {}
    )
    assert template["spec"]["source"] == {"repoURL": GIT.repo, "targetRevision": "main", **place, **helm}


@pytest.mark.parametrize(
    ("path", "pattern", "index"), [("iris", "*/overlays/*", 0), ("a/b/iris", "a/b/*/overlays/*", 2)]
)
def test_an_application_set_counts_from_the_repositorys_root(path, pattern, index):
    one = spec("argo", "ApplicationSet", git=replace(SET, path=path))
    assert one["generators"][0]["git"]["directories"] == [{"path": pattern}]
    assert one["template"]["metadata"]["name"].startswith(f"{{{{ index .path.segments {index} }}}}-")


def test_an_application_set_is_the_same_for_every_release_and_model_beside_it():
    other = replace(PROD, name="tulip", instance="tulip-qa", environment="qa", namespace="qa")
    for name in (*LAYOUTS, "values"):
        git = replace(SET, chart=f"{CHARTS.repo}:1.0.0")
        one = objects("argo", git=git, layout_name=name)
        assert one == objects("argo", deployment=other, git=git, layout_name=name)
        place = one["ApplicationSet"]["spec"]["template"]["spec"]["destination"]["namespace"]
        # The first one's would be that of all environments: what objects do not say, values do.
        if name in ("helm", "values"):
            assert place == '{{ dig "global" "namespace" "default" . }}'
            values = yaml.safe_load(layout(name).bundle(other).text("values-qa.yaml"))
            assert values["global"] == {"namespace": "qa"}
        else:
            assert place == "default"


def test_application_sets_of_two_repositories_or_folders_are_two():
    names = {
        objects("argo", git=replace(SET, **about))["ApplicationSet"]["metadata"]["name"]
        for about in ({}, {"repo": "https://git.example.com/a/Trees"}, {"path": "a/b/iris"}, {"path": "iris"})
    }
    assert names == {"models-apps", "trees-apps", "models-a-b", "models"}


def test_flux_applies_one_overlay_of_a_git_repository():
    made = objects("flux")
    assert made["GitRepository"]["metadata"]["name"] == "models"
    assert made["GitRepository"]["spec"] == {
        "interval": "1m",
        "url": "https://git.example.com/flowers/models.git",
        "ref": {"branch": "main"},
    }
    assert made["Kustomization"]["spec"] == {
        "interval": "10m",
        "retryInterval": "1m",
        "timeout": f"{PROD.timing.progress_deadline + 60}s",
        "sourceRef": {"kind": "GitRepository", "name": "models"},
        "path": f"./apps/{PROD.name}/overlays/prod",
        "prune": True,
        "wait": True,
        "targetNamespace": "ml",
    }


def test_flux_checks_signatures_with_the_named_keys():
    flux = FluxSettings(secret="login", verify_secret="keys")
    git = objects("flux", git=replace(GIT, flux=flux))["GitRepository"]["spec"]
    assert git["secretRef"] == {"name": "login"}
    assert git["verify"] == {"mode": "HEAD", "secretRef": {"name": "keys"}}
    registry = replace(GIT, repo="oci://registry.example.com/models", branch=None, flux=flux)
    oci = objects("flux", git=registry)["OCIRepository"]["spec"]
    assert oci["ref"] == {"tag": "latest"}
    assert oci["verify"] == {"provider": "cosign", "secretRef": {"name": "keys"}}
    by_digest = replace(registry, branch="sha256:" + "a" * 64)
    assert objects("flux", git=by_digest)["OCIRepository"]["spec"]["ref"] == {"digest": by_digest.branch}


def test_flux_releases_a_chart_from_git_with_the_values_of_the_environment():
    one = spec("flux", "HelmRelease", layout_name="helm")
    path = f"apps/{PROD.name}"
    assert one["chart"]["spec"] == {
        "chart": f"./{path}/chart",
        "sourceRef": {"kind": "GitRepository", "name": "models"},
        "valuesFiles": [f"{path}/chart/values.yaml", f"{path}/values-prod.yaml"],
        "reconcileStrategy": "Revision",
    }
    assert one["releaseName"] == PROD.instance
    assert one["upgrade"] == {"remediation": {"retries": 2, "strategy": "rollback"}}
    assert one["driftDetection"] == {
        "mode": "enabled",
        "ignore": [{"paths": ["/spec/replicas"], "target": {"kind": "Deployment"}}],
    }
    fixed = spec("flux", "HelmRelease", layout_name="helm", deployment=planned("fixed"))
    assert fixed["driftDetection"] == {"mode": "enabled"}


def test_a_chart_in_a_registry_comes_with_its_values():
    made = objects("flux", git=CHARTS, layout_name="helm")
    assert made["OCIRepository"]["spec"]["ref"] == {"tag": "1.0.0"}
    assert made["OCIRepository"]["spec"]["layerSelector"]["operation"] == "copy"
    assert made["HelmRelease"]["spec"]["chartRef"] == {"kind": "OCIRepository", "name": PROD.instance}
    assert made["HelmRelease"]["spec"]["values"]["image"]["digest"] == PROD.image.digest
    argo = spec("argo", "Application", git=CHARTS, layout_name="helm")["source"]
    assert (argo["repoURL"], argo["chart"]) == ("registry.example.com/charts", "iris")
    assert argo["helm"]["valuesObject"]["image"]["digest"] == PROD.image.digest


def test_a_chart_in_a_registry_takes_its_values_from_the_repository():
    git = replace(GIT, chart="oci://registry.example.com/charts/servegen-model:1.0.0+a")
    values = f"apps/{PROD.name}/values-prod.yaml"
    argo = spec("argo", "Application", git=git, layout_name="values")["sources"]
    assert argo == [
        {
            "repoURL": "registry.example.com/charts",
            "chart": "servegen-model",
            "targetRevision": "1.0.0+a",
            "helm": {"releaseName": PROD.instance, "valueFiles": [f"$values/{values}"]},
        },
        {"repoURL": GIT.repo, "targetRevision": "main", "ref": "values"},
    ]
    every = replace(git, argo=SET.argo)
    one = spec("argo", "ApplicationSet", git=every, layout_name="values")
    assert one["generators"][0]["git"]["files"] == [{"path": "apps/*/values-*.yaml"}]
    sources = one["template"]["spec"]["sources"]
    assert sources[0]["helm"]["valueFiles"] == ["$values/{{ .path.path }}/{{ .path.filename }}"]
    # All models have it, so it is no release's.
    assert bundle("argo", PROD, every, "values").files == ()
    # Flux reads no values from Git, so they are in the HelmRelease, which tells whose they are.
    made = objects("flux", git=git, layout_name="values")
    assert made["OCIRepository"]["spec"]["url"] == "oci://registry.example.com/charts/servegen-model"
    assert made["OCIRepository"]["spec"]["ref"] == {"tag": "1.0.0_a"}
    assert made["HelmRelease"]["metadata"]["annotations"] == {"servegen.dev/values": values}
    for controller, kind in (("argo", None), ("argo", every), ("flux", None)):
        for one in objects(controller, git=kind or git, layout_name="values").values():
            assert strict.problems(one, PROD.kube_version) == ()
    for chart in (None, "oci://registry.example.com/x", f"{git.chart}@sha256:{'a' * 64}", "https://x/y:1"):
        with pytest.raises(ConfigError, match="chart"):
            objects("flux", git=replace(git, chart=chart), layout_name="values")


def test_a_model_that_is_called_as_the_file_of_the_source_loses_neither():
    made = bundle("flux", replace(PROD, instance="source-models"), GIT, "kustomize")
    [text] = dict(made.starters).values()
    assert [one["kind"] for one in yaml.safe_load_all(text)] == ["GitRepository", "Kustomization"]


def test_a_source_that_is_there_is_used_and_not_written():
    made = objects("flux", git=replace(GIT, flux=FluxSettings(source="flux-system")))
    assert set(made) == {"Kustomization"}
    assert made["Kustomization"]["spec"]["sourceRef"]["name"] == "flux-system"


@pytest.mark.parametrize(
    ("repo", "url"),
    [
        ("git@git.example.com:flowers/models.git", "ssh://git@git.example.com/flowers/models.git"),
        ("ssh://git@git.example.com:2222/a/b", "ssh://git@git.example.com:2222/a/b"),
        ("https://git.example.com/a/b", "https://git.example.com/a/b"),
    ],
)
def test_flux_gets_the_only_form_of_ssh_that_it_takes(repo, url):
    assert objects("flux", git=replace(GIT, repo=repo))["GitRepository"]["spec"]["url"] == url
    assert spec("argo", "Application", git=replace(GIT, repo=repo))["source"]["repoURL"] == repo


def test_nothing_but_the_release_in_a_chart_of_a_registry_changes_with_the_version():
    next_one = replace(
        PROD, model=replace(PROD.model, version="9"), image=replace(PROD.image, digest="sha256:" + "b" * 64)
    )
    for name in ("argo", "flux"):
        for layout_name in LAYOUTS:
            before, after = (bundle(name, one, GIT, layout_name) for one in (PROD, next_one))
            assert before == after
            assert before.files == ()
        assert bundle(name, PROD, CHARTS, "helm").starters == ()
        assert bundle(name, PROD, CHARTS, "helm") != bundle(name, next_one, CHARTS, "helm")


@pytest.mark.parametrize("controller", ["argo", "flux"])
def test_the_layout_lies_in_its_folder_and_the_objects_beside_it(controller):
    made = Delivered(layout_name="kustomize", controller=controller, git=GIT).render(PROD)
    layout_files = layout("kustomize").bundle(PROD)
    assert made.paths == tuple(f"apps/{PROD.name}/{path}" for path in layout_files.paths)
    ours = {path for path, _ in made.starters} - {
        f"apps/{PROD.name}/{path}" for path, _ in layout_files.starters
    }
    assert (
        ours
        == {
            "argo": {f"argocd/{PROD.instance}.yaml"},
            "flux": {f"clusters/prod/{PROD.instance}.yaml", "clusters/prod/source-models.yaml"},
        }[controller]
    )


@pytest.mark.parametrize("environment", [None, "prod"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_applied_is_among_what_the_layout_writes(name, environment, tmp_path):
    deployment = replace(PROD, environment=environment)
    write(Delivered(layout_name=name, controller="flux", git=GIT).render(deployment), tmp_path)
    place = source(deployment, GIT, name)
    files = {path.name for path in (tmp_path / place.applied(environment)).iterdir()}
    assert {"kustomize": "kustomization.yaml", "manifests": "deployment.yaml", "helm": "Chart.yaml"}[
        name
    ] in files
    if name == "helm":
        made = objects("flux", deployment, layout_name=name)["HelmRelease"]["spec"]["chart"]["spec"]
        assert all(
            (tmp_path / path).is_file() for path in (*made["valuesFiles"], made["chart"] + "/Chart.yaml")
        )
        chart = objects("argo", deployment, layout_name=name)["Application"]["spec"]["source"]
        assert all((tmp_path / chart["path"] / path).is_file() for path in chart["helm"]["valueFiles"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"repo": None}, "need the URL"),
        ({"repo": "./models"}, "cannot be read"),
        ({"repo": "https://git.example.com/{{x}}"}, "cannot be read"),
        ({"repo": "https://me:s3cret@git.example.com/a/b"}, "login"),
        ({"repo": "https://t0ken@git.example.com/a/b"}, "login"),
        ({"path": "../secrets"}, "git.path"),
        ({"path": "apps/{{ .x }}"}, "git.path"),
        ({"path": "apps/*"}, "git.path"),
        ({"branch": "a b"}, "git.branch"),
        ({"argo": ArgoSettings()}, "default"),
        ({"argo": ArgoSettings(project="default")}, "default"),
        ({"argo": ArgoSettings(project="{{ .path.basename }}")}, "git.argo.project"),
        ({"argo": ArgoSettings(project="ml", folder="../x")}, "git.argo.folder"),
        (
            {"argo": ArgoSettings(project="ml", application_set=True), "repo": "oci://r.example.com/a"},
            "registry",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words.replace(".", r"\.")) as caught:
        objects("argo", git=replace(GIT, **changes))
    assert caught.value.hint
    assert "s3cret" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize(
    ("name", "layout_name"), [("argo", "kserve"), ("flux", "compose"), ("spinnaker", "kustomize")]
)
def test_what_no_controller_applies_is_refused(name, layout_name):
    with pytest.raises(ConfigError):
        objects(name, layout_name=layout_name)


CASES = [
    (name, layout_name, git)
    for name in ("argo", "flux")
    for layout_name in LAYOUTS
    for git in (
        GIT,
        SET if name == "argo" else replace(GIT, repo="oci://r.example.com/models/iris", branch="1.0.0"),
    )
]


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_every_object_is_valid_under_the_strict_schemas(configuration):
    deployment = planned(configuration)
    for name, layout_name, git in CASES:
        for one in objects(name, deployment, git, layout_name).values():
            assert strict.knows(one, deployment.kube_version)
            assert strict.problems(one, deployment.kube_version) == ()


@pytest.mark.parametrize(
    ("name", "kind", "path", "value"),
    [
        ("argo", "Application", ("spec", "syncPolicy", "automated", "prune"), "yes"),
        ("argo", "Application", ("spec", "syncPolicy", "automatic"), {}),
        ("argo", "Application", ("spec", "destination"), None),
        ("set", "ApplicationSet", ("spec", "template", "spec", "source", "repoUrl"), "x"),
        ("set", "ApplicationSet", ("spec", "generators"), {}),
        ("flux", "Kustomization", ("spec", "interval"), "ten minutes"),
        ("flux", "Kustomization", ("spec", "sourceRef", "kind"), "Git"),
        ("flux", "Kustomization", ("spec", "prune"), None),
        ("flux", "GitRepository", ("spec", "url"), "git@git.example.com:a/b"),
        ("flux", "GitRepository", ("spec", "reference"), {}),
        ("helm", "HelmRelease", ("spec", "driftDetection", "mode"), "on"),
        ("helm", "HelmRelease", ("spec", "upgrade", "remediation", "retries"), "2"),
    ],
)
def test_a_broken_one_is_found(name, kind, path, value):
    made = {
        "argo": lambda: objects("argo"),
        "set": lambda: objects("argo", git=SET),
        "flux": lambda: objects("flux"),
        "helm": lambda: objects("flux", layout_name="helm"),
    }[name]()
    one = copy.deepcopy(made[kind])
    place = one
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    assert strict.problems(one, PROD.kube_version)
