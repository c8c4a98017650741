"""What applies a folder already is seen, whoever wrote it and however; all else is not taken for that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from servegen.gitops.covering import Found, Wanted, covering, parsed, same_repository

URL = "https://git.example.com/flowers/models.git"
OVERLAY, VALUES = "apps/iris/overlays/prod", "apps/iris/values-prod.yaml"
ARGO, FLUX, HELM = "argoproj.io/v1alpha1", "kustomize.toolkit.fluxcd.io/v1", "helm.toolkit.fluxcd.io/v2"


def application(*sources: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": ARGO, "kind": "Application", "spec": {"sources": list(sources)}}


def application_set(rules: list[dict[str, Any]], template: dict[str, Any], **about: Any) -> dict[str, Any]:
    git = {"git": {"repoURL": URL, "directories": rules, **about}}
    return {
        "apiVersion": ARGO,
        "kind": "ApplicationSet",
        "spec": {
            "generators": [{"matrix": {"generators": [{"clusters": {}}, git]}}],
            "template": {"spec": {"source": {"repoURL": URL, **template}}},
        },
    }


def listing(generators: list[dict[str, Any]], path: str, **source: Any) -> dict[str, Any]:
    """An ApplicationSet of generators of any kind."""
    template = {"spec": {"source": {"repoURL": URL, "path": path} | source}}
    return {"apiVersion": ARGO, "kind": "ApplicationSet",
            "spec": {"generators": generators, "template": template}}  # fmt: skip


def kustomization(path: str | None, source: str = "flux-system", **reference: str) -> dict[str, Any]:
    named = {"kind": "GitRepository", "name": source} | reference
    return {"apiVersion": FLUX, "kind": "Kustomization", "spec": {"sourceRef": named, "path": path}}


def repository(called: str, url: str, **ref: str) -> dict[str, Any]:
    return {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
            "metadata": {"name": called}, "spec": {"url": url, "ref": ref}}  # fmt: skip


def release(files: list[str], **about: Any) -> dict[str, Any]:
    chart = {"spec": {"valuesFiles": files, "sourceRef": {"kind": "GitRepository", "name": "x"}}}
    return {"apiVersion": HELM, "kind": "HelmRelease", "metadata": about, "spec": {"chart": chart}}


SSH = "git@git.example.com:flowers/models"
OURS = {"repoURL": URL, "path": OVERLAY}
CHART = {"repoURL": "r.example.com/charts", "chart": "x", "helm": {"valueFiles": [f"$v/{VALUES}"]}}
EVERY = {"path": "{{ .path.path }}"}
STAGES = {"list": {"elements": [{"env": "qa"}, {"env": "prod", "other": {}}]}}
FOLDERS = {"git": {"repoURL": URL, "directories": [{"path": "apps/*"}]}}
ELSEWHERE = {"git": {"repoURL": f"{URL}-else", "files": [{"path": "clusters/**/config.json"}]}}


@pytest.mark.parametrize(
    ("objects", "path", "expected"),
    [
        ([application(OURS)], OVERLAY, True),
        ([application({"repoURL": SSH, "path": f"./{OVERLAY}/"})], OVERLAY, True),
        ([application({"repoURL": f"{URL}x", "path": OVERLAY})], OVERLAY, False),
        ([application({"repoURL": URL, "path": "apps/iris/overlays/staging"})], OVERLAY, False),
        # The chart of all environments, with the values of one.
        ([application({"repoURL": URL, "path": "apps/iris/chart",
                       "helm": {"valueFiles": ["../values-prod.yaml"]}})], VALUES, True),
        ([application({"repoURL": URL, "path": "apps/iris/chart",
                       "helm": {"valueFiles": ["../values-qa.yaml"]}})], VALUES, False),
        ([application(CHART,
                      {"repoURL": URL, "ref": "v"})], VALUES, True),
        ([application(CHART,
                      {"repoURL": f"{URL}x", "ref": "v"})], VALUES, False),
        ([application({"repoURL": URL, "path": "apps", "directory": {"recurse": True}})],
         "apps/iris/prod", True),
        ([application({"repoURL": URL, "path": "apps"})], "apps/iris/prod", False),
        # Listed by a kustomization above it.
        ([application({"repoURL": URL, "path": "all"})], OVERLAY, True),
        ([kustomization("./all")], OVERLAY, True),
        ([kustomization("all")], "apps/wine/overlays/prod", False),
        ([application_set([{"path": "apps/*/overlays/*"}], EVERY)], OVERLAY, True),
        ([application_set([{"path": "apps/*/overlays/*"}, {"path": "apps/*/overlays/prod", "exclude": True}],
                          EVERY)], OVERLAY, False),
        ([application_set([{"path": "apps/*"}], EVERY)], OVERLAY, False),
        ([application_set([{"path": "apps/*"}], {"path": "{{path}}/overlays/prod"})], OVERLAY, True),
        ([application_set([{"path": "apps/*"}], {"path": "apps/{{path.basename}}/overlays/prod"})],
         OVERLAY, True),
        ([application_set([{"path": "apps/**"}], EVERY)], OVERLAY, True),
        ([application_set([{"path": "apps/*/overlays/*"}], EVERY, repoURL=f"{URL}x")], OVERLAY, False),
        ([application_set([], {"path": "{{ .path.path }}/chart",
                               "helm": {"valueFiles": ["../{{ .path.filename }}"]}},
                          files=[{"path": "apps/*/values-*.yaml"}])], VALUES, True),
        # Parts of the path, lists, and both together.
        ([application_set([{"path": "apps/*"}], {"path": "apps/{{ index .path.segments 1 }}/overlays/prod"})],
         OVERLAY, True),
        ([application_set([{"path": "apps/*"}], {"path": "apps/{{path[1]}}/overlays/prod"})], OVERLAY, True),
        ([application_set([{"path": "apps/*"}], {"path": "apps/{{ index .path.segments 0 }}/overlays/prod"})],
         OVERLAY, False),
        ([listing([STAGES], "apps/iris/overlays/{{ .env }}")], OVERLAY, True),
        ([listing([STAGES], "apps/iris/overlays/{{env}}")], "apps/iris/overlays/staging", False),
        ([listing([{"matrix": {"generators": [FOLDERS, STAGES]}}], "{{path}}/overlays/{{env}}")],
         OVERLAY, True),
        # What is of another repository, or of other files, takes nothing away.
        *[([listing([{kind: {"generators": parts}}], "{{path}}/overlays/{{env}}")], OVERLAY, False)
          for kind in ("matrix", "merge") for parts in ([], [ELSEWHERE], [ELSEWHERE, STAGES])],
        *[([listing([{kind: {"generators": parts}}], "{{path}}/overlays/prod")], OVERLAY, True)
          for kind in ("matrix", "merge")
          for parts in ([FOLDERS, ELSEWHERE], [ELSEWHERE, FOLDERS],
                        [FOLDERS, {"list": {"elementsYaml": "x"}}])],
        ([listing([{"clusters": {}}], "apps/iris/overlays/{{name}}")], OVERLAY, False),
        ([listing([{"clusters": {}}], OVERLAY, helm={"releaseName": '{{ .name | trimPrefix "x" }}'})],
         OVERLAY, True),
        # Of another branch, which does not have it; where nothing says which, it may be this one.
        ([application(OURS | {"targetRevision": "live"})], OVERLAY, False),
        ([application(OURS | {"targetRevision": "refs/heads/live"})], OVERLAY, False),
        ([application(OURS | {"targetRevision": "main"})], OVERLAY, True),
        ([application(OURS | {"targetRevision": "v1.2"})], OVERLAY, True),
        ([application_set([{"path": "apps/*/overlays/*"}], EVERY, revision="live")], OVERLAY, False),
        ([kustomization(OVERLAY), repository("flux-system", URL, branch="live")], OVERLAY, False),
        ([kustomization(OVERLAY), repository("flux-system", URL, branch="main")], OVERLAY, True),
        ([kustomization(OVERLAY), repository("flux-system", URL, name="refs/heads/live")], OVERLAY, False),
        ([kustomization(f"./{OVERLAY}")], OVERLAY, True),
        # Without a kustomization.yaml Flux takes all below.
        ([kustomization(None)], OVERLAY, True),
        ([kustomization("apps/iris")], OVERLAY, True),
        ([kustomization("apps/iris")], VALUES, False),
        ([kustomization("clusters/prod")], OVERLAY, False),
        ([kustomization(OVERLAY), repository("flux-system", "ssh://git@git.example.com:22/flowers/models")],
         OVERLAY, True),
        ([kustomization(OVERLAY), repository("flux-system", "https://git.example.com/else")], OVERLAY, False),
        ([kustomization(OVERLAY, kind="OCIRepository")], OVERLAY, False),
        ([release(["apps/iris/chart/values.yaml", VALUES])], VALUES, True),
        ([release([], annotations={"servegen.dev/values": VALUES})], VALUES, True),
        ([release([])], VALUES, False),
        # Nobody's.
        ([{"apiVersion": ARGO, "kind": "Application", "spec": {"sources": 3}},
          {"apiVersion": ARGO, "kind": "ApplicationSet", "spec": {"generators": "git"}},
          {"apiVersion": FLUX, "kind": "Kustomization", "spec": {}},
          {"apiVersion": HELM, "kind": "HelmRelease", "metadata": [], "spec": {"chart": []}},
          {"apiVersion": FLUX, "kind": "GitRepository", "metadata": "x", "spec": {}},
          listing([{"git": 3}, {"list": 3}, {"matrix": {"generators": [3]}}, 3], "x")],  # type: ignore[list-item]
         OVERLAY, False),
    ],
)  # fmt: skip
def test_what_applies_a_folder_is_seen(
    tmp_path: Path, objects: list[dict[str, Any]], path: str, *, expected: bool
) -> None:
    (tmp_path / OVERLAY).mkdir(parents=True)
    (tmp_path / "all").mkdir()
    listed = ["../apps/iris/overlays/prod", "https://example.com/x", "../all", 3]
    (tmp_path / "all/kustomization.yaml").write_text(yaml.safe_dump({"resources": listed}))
    found = [Found(path="clusters/a.yaml", text="", objects=tuple(objects))]
    wanted = Wanted(url=URL, path=path, root=tmp_path, elsewhere=frozenset({"live"}))
    assert covering(found, wanted) == ("clusters/a.yaml" if expected else None)


def test_what_names_no_branch_means_the_repositorys_own(tmp_path: Path) -> None:
    found = [Found(path="a.yaml", text="", objects=(application(OURS),))]
    wanted = Wanted(url=URL, path=OVERLAY, root=tmp_path)
    assert covering(found, wanted)
    assert not covering(found, replace(wanted, elsewhere=frozenset({"main", "HEAD"})))


def test_what_cannot_be_read_hides_nothing_beside_it() -> None:
    documents = [
        "{{ if .x }}\napiVersion: argoproj.io/v1\n",
        "apiVersion: 'argoproj.io/v1'\nspec: {a: 1}\n",
        "- 1\n",
        '{"apiVersion": "helm.toolkit.fluxcd.io/v2", "spec": {}}\n',
        "apiVersion: argoproj.io/x\n",
        "kind: x\n",
    ]
    found = parsed("a.yaml", "--- # ours\n".join(documents[:3]) + "---\r\n" + "---\n".join(documents[3:]))
    assert [one["spec"] for one in found.objects] == [{"a": 1}, {}]


def test_a_repository_is_the_same_by_whatever_url() -> None:
    for other in (SSH, f"ssh://{SSH.replace(':', ':2222/')}.git", URL.removesuffix(".git").upper().replace(
        "FLOWERS/MODELS", "flowers/models"
    ).replace("HTTPS", "https")):  # fmt: skip
        assert same_repository(URL, other), other
    assert not same_repository(URL, "https://git.example.com/flowers/other")
    assert not same_repository(URL, "https://other.example.com/flowers/models")
    assert same_repository("/srv/git/models.git", "/srv/git/models")
