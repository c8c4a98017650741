"""A folder of servegen.yaml files: the command, a registry and an API server, all real but for their size."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
import yaml

from servegen import fleet
from servegen.errors import ConfigError, FleetError
from servegen.values.image import LABEL
from tests.kube import fake_api
from tests.oci import fake_registry

FIXED = {"replicas": 1, "autoscaling": {"enabled": False}}


@pytest.fixture
def api(tmp_path):
    with fake_api.running(tmp_path) as server:
        yield server


@pytest.fixture
def registry():
    with fake_registry.running() as server:
        yield server


@pytest.fixture
def image(registry):
    """The reference of an image in the registry that `servegen package` could have made."""
    labels = {f"{LABEL}model-name": "iris", f"{LABEL}pin": "models:/iris/7", f"{LABEL}model-version": "7"}
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": labels, "Entrypoint": ["serve"]},
            "rootfs": {"type": "layers", "diff_ids": []},
        }
    ).encode()
    kind = "application/vnd.oci.image.manifest.v1+json"
    entry = {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": f"sha256:{hashlib.sha256(config).hexdigest()}",
        "size": len(config),
    }
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": entry, "layers": []}).encode()
    digest = registry.put_image("iris", "7", manifest, kind, config)
    return f"{registry.host}/iris@{digest}"


@pytest.fixture
def servegen(api, tmp_path):
    """Runs `servegen …` in a folder with the cluster of `api`."""
    work = tmp_path / "work"
    work.mkdir()

    def run(*arguments):
        own = {"SERVEGEN_CACHE_DIR": str(tmp_path / "cache"), "KUBECONFIG": str(api.kubeconfig)}
        argv = [sys.executable, "-m", "servegen", *arguments]
        return subprocess.run(argv, cwd=work, env={**os.environ, **own}, capture_output=True, text=True)

    run.folder = work
    return run


def write(folder, name, **values):
    place = folder / "models" / name
    place.mkdir(parents=True)
    (place / "servegen.yaml").write_text(json.dumps(values))


def test_files_are_found_at_every_depth_but_not_in_hidden_folders_or_stores(tmp_path):
    for name in ("b", "a/deep", ".git/x", "mlruns/y"):
        write(tmp_path, name)
    found = [path.parent.relative_to(tmp_path / "models") for path in fleet.files(tmp_path)]
    assert [str(one) for one in found] == ["a/deep", "b"]


def test_all_models_of_a_folder_are_deployed_and_one_that_is_broken_fails_alone(
    servegen, registry, image, api
):
    for name in ("iris-a", "iris-b", "iris-c"):
        write(servegen.folder, name, image=image, deploy={"name": name, **FIXED})
    write(servegen.folder, "broken", image=image, deploy={"name": "broken", "replicas": "many"})
    done = servegen("deploy", "models", "--json")
    assert done.returncode == FleetError.exit_code, done.stderr
    results = {one["name"]: one for one in json.loads(done.stdout)}
    assert {name: one["result"] for name, one in results.items()} == {
        "broken": "failed",
        "iris-a": "created",
        "iris-b": "created",
        "iris-c": "created",
    }
    assert "deploy.replicas must be a whole number" in results["broken"]["error"]["message"]
    assert results["broken"]["error"]["exit_code"] == ConfigError.exit_code
    assert done.stderr.splitlines()[-2] == "servegen: 1 of 4 models were not deployed: broken"
    # The image that all share is looked up once.
    assert registry.count("GET", "/blobs/") == 1
    versions = {path: one["metadata"]["resourceVersion"] for path, one in api.objects.items()}
    again = servegen("deploy", "models")
    assert [line.split()[3] for line in again.stdout.splitlines() if "iris-" in line] == ["unchanged"] * 3
    assert {path: one["metadata"]["resourceVersion"] for path, one in api.objects.items()} == versions


def test_two_models_of_one_name_are_both_refused_before_anything_is_written(servegen, image, api):
    for name in ("one", "two"):
        write(servegen.folder, name, image=image, deploy=FIXED)
    done = servegen("deploy", "models")
    assert done.returncode == FleetError.exit_code
    assert "two would be deployed as iris, too" in done.stderr
    assert api.writes() == []


def test_the_dry_run_of_a_folder_shows_all_differences(servegen, image, api):
    for name in ("iris-a", "iris-b"):
        write(servegen.folder, name, image=image, deploy={"name": name, **FIXED})
    done = servegen("deploy", "models", "--dry-run")
    assert done.returncode == 1, done.stderr
    assert {"+++ new/Deployment iris-a", "+++ new/Deployment iris-b"} <= set(done.stdout.splitlines())
    assert api.writes() == []


def test_an_option_for_one_model_is_refused_for_a_folder(servegen, image):
    write(servegen.folder, "iris", image=image)
    done = servegen("deploy", "models", "--name", "wine")
    assert done.returncode == ConfigError.exit_code
    assert "--name wine cannot hold for every model of models" in done.stderr


def test_relative_paths_start_at_the_folder_of_their_file(servegen, image):
    write(servegen.folder, "iris", model="./absent", image="127.0.0.1:9/iris")
    done = servegen("deploy", "models")
    assert done.returncode == FleetError.exit_code
    assert "models/iris/absent" in done.stderr


def test_what_applies_a_repository_is_written_for_one_model_and_for_all_of_a_folder(servegen, image):
    git = {"repo": "git@git.example.com:flowers/models.git", "flux": {"secret": "login"}}
    write(servegen.folder, "iris", image=image, deploy={"name": "iris"}, git=git)
    write(servegen.folder, "wine", image=image, deploy={"name": "wine"}, git=git)
    every = ("render", "models", "--format", "kustomize", "--gitops", "flux", "--env", "prod")
    assert "--path is for one model" in servegen(*every, "--path", "apps/x").stderr
    several = servegen(*every)
    names = [(one["kind"], one["metadata"]["name"]) for one in yaml.safe_load_all(several.stdout)]
    # The source that both have is told once.
    assert names == [
        ("GitRepository", "models"),
        ("Kustomization", "iris-prod"),
        ("Kustomization", "wine-prod"),
    ]
    assert servegen(*every, "-o", "all").stdout == "all\n"
    files = {
        str(path.relative_to(servegen.folder / "all")) for path in (servegen.folder / "all").rglob("*.yaml")
    }
    assert {f"clusters/prod/{name}.yaml" for name in ("source-models", "iris-prod", "wine-prod")} < files
    assert {f"apps/{name}/overlays/prod/kustomization.yaml" for name in ("iris", "wine")} < files
    write(servegen.folder, "twin", image=image, deploy={"name": "twin"}, git=git | {"path": "apps/iris"})
    clash = servegen(*every, "-o", "clash")
    assert clash.returncode == FleetError.exit_code
    assert "2 of 3 models were not rendered: iris, twin" in clash.stderr
    assert not (servegen.folder / "clash/apps/iris").exists()
    assert (servegen.folder / "clash/apps/wine").is_dir()
    one = ("render", "--file", "models/iris/servegen.yaml", "--format", "kustomize", "--gitops")
    streamed = servegen(*one, "flux", "--env", "prod")
    kinds = {each["kind"]: each for each in yaml.safe_load_all(streamed.stdout)}
    assert set(kinds) == {"GitRepository", "Kustomization"}, streamed.stderr
    assert kinds["GitRepository"]["spec"]["secretRef"] == {"name": "login"}
    assert kinds["Kustomization"]["spec"]["path"] == "./apps/iris/overlays/prod"
    argo = (*one, "argo", "--project", "ml", "--path", "live/iris", "--branch", "main", "-o", "out")
    assert servegen(*argo).stdout == "out\n"
    application = servegen.folder / "out/argocd/iris.yaml"
    found = yaml.safe_load(application.read_text())["spec"]["source"]
    assert (found["path"], found["targetRevision"]) == ("live/iris/overlays/default", "main")
    assert (servegen.folder / "out" / found["path"] / "kustomization.yaml").is_file()
    # It may have been edited since.
    application.write_text("mine: true\n")
    assert "argocd/iris.yaml kept" in servegen(*argo).stderr
    assert application.read_text() == "mine: true\n"


def test_a_folder_is_rendered_model_by_model_and_as_one_stream(servegen, image):
    for name in ("iris-a", "iris-b"):
        write(servegen.folder, name, image=image, deploy={"name": name, **FIXED})
    write(servegen.folder, "broken", image=image, deploy={"replicas": "many"})
    streamed = servegen("render", "models")
    assert streamed.returncode == FleetError.exit_code
    names = [(one["kind"], one["metadata"]["name"]) for one in yaml.safe_load_all(streamed.stdout)]
    assert [name for kind, name in names if kind == "Deployment"] == ["iris-a", "iris-b"]
    (servegen.folder / "models/broken/servegen.yaml").unlink()
    written = servegen("render", "models", "-o", "out")
    assert written.stdout == "out\n", written.stderr
    assert sorted(path.name for path in (servegen.folder / "out").iterdir()) == ["iris-a", "iris-b"]
