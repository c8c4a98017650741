"""Life of releases in Git, with real git, registries, MLflow and a cluster: promotion, rollback, drift."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from servegen.cli import servegen
from servegen.errors import ServegenError
from servegen.oci.image import ImageConfig, Layer, assemble
from servegen.oci.registry import Registry, RegistryOptions
from servegen.oci.store import Store
from servegen.oci.tar import Entry, write_layer
from servegen.progress import Silent
from servegen.values.image import LABEL, ImageRef, Platform
from tests.e2e.conftest import program
from tests.e2e.kubernetes import push_stub
from tests.e2e.repositories import Workshop

pytest_plugins = ("tests.e2e.kubernetes",)
pytestmark = pytest.mark.e2e


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A repository, a store of models with versions 1 to 3 of iris, and a servegen.yaml that names them."""

    work: Workshop
    remote: Path
    tracking: str
    settings: dict[str, Any] = field(default_factory=dict)

    def run(self, *arguments: str, code: int = 0) -> str:
        """Standard output of `servegen ARGUMENTS`, which has to end with `code`; the error where it fails."""
        done = CliRunner().invoke(servegen, arguments)
        error = done.exception
        if isinstance(error, ServegenError):
            assert error.exit_code == code, (error, error.details)
            return str(error)
        assert done.exit_code == code, (done.output, error)
        return done.stdout

    def drift(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """What `servegen drift` says of each environment."""
        found = json.loads(self.run("drift", "--json", *arguments, code=code))
        return {one["environment"]: one for one in found}

    def mean(self, alias: str, version: str) -> None:
        """Let an alias stand for a version."""
        import mlflow

        mlflow.MlflowClient(self.tracking).set_registered_model_alias("iris", alias, version)

    def messages(self) -> list[str]:
        """Whole messages of the commits, newest first."""
        return self.work.git("log", "--format=%B%x00", "main", at=self.remote).split("\0")

    def component(self, environment: str) -> dict[str, Any]:
        """The release of an environment."""
        path = f"apps/iris/components/release-{environment}/kustomization.yaml"
        return dict(yaml.safe_load(self.work.file(self.remote, path)))

    def bury(self, commits: int) -> None:
        """So many empty commits of somebody else on top."""
        head, one = (
            "from refs/heads/main^0\n",
            "commit refs/heads/main\ncommitter T <t@example.com> 0 +0000\n",
        )
        text = "".join(f"{one}data 1\nx\n{head if number == 0 else ''}" for number in range(commits))
        self.work.git("fast-import", "--quiet", at=self.remote, stdin=text)

    def foreign(self, path: str, text: str) -> None:
        """A commit of somebody else."""
        folder = self.work.folder / f"theirs-{len(list(self.work.folder.iterdir()))}"
        self.work.git("clone", "-q", str(self.remote), str(folder))
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
        self.work.commit_all(folder, f"Change {path}")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    work = Workshop.at(tmp_path / "work")
    for name, value in work.variables.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "iris"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return Shop(work=work, remote=work.bare(), tracking=models(tmp_path / "mlflow"))


def models(folder: Path) -> str:
    """The address of a store with three versions of iris, whose champion is the first."""
    import mlflow

    folder.mkdir()
    uri = f"sqlite:///{folder}/mlflow.db"
    client = mlflow.MlflowClient(uri)
    client.create_registered_model("iris")
    for number in (1, 2, 3):
        source = folder / f"v{number}"
        source.mkdir()
        (source / "MLmodel").write_text("flavors: {python_function: {python_version: 3.11.7}}\n")
        client.create_model_version("iris", str(source))
    client.set_registered_model_alias("iris", "champion", "1")
    return uri


def configure(shop: Shop, **settings: Any) -> None:
    content = {"model": "models:/iris@champion", "tracking_uri": shop.tracking} | settings
    content["git"] = {"repo": str(shop.remote)} | settings.get("git", {})
    Path("servegen.yaml").write_text(yaml.safe_dump(content))


def pushed(registry: str, version: str, folder: Path) -> str:
    """The digest of an image of that version in `dev/iris`, as `servegen package` labels it."""
    from servegen.sources.tree import hash_files, tree_digest

    store = Store(folder / "store")
    with store.scratch() as tmp:
        blob = write_layer([Entry(path="version", data=version.encode() * 1000)], tmp, "gzip")
        store.commit(tmp, blob.digest)
    labels = {
        f"{LABEL}model-name": "iris",
        f"{LABEL}model-version": version,
        f"{LABEL}pin": f"models:/iris/{version}",
        f"{LABEL}model-digest": tree_digest(hash_files(folder / "mlflow" / f"v{version}")),
    }
    config = ImageConfig(
        platform=Platform.parse("linux/amd64"), labels=tuple(sorted(labels.items())), ports=(3000,)
    )
    made = assemble(store, config, [Layer(blob=blob, name="model", key=version)])
    with Registry(RegistryOptions(), Silent()) as remote:
        return remote.push(store, made, ImageRef(registry=registry, repository="dev/iris", tag=version))


def test_a_release_is_promoted_rolled_back_and_held(
    shop: Shop, docker_registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("kubectl")
    digests = {version: pushed(docker_registry, version, tmp_path) for version in ("1", "2")}
    configure(
        shop,
        image=f"{docker_registry}/dev/iris",
        environments={
            "staging": {"deploy": {"replicas": 1, "autoscaling": {"enabled": False}}},
            "production": {
                "image": f"{docker_registry}/live/iris",
                "git": {"mode": "commit"},
                "deploy": {"autoscaling": {"min_replicas": 3, "max_replicas": 9}},
            },
        },
    )
    deploy = ("deploy", "--target", "git")
    between = ("promote", "iris", "--from", "staging", "--to", "production", "--no-cluster")
    assert "nothing is released in apps/iris (staging)" in shop.run(*between, code=80)
    shop.run(*deploy, f"{docker_registry}/dev/iris:1", "--env", "staging")

    # The image is not where production pulls from; a copy has the same digest.
    assert "live/iris@sha256:" in shop.run(*between, code=100)
    assert "profiled" in shop.run(*between, "--copy", "--require", "profiled", code=100)
    assert shop.run(*between, "--copy", "--dry-run", code=1).startswith("--- ")
    made = json.loads(shop.run(*between, "--copy", "--json"))
    assert made["image"] == f"{docker_registry}/live/iris@{digests['1']}"
    body = shop.messages()[0]
    assert body.startswith(f"chore(iris/production): promote models:/iris/1 @ {digests['1'][:19]}")
    assert "Promoted from staging at " in body
    assert "- in the registry: yes" in body
    assert "- healthy: not checked (no cluster was asked)" in body
    release = shop.component("production")
    assert release["images"] == [{"name": f"{docker_registry}/live/iris", "digest": digests["1"]}]
    # With the settings of production, not those of staging.
    assert release["metadata"]["annotations"]["servegen.dev/replicas"] == "3-9"
    assert shop.run(*between, "--copy").strip() == made["delivery"]["commit"]["id"]

    found = shop.drift("--no-cluster", "--deep")
    assert {name: (one["registry"], one["git"], one["cluster"]) for name, one in found.items()} == {
        "staging": ("v1", "v1", "not checked"),
        "production": ("v1", "v1", "not checked"),
    }

    shop.mean("champion", "2")
    shop.run(*deploy, f"{docker_registry}/dev/iris:2", "--env", "staging")
    found = shop.drift("--no-cluster", code=1)
    assert (found["staging"]["state"], found["production"]["state"]) == ("in part", "drift")
    (late,) = [one for one in found["production"]["findings"] if one["kind"] == "drift"]
    assert (late["message"], late["behind"]) == ("champion is v2; git has v1", "git")
    shop.run(*between, "--copy")
    shop.foreign("apps/wine/README.md", "later\n")
    shop.foreign("apps/iris/overlays/production/extra.yaml", "kind: ConfigMap\n")

    # More than are fetched at once.
    shop.bury(100)
    back = ("rollback", "iris", "--target", "git", "--env", "production")
    assert shop.run(*back, "--dry-run", code=1).startswith("--- ")
    shop.run(*back)
    message = shop.messages()[0]
    assert message.startswith("revert(iris/production): models:/iris/2 -> 1\n")
    promoted = shop.work.git("log", "--format=%H", "--grep=promote models:/iris/2", "main", at=shop.remote)
    assert f"Servegen-Rollback-Of: {promoted}\n" in message
    release = shop.component("production")
    assert release["images"][0]["digest"] == digests["1"]
    assert release["metadata"]["annotations"]["servegen.dev/hold"] == "models:/iris/2"
    assert shop.work.file(shop.remote, "apps/wine/README.md") == "later"
    assert shop.work.file(shop.remote, "apps/iris/overlays/production/extra.yaml")
    assert shop.component("staging")["images"][0]["digest"] == digests["2"]

    # Nothing brings it again but somebody who says so.
    assert "models:/iris/2 was rolled back" in shop.run(*between, "--copy", code=97)
    assert "models:/iris/2 was rolled back" in shop.run(
        *deploy, f"{docker_registry}/live/iris:2", "--env", "production", code=97
    )
    (held,) = [
        one for one in shop.drift("--no-cluster", code=1)["production"]["findings"] if one["kind"] == "drift"
    ]
    assert held["message"] == "champion is v2; git has v1, and holds back what was rolled back"
    assert "has no earlier release than models:/iris/1" in shop.run(*back, code=80)
    shop.run(*between, "--copy", "--release-hold")
    assert "servegen.dev/hold" not in shop.component("production")["metadata"]["annotations"]
    first = shop.work.git("log", "--format=%H", "--grep=promote models:/iris/1", "main", at=shop.remote)
    shop.run(*back, "--to", first[:10])
    assert shop.component("production")["images"][0]["digest"] == digests["1"]

    # Overwritten in place, and an overlay that wins over the release.
    (tmp_path / "mlflow" / "v1" / "MLmodel").write_text("flavors: {}\n")
    overlay = "apps/iris/overlays/staging/kustomization.yaml"
    entry = f"images: [{{name: {docker_registry}/dev/iris, newTag: '1'}}]\n"
    shop.foreign(overlay, f"{shop.work.file(shop.remote, overlay)}\n{entry}")
    found = shop.drift("--no-cluster", "--deep", code=1)
    texts = {name: " / ".join(each["message"] for each in one["findings"]) for name, one in found.items()}
    assert "models:/iris/1 was overwritten in place" in texts["production"]
    assert "overlays/staging/kustomization.yaml sets the image itself" in texts["staging"]
    # Without a servegen.yaml the repository alone says what there is.
    Path("servegen.yaml").unlink()
    found = shop.drift("--repo", str(shop.remote), "--tracking-uri", shop.tracking, "--no-cluster")
    assert set(found) == {"staging", "production"}
    # MLflow writes there what it was told last.
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "nothing could be compared" in shop.run(
        "drift", "--repo", str(shop.remote), "--no-cluster", code=101
    )


def test_the_cluster_is_compared_with_what_git_has(
    shop: Shop, kubeconfig: str, namespace: str, test_registry: str, tmp_path: Path
) -> None:
    kubectl = program("kubectl")
    images = {version: push_stub(test_registry, tmp_path, version).ref.pinned for version in ("1", "2")}
    fixed = {
        "resources": {"cpu": "50m", "memory": "64Mi", "ephemeral_storage": "16Mi"},
        "min_ready_seconds": 0,
        "replicas": 1,
        "autoscaling": {"enabled": False},
        "namespace": namespace,
    }
    configure(shop, environments={"staging": {"deploy": fixed}, "qa": {"deploy": fixed}})

    def cluster(*arguments: str, stdin: str | None = None) -> str:
        command = [kubectl, "--kubeconfig", kubeconfig, "-n", namespace, *arguments]
        return subprocess.run(command, input=stdin, check=True, capture_output=True, text=True).stdout

    def told(code: int = 0, *arguments: str) -> list[str]:
        one = shop.drift("--env", "staging", *arguments, code=code)["staging"]
        return [one["state"], *(each["message"] for each in one["findings"])]

    def sync() -> None:
        """What Argo CD does."""
        checkout = shop.work.checkout(shop.remote, f"sync-{uuid.uuid4().hex[:8]}")
        text = cluster("kustomize", str(checkout / "apps/iris/overlays/staging"))
        cluster(
            "apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f", "-",
            stdin=text,
        )  # fmt: skip
        cluster("annotate", "service/iris-staging", "argocd.argoproj.io/tracking-id=iris", "--overwrite")
        cluster("rollout", "status", "deployment/iris-staging", "--timeout=90s")

    deploy = ("deploy", "--target", "git", "--env", "staging")
    shop.run(*deploy, images["1"])
    assert told(1)[1].endswith("the cluster runs nothing")
    sync()
    assert told() == ["in sync"]

    promote = ("promote", "iris", "--from", "staging", "--to", "qa")
    shop.run(*promote)
    where = f"iris-staging in namespace {namespace}"
    assert f"- healthy: yes ({where}: 1 of 1 pods ready)" in shop.messages()[0]

    patch = ("patch", "deployment/iris-staging", "--type=merge", "-p")
    cluster(*patch, '{"spec": {"minReadySeconds": 3, "revisionHistoryLimit": 7}}')
    state, *lines = told(1)
    assert state == "drift"
    assert "Deployment kubectl-patch: spec.minReadySeconds" in lines
    assert any(line.startswith("Deployment spec.revisionHistoryLimit is 7, wanted is ") for line in lines)
    cluster(*patch, '{"spec": {"minReadySeconds": null}}')
    sync()
    shop.mean("champion", "2")
    shop.run(*deploy, images["2"])
    state, line = told(1)
    assert state == "drift"
    assert re.fullmatch(
        r"git has v2 \(since \d+ \w+\), sha256:\w+…; the cluster v1, sha256:\w+…: not synced, or edited",
        line,
    )
    assert f"{where} runs version 1, not 2 of git" in shop.run(*promote, code=100)

    # A cluster that nobody reaches is told as such, unless it has to be there.
    assert told(0, "--context", "qa=other") == [
        "in part",
        "cluster not checked: no context is named for staging: --context staging=NAME",
    ]
    nowhere = ("--context", "nowhere")
    assert "cluster not checked: " in told(0, *nowhere)[1]
    shop.run("drift", "--env", "staging", "--cluster", *nowhere, code=71)
