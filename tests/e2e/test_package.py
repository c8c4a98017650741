"""Model URI → image, with a real MLflow store, a real registry and the machine's own means to run it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from servegen import errors
from servegen.values.image import MODEL as MODEL_FOLDER
from tests.e2e.conftest import program
from tests.e2e.workspace import Workspace, expected

pytest_plugins = ("tests.e2e.kubernetes", "tests.e2e.workspace")
pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def packaged(workspace: Workspace) -> str:
    return workspace.ok("package", "models:/iris@champion", "--push").strip()


def manifest(reference: str) -> tuple[int, bytes]:
    """Status and body of what the registry has under a reference."""
    registry, _, rest = reference.partition("/")
    name, _, version = rest.partition("@") if "@" in rest else rest.rpartition(":")
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    request = urllib.request.Request(f"http://{registry}/v2/{name}/manifests/{version}", headers=accept)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as exc:
        return exc.code, b""


def test_package_prints_the_reference_and_nothing_else(packaged, workspace):
    assert workspace.ok("package", "models:/iris@champion", "--push") == packaged + "\n"
    assert manifest(packaged)[0] == 200


def test_a_second_run_resolves_installs_and_uploads_nothing(packaged, workspace):
    done = workspace.run("package", "models:/iris@champion", "--push")
    assert done.stdout.strip() == packaged
    assert done.stderr == ""


def test_the_lock_pins_version_wheels_and_base_without_an_address(packaged, workspace):
    text = (workspace.folder / "servegen.lock").read_text()
    lock = json.loads(text)
    assert lock["pin"]["resolved"] == "models:/iris/1"
    assert lock["image"] == packaged.partition("@")[2]
    assert {p["name"] for p in lock["packages"]} >= {"scikit-learn", "mlflow-skinny", "bentoml"}
    assert all(len(p["sha256"]) == 64 and p["size"] > 0 for p in lock["packages"])
    assert {p["name"] for p in lock["base"]["packages"]} >= {"libc6", "python3.11-minimal"}
    assert "://" not in text.replace(lock["pin"]["uri"], "")


def test_skopeo_reads_the_image(packaged):
    argv = ["skopeo", "inspect", "--tls-verify=false", f"docker://{packaged}"]
    found = json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    assert found["Digest"] == packaged.partition("@")[2]
    assert found["Labels"]["dev.servegen.pin"] == "models:/iris/1"


def test_another_cache_umask_time_zone_hash_seed_folder_and_uri_give_the_same_digest(
    packaged, workspace, tmp_path
):
    for name in ("servegen.yaml", "servegen.lock", "mlflow.db"):
        shutil.copy(workspace.folder / name, tmp_path / name)
    other = Workspace(
        folder=tmp_path,
        variables={"SERVEGEN_CACHE_DIR": str(tmp_path / "cache"), "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"},
    )
    before = os.umask(0o077)
    try:
        again = other.ok("package", "models:/iris/1", "--frozen", "--no-verify")
    finally:
        os.umask(before)
    assert again.strip() == packaged


def test_two_processes_share_an_empty_cache(packaged, workspace, tmp_path):
    argv = [sys.executable, "-m", "servegen", "package", "--frozen", "--no-verify", "--quiet"]
    env = {**os.environ, **workspace.variables, "SERVEGEN_CACHE_DIR": str(tmp_path / "cache")}
    both = [
        subprocess.Popen(argv, cwd=workspace.folder, env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate(timeout=300)[0].strip() for process in both] == [packaged, packaged]


def test_outputs_are_read_by_other_tools(packaged, workspace, tmp_path):
    workspace.ok("package", "-o", f"oci:{tmp_path / 'layout'}")
    argv = ["skopeo", "inspect", "--format", "{{.Digest}}", f"oci:{tmp_path / 'layout'}:1"]
    assert (
        subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
        == packaged.partition("@")[2]
    )
    archives = [tmp_path / "one.tar", tmp_path / "two.tar"]
    for archive in archives:
        workspace.ok("package", "-o", str(archive))
    assert archives[0].read_bytes() == archives[1].read_bytes()
    subprocess.run(["skopeo", "inspect", f"docker-archive:{archives[0]}"], check=True, capture_output=True)


def test_the_server_runs_from_the_images_files_and_answers_as_the_model_does(packaged, workspace):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, **workspace.variables}
    argv = [sys.executable, "-m", "servegen", "run", packaged, "--port", str(port)]
    process = subprocess.Popen(argv, cwd=workspace.folder, env=env, start_new_session=True)
    try:
        wait_until_ready(port, process)
        body = json.loads((workspace.model / "serving_input_example.json").read_text())
        headers = {"Content-Type": "application/json"}
        url = f"http://127.0.0.1:{port}/invocations"
        with urllib.request.urlopen(
            urllib.request.Request(url, json.dumps(body).encode(), headers)
        ) as answer:
            assert json.load(answer) == {"predictions": expected(workspace.model, body)}
        roots = {root_of(pid) for pid in listeners(port)}
        assert roots
        assert all(str(workspace.variables["SERVEGEN_CACHE_DIR"]) in r or r == "/" for r in roots)
        assert all(Path(f"/proc/{pid}/root", MODEL_FOLDER, "MLmodel").is_file() for pid in listeners(port))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert not list(Path(workspace.variables["SERVEGEN_CACHE_DIR"], "run").iterdir())


def wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the server did not get ready within 60 s")


def listeners(port: int) -> list[int]:
    """Processes that hold the listening socket of `port` (proc(5), net/tcp)."""
    inodes = {
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    }
    found = []
    for links in Path("/proc").glob("[0-9]*/fd"):
        try:
            targets = {str(link.readlink()) for link in links.iterdir()}
        except OSError:
            continue
        if targets & {f"socket:[{inode}]" for inode in inodes}:
            found.append(int(links.parent.name))
    return found


def root_of(pid: int) -> str:
    return str(Path(f"/proc/{pid}/root").readlink())


def test_a_registry_image_serves_as_base(packaged, workspace, test_registry, tmp_path):
    """The base of one image, pushed as an image of its own, carries another one."""
    base = push_base(packaged, workspace, test_registry)
    other = Workspace(folder=tmp_path, variables=workspace.variables)
    reference = other.ok(
        "package",
        f"{workspace.model}",
        "--tag",
        f"{test_registry}/on-registry-base",
        "--base",
        base,
        "--runtime",
        "uvicorn",
    )
    layers = json.loads(manifest_of(reference.strip(), workspace))["layers"]
    assert layers[0]["digest"] == json.loads(manifest(packaged)[1])["layers"][0]["digest"]


def push_base(packaged: str, workspace: Workspace, registry: str) -> str:
    """An image of the first layer of `packaged` alone, by digest."""
    from servegen.oci.image import ImageConfig, assemble, layers_of, read_image
    from servegen.oci.registry import Registry, RegistryOptions
    from servegen.oci.store import Store
    from servegen.progress import Silent
    from servegen.values.image import ImageRef, Platform

    platform = Platform.parse("linux/amd64")
    store = Store(Path(workspace.variables["SERVEGEN_CACHE_DIR"]) / "oci")
    with Registry(RegistryOptions(), Silent()) as remote:
        whole = remote.pull(ImageRef.parse(packaged), platform, store)
        first = layers_of(*read_image(store, whole))[0]
        config = ImageConfig(platform=platform, env=(("PATH", "/usr/bin"), ("FROM_BASE", "yes")))
        ref = ImageRef.parse(f"{registry}/python-base:3.11")
        return ref.at(remote.push(store, assemble(store, config, [first]), ref)).pinned


def manifest_of(reference: str, workspace: Workspace) -> bytes:
    store = Path(workspace.variables["SERVEGEN_CACHE_DIR"]) / "oci/blobs/sha256"
    return (store / reference.partition("@sha256:")[2]).read_bytes()


MODEL = """
import mlflow, os, pandas
class M(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [{answer}] * len(model_input)
mlflow.models.set_model(M())
"""


def save(folder: Path, answer: str, **options: object) -> Path:
    """A pyfunc model that answers with the Python expression `answer`."""
    import mlflow
    import pandas as pd

    code = folder / "code.py"
    code.write_text(MODEL.format(answer=answer))
    frame = pd.DataFrame({"x": [1.0]})
    arguments = {
        "signature": mlflow.models.infer_signature(frame, [1.0]),
        "input_example": frame,
        "pip_requirements": ["mlflow", "pandas", "numpy"],
        **options,
    }
    mlflow.pyfunc.save_model(folder / "saved", python_model=str(code), **arguments)
    return folder / "saved"


def test_an_image_that_answers_otherwise_than_the_model_is_not_pushed(workspace, test_registry, tmp_path):
    """The answer is the process id: the server's is another one than the checker's."""
    saved = save(tmp_path, "os.getpid()")
    tag = f"{test_registry}/liar:1"
    place = Workspace(folder=tmp_path, variables=workspace.variables)
    place.configure(model=str(saved))
    error, _ = place.fails(errors.VerifyError.exit_code, "package", "--tag", tag, "--push")
    assert "the image answers" in error
    assert "in-process predict answers" in error
    assert manifest(tag)[0] == 404
    assert json.loads((tmp_path / "servegen.lock").read_text())["image"] is None


def test_a_missing_module_is_named_with_the_way_to_add_it(workspace, test_registry, tmp_path):
    saved = save(tmp_path, "__import__('sqlalchemy').__version__")
    error, hint = workspace.fails(
        errors.VerifyError.exit_code, "package", str(saved), "--tag", f"{test_registry}/x:1"
    )
    assert "cannot serve the model" in error
    assert hint


def test_requirements_that_cannot_be_resolved_are_named_with_the_platform(workspace, tmp_path):
    saved = save(tmp_path, "1.0", pip_requirements=["mlflow", "pandas==0.0.0.1"])
    error, _ = workspace.fails(errors.LockError.exit_code, "package", str(saved))
    assert "pandas==0.0.0.1" in error
    assert "x86_64-manylinux" in error


def test_a_registry_that_is_down_is_said_and_the_image_is_kept(packaged, workspace):
    error, hint = workspace.fails(
        errors.RegistryError.exit_code, "package", "--tag", "127.0.0.1:9/iris:1", "--push"
    )
    assert "127.0.0.1:9" in error
    assert hint


def test_a_name_with_blanks_and_unicode_makes_an_image_that_old_tools_read_with_gzip(workspace, tmp_path):
    saved = save(tmp_path, "1.0")
    odd = tmp_path / "Fraud Détection {{v2}}"
    saved.rename(odd)
    layout = tmp_path / "layout"
    options = ("--no-verify", "--runtime", "uvicorn", "--compression", "gzip", "-o", f"oci:{layout}")
    reference = workspace.ok("package", str(odd), *options, "--tag", "odd:1")
    assert reference.startswith("odd@sha256:")
    valid = [program("oci-image-tool"), "validate", "--type", "image", "--ref", "name=1", str(layout)]
    unpacked = [program("umoci"), "unpack", "--rootless", "--image", f"{layout}:1", str(tmp_path / "bundle")]
    for argv in (valid, unpacked):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    root = tmp_path / "bundle/rootfs"
    assert (root / "srv/model/MLmodel").read_bytes() == (odd / "MLmodel").read_bytes()
    assert (root / "opt/servegen/site-packages/numpy/__init__.py").is_file()


def test_no_verify_is_said_aloud(packaged, workspace):
    assert "warning: the image was not run" in workspace.run("package", "--no-verify").stderr


def test_a_killed_run_leaves_nothing_running_and_the_next_one_removes_its_files(
    packaged, workspace, tmp_path
):
    run = Path(workspace.variables["SERVEGEN_CACHE_DIR"]) / "run"
    argv = [sys.executable, "-m", "servegen", "verify", packaged]
    env = {**os.environ, **workspace.variables}
    process = subprocess.Popen(argv, cwd=workspace.folder, env=env, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert any("running the image" in line for line in process.stderr)
    process.kill()
    process.wait()
    (left,) = run.iterdir()
    for _ in range(50):
        if not (inside := [p for p in Path("/proc").glob("[0-9]*") if str(left).encode() in cmdline(p)]):
            break
        time.sleep(0.1)
    assert inside == []
    workspace.ok("verify", packaged)
    assert list(run.iterdir()) == []


def cmdline(process: Path) -> bytes:
    """The arguments of a process; none when it has ended meanwhile."""
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def test_a_damaged_layer_in_the_cache_is_made_again(packaged, workspace, tmp_path):
    blobs = Path(workspace.variables["SERVEGEN_CACHE_DIR"]) / "oci/blobs/sha256"
    layers = json.loads(manifest_of(packaged, workspace))["layers"]
    biggest = blobs / max(layers, key=lambda layer: layer["size"])["digest"].removeprefix("sha256:")
    with biggest.open("r+b") as file:
        file.write(b"damaged!")
    output = ["package", "-o", f"oci:{tmp_path / 'layout'}"]
    error, _ = workspace.fails(errors.BuildError.exit_code, *output)
    assert biggest.name in error
    assert workspace.ok(*output).strip() == packaged
