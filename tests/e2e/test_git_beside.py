"""What Argo CD and Flux need, committed beside a release with the real git program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from servegen import charts
from servegen.config import Config, environment
from servegen.errors import (
    ConfigError,
    EditedError,
    HeldError,
)
from servegen.gitops.layouts import layout
from servegen.job import Job
from servegen.progress import Silent
from servegen.renderers.helm import Helm
from tests.e2e.repositories import Workshop, deployment
from tests.recorder import Recorder


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop.at(tmp_path)


def test_what_applies_it_comes_with_the_first_commit_and_is_the_users_then(shop: Workshop) -> None:
    url = "https://git.example.com/flowers/models.git"
    remote = shop.bare()
    shop.git("config", "--global", f"url.{remote}.insteadOf", url)
    with pytest.raises(ConfigError, match="default"):
        shop.deliver(url, deployment(), gitops="argo")
    with pytest.raises(ConfigError, match="cannot be read"):
        shop.deliver(remote, deployment(), gitops="flux")
    with pytest.raises(ConfigError, match="no controller 'spinnaker'"):
        shop.deliver(remote, deployment(), gitops="spinnaker")
    with pytest.raises(ConfigError, match="it is not given"):
        shop.deliver(url, deployment(), project="ml")
    assert len(shop.log(remote)) == 1
    argo = {"gitops": "argo", "project": "ml"}
    shop.deliver(url, deployment(), **argo)
    assert len(shop.log(remote)) == 2
    one = yaml.safe_load(shop.file(remote, "argocd/iris-staging.yaml"))
    assert one["spec"]["source"] == {
        "repoURL": url,
        "targetRevision": "main",
        "path": "apps/iris/overlays/staging",
    }
    checkout = shop.checkout(remote)
    assert (checkout / one["spec"]["source"]["path"] / "kustomization.yaml").is_file()
    # It may be moved and edited; a new version changes nothing of it, nor does another controller come.
    (checkout / "argocd/iris-staging.yaml").rename(checkout / "iris.yaml")
    shop.commit_all(checkout, "Move it")
    said = Recorder()
    made = shop.deliver(url, deployment(version="8"), said, gitops="flux")
    assert {change.name.split("/")[0] for change in made.changes} == {"apps"}
    assert "apps/iris/overlays/staging is applied by iris.yaml already" in said.steps
    # An ApplicationSet for all covers what comes after it; its file is written once.
    shop.deliver(url, deployment("wine"), **argo, application_set=True)
    assert yaml.safe_load(shop.file(remote, "argocd/models-apps.yaml"))["kind"] == "ApplicationSet"
    made = shop.deliver(url, deployment("tulip"), said, **argo)
    assert {change.name.split("/")[0] for change in made.changes} == {"apps"}
    made = shop.deliver(url, deployment("tulip", "8"), **argo, application_set=True)
    actions = {change.name: change.action for change in made.changes}
    assert actions["argocd/models-apps.yaml"] == "unchanged"
    assert said.warnings == []
    shop.deliver(url, deployment("rose"), said, **argo, application_set=True, layout="manifests")
    assert said.warnings == [
        "apps/rose/staging is not applied by argocd/models-apps.yaml, there already and left as is"
    ]
    shop.whole(remote)


def test_what_applies_another_branch_or_is_hidden_from_differences(shop: Workshop) -> None:
    url = "https://git.example.com/flowers/models.git"
    remote = shop.bare()
    shop.git("config", "--global", f"url.{remote}.insteadOf", url)
    argo = {"gitops": "argo", "project": "ml"}
    shop.deliver(url, deployment(), **argo, application_set=True)
    # What the new branch has of main applies main alone.
    shop.deliver(url, deployment(env="qa"), branch="live", create_branch=True, **argo)
    one = yaml.safe_load(shop.file(remote, "argocd/iris-qa.yaml", "live"))
    assert one["spec"]["source"]["targetRevision"] == "live"
    said = Recorder()
    shop.deliver(url, deployment("wine"), said, branch="live", **argo, application_set=True)
    assert said.warnings == [
        "apps/wine/overlays/staging is not applied by argocd/models-apps.yaml, there already and left as is"
    ]
    # Among other peoples' files.
    checkout = shop.checkout(remote)
    (checkout / ".gitattributes").write_text("*.yaml -diff\n")
    (checkout / "many.yaml").write_text("kind: List\n---\n- argoproj.io/x\n---\n" + shop.file(
        remote, "argocd/models-apps.yaml"))  # fmt: skip
    (checkout / "argocd/models-apps.yaml").unlink()
    (checkout / "broken.yaml").write_text("{{ argoproj.io/ }}\n")
    (checkout / "link.yaml").symlink_to("many.yaml")
    Path(os.fsdecode(bytes(checkout / "x") + b"\xff.yaml")).write_text("kind: argoproj.io/\n")
    shop.commit_all(checkout, "Gather")
    shop.deliver(url, deployment("rose"), said, **argo)
    assert "apps/rose/overlays/staging is applied by many.yaml already" in said.steps
    # What somebody wrote at our place and that applies nothing is theirs, and told.
    shop.git("pull", "-q", at=checkout)
    (checkout / "many.yaml").unlink()
    (checkout / "argocd/tulip-staging.yaml").write_text("kind: ConfigMap\n")
    shop.commit_all(checkout, "Take it")
    shop.deliver(url, deployment("tulip"), said, **argo)
    path = "argocd/tulip-staging.yaml"
    assert said.warnings[1:] == [
        f"apps/tulip/overlays/staging is not applied by {path}, there already and left as is"
    ]
    assert shop.file(remote, path) == "kind: ConfigMap"
    shop.whole(remote)


def test_what_applies_another_model_is_not_written_over(shop: Workshop) -> None:
    url, chart = "https://git.example.com/flowers/models.git", "oci://127.0.0.1:9/charts/servegen-model:1.0.0"
    remote = shop.bare()
    shop.git("config", "--global", f"url.{remote}.insteadOf", url)
    given = {"gitops": "argo", "project": "ml", "layout": "values"}
    shop.deliver(url, deployment("iris-a", env="b"), **given, chart=chart)
    with pytest.raises(
        ConfigError, match=r"argocd/iris-a-b\.yaml would be written .*something else"
    ) as caught:
        shop.deliver(url, deployment("iris", env="a-b"), **given, chart=chart)
    assert "git.argo.folder" in caught.value.hint
    assert len(shop.log(remote)) == 2
    # Another version of the chart is told of where it was not written.
    shop.deliver(url, deployment("wine"), said := Recorder(), chart=chart)
    assert said.warnings == [f"apps/wine is laid out as kustomize, so nothing takes {chart}"]
    newer, said = chart.replace("1.0.0", "2.0.0"), Recorder()
    shop.deliver(url, deployment("iris-a", "8", env="b"), said, chart=newer)
    assert any(
        "argocd/iris-a-b.yaml takes version 1.0.0 of the chart, not 2.0.0" in text for text in said.warnings
    )
    said = Recorder()
    shop.deliver(url, deployment("iris-a", "9", env="b"), said, **given)
    assert not any("of the chart, not" in text for text in said.warnings)
    assert "targetRevision: 2.0.0" in shop.file(remote, "argocd/iris-a-b.yaml").replace('"', "")
    # What has moved since is written anew.
    checkout = shop.checkout(remote)
    (checkout / "apps/iris-a").rename(checkout / "apps/flower")
    shop.commit_all(checkout, "Move it")
    shop.deliver(url, deployment("iris-a", "10", env="b"), **given, path="apps/flower")
    assert "apps/flower/values-b.yaml" in shop.file(remote, "argocd/iris-a-b.yaml")
    shop.whole(remote)


def test_values_for_a_chart_elsewhere_are_released_and_taken_back(
    shop: Workshop, tools: Path, docker_registry: str
) -> None:
    url, path = "ssh://git@git.example.com/flowers/models.git", "clusters/staging/iris-staging.yaml"
    remote = shop.bare()
    shop.git("config", "--global", f"url.{remote}.insteadOf", url)
    shop = shop.with_(PATH=f"{tools}:{shop.variables['PATH']}")
    chart = "oci://127.0.0.1:9/charts/servegen-model:1.0.0"
    said = Recorder()
    shop.deliver(url, deployment(), said, gitops="flux", layout="values", chart=chart)
    assert any(f"{chart} cannot be had" in text for text in said.warnings)

    def digests() -> tuple[str, str]:
        release = next(
            one for one in yaml.safe_load_all(shop.file(remote, path)) if one["kind"] == "HelmRelease"
        )
        own = yaml.safe_load(shop.file(remote, "apps/iris/values-staging.yaml"))
        assert release["spec"]["values"] == own
        return release["spec"]["values"]["image"]["digest"], shop.log(remote)[0]

    assert digests()[0] == f"sha256:{7:064x}"
    # Layout, chart and HelmRelease are found again, wherever the latter is.
    checkout = shop.checkout(remote)
    shop.git("mv", path, "moved.yaml", at=checkout)
    shop.commit_all(checkout, "Move it")
    path = "moved.yaml"
    shop.deliver(url, deployment(version="8"))
    assert digests()[0] == f"sha256:{8:064x}"
    assert f"# servegen.dev/chart: {chart}\n" in shop.file(remote, "apps/iris/values-staging.yaml")
    place = shop.target(url)
    assert place.record("iris", "staging")[0].pin == "models:/iris/8"
    place.revert("iris", "staging", None, progress=Silent())
    place.close()
    assert digests() == (f"sha256:{7:064x}", "revert(iris/staging): models:/iris/8 -> 7")
    with pytest.raises(HeldError):
        shop.deliver(url, deployment(version="8"))
    # Built from a chart that is there, and from servegen's own where none is named.
    job = Job(config=Config(), environment=environment(shop.variables), lock_file=None)
    packed = charts.pack(Helm().render(deployment("wine")))
    pushed = charts.push(packed, f"oci://{docker_registry}/charts", job, Silent()).partition("@")[0]
    warned = len(said.warnings)
    shop.deliver(url, deployment(env="qa"), said, chart=pushed)
    shop.deliver(url, deployment("tulip"), said, layout="values")
    assert len(said.warnings) == warned
    checkout = shop.checkout(remote, "again")
    for name, env in (("iris", "qa"), ("tulip", "staging")):
        built = layout("values").build(checkout / "apps" / name, env, env=shop.variables, progress=Silent())
        assert {one["kind"]: one["metadata"]["name"] for one in built}["Deployment"] == f"{name}-{env}"
        assert {one["metadata"]["labels"]["app.kubernetes.io/name"] for one in built} == {name}
    # What was edited by hand is told of, and what somebody took over is theirs.
    text = (checkout / path).read_text()
    (checkout / path).write_text(text.replace("interval: 10m", "interval: 5m").replace('"10m"', '"5m"'))
    shop.commit_all(checkout, "Edit it")
    with pytest.raises(EditedError, match=path):
        shop.deliver(url, deployment(version="9"))
    shop.deliver(url, deployment(version="9"), adopt=True)
    assert digests()[0] == f"sha256:{9:064x}"
    shop.whole(remote)
