"""A model with a private index, wheels of its own and a source distribution → image, and no login in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import zstandard

from tests.conftest import MLMODEL
from tests.distributions import sdist, wheel
from tests.e2e.workspace import Workspace
from tests.lockers.conftest import SERVED
from tests.package_index import PackageIndex, serving

pytest_plugins = ("tests.e2e.workspace",)
pytestmark = pytest.mark.e2e
USER, PASSWORD = "deploy-user", "s3cr3t-Pa55w0rd"
ZSTD = b"\x28\xb5\x2f\xfd"


@pytest.fixture
def place(tmp_path: Path, cache: Path) -> Workspace:
    """A folder with a model that needs a private wheel, a private source distribution and its own wheel."""
    model = tmp_path / "work/demo"
    wheel(model / "wheels", "own")
    (model / "MLmodel").write_text(MLMODEL)
    (model / "python_env.yaml").write_text("python: 3.11.7\n")
    (model / "requirements.txt").write_text(
        "mlflow==3.17.2\nprivate-wheel\nprivate-source\nwheels/own-1.0-py3-none-any.whl\n"
    )
    found = Workspace(folder=model.parent, variables={"SERVEGEN_CACHE_DIR": str(cache)})
    found.configure(model="./demo", image="demo:1", runtime="uvicorn")
    return found


@pytest.fixture
def private(tmp_path: Path):
    folder = tmp_path / "distributions"
    for name, version in SERVED.items():
        wheel(folder, name, version)
    wheel(folder, "private_wheel")
    sdist(folder, "private_source")
    with serving(PackageIndex(folder=folder, login=f"{USER}:{PASSWORD}")) as index:
        yield index


def content(layout: Path) -> dict[str, bytes]:
    """Every blob of an image, unpacked."""
    blobs = {path.name: path.read_bytes() for path in (layout / "blobs/sha256").iterdir()}
    unpack = zstandard.ZstdDecompressor()
    return {
        name: unpack.decompressobj().decompress(data) if data.startswith(ZSTD) else data
        for name, data in blobs.items()
    }


def test_the_login_of_a_private_index_is_in_no_layer_label_lock_log_or_argument(place, private, tmp_path):
    variables = {
        "UV_DEFAULT_INDEX": private.url.replace("/simple", "/none"),
        "UV_INDEX": f"ours={private.url}",
        "UV_INDEX_OURS_USERNAME": USER,
        "UV_INDEX_OURS_PASSWORD": PASSWORD,
        "UV_CACHE_DIR": str(tmp_path / "uv"),
    }
    layout = tmp_path / "layout"
    done = place.run("package", "--no-verify", "-v", "-o", f"oci:{layout}", **variables)
    assert done.returncode == 0, done.stderr
    assert "+ " in done.stderr
    lock = (place.folder / "servegen.lock").read_text()
    packages = {p["name"]: p for p in json.loads(lock)["packages"]}
    assert packages["own"]["path"] == "wheels/own-1.0-py3-none-any.whl"
    assert packages["private-source"]["sdist"]
    blobs = content(layout)
    for module in (b"own.py", b"private_wheel.py", b"private_source.py"):
        assert any(b"opt/servegen/site-packages/" + module in data for data in blobs.values())
    for secret in (PASSWORD, USER):
        assert secret not in done.stdout + done.stderr + lock
        assert not [name for name, data in blobs.items() if secret.encode() in data]
    for text in (str(tmp_path), private.url):
        assert text not in lock
        assert not [name for name, data in blobs.items() if text.encode() in data]

    # A build context has the same wheels.
    place.ok("package", "--dockerfile-only", str(tmp_path / "context"), **variables)
    listed = (tmp_path / "context/requirements.txt").read_text()
    assert "./model/wheels/own-1.0-py3-none-any.whl --hash=sha256:" in listed
    for path in (tmp_path / "context").rglob("*"):
        assert path.is_dir() or PASSWORD.encode() not in path.read_bytes()

    # Another cache, folder and index give the same image.
    moved = tmp_path / "moved"
    shutil.copytree(place.folder, moved)
    other = Workspace(folder=moved, variables=place.variables)
    variables["UV_CACHE_DIR"] = str(tmp_path / "another")
    again = other.ok("package", "--no-verify", "--frozen", **variables)
    assert again == done.stdout


def test_a_package_that_only_conda_has_ends_the_run_with_a_way_out(place, private):
    (place.folder / "demo/conda.yaml").write_text(
        "dependencies:\n- python=3.11.7\n- pytorch=2.1\n- pip:\n  - x\n"
    )
    error, hint = place.fails(20, "package")
    assert "pytorch" in error
    assert "--conda-map pytorch=torch" in hint
