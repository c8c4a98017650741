"""Images that a container engine builds from our context, beside those that servegen writes itself."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from servegen import errors
from tests.e2e.conftest import program
from tests.e2e.test_package import save
from tests.e2e.workspace import Workspace

pytest_plugins = ("tests.e2e.kubernetes", "tests.e2e.workspace")
pytestmark = pytest.mark.e2e
RUNTIME = ("--runtime", "uvicorn")
BOTH = ("--platform", "linux/amd64,linux/arm64")


@pytest.fixture(scope="module")
def place(
    cache: Path, engine_variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    """A folder with a small model."""
    folder = tmp_path_factory.mktemp("engines")
    save(folder, "1.0")
    return Workspace(folder=folder, variables={"SERVEGEN_CACHE_DIR": str(cache), **engine_variables})


@pytest.fixture(scope="module")
def embedded(place: Workspace) -> str:
    return place.ok("package", "./saved", *RUNTIME, *BOTH, "--tag", "embedded:1", "--no-verify").strip()


def files_of(reference: str, platform: str, place: Workspace) -> dict[str, tuple[object, ...]]:
    """Path → kind, mode, owner, link and content of everything in one image of an index."""
    from servegen.oci.compress import compression_of, decompressed
    from servegen.oci.image import images_of, read_image
    from servegen.oci.store import Store
    from servegen.oci.untar import TarReader
    from servegen.values.image import Platform

    store = Store(Path(place.variables["SERVEGEN_CACHE_DIR"]) / "oci")
    found: dict[str, tuple[object, ...]] = {}
    image = images_of(store.read(reference.partition("@")[2]))[Platform.parse(platform)]
    for layer in read_image(store, image)[0].layers:
        with store.blob(layer.digest).open("rb") as file:
            reader = TarReader(decompressed(file, compression_of(layer.media_type)))
            for each in reader.members():
                content = hashlib.sha256(reader.read()).hexdigest()
                path = each.path.removeprefix("./").rstrip("/")
                found[path] = (each.kind, oct(each.mode), each.uid, each.gid, each.link, content)
    return found


def test_buildah_gives_the_files_of_the_embedded_builder_and_they_answer(place, embedded):
    program("buildah")
    argv = ("package", "./saved", *RUNTIME, *BOTH, "--tag", "built:1", "--builder", "buildah")
    built = place.ok(*argv).strip()
    for platform in BOTH[1].split(","):
        ours, theirs = (files_of(reference, platform, place) for reference in (embedded, built))
        assert {p for p in ours if p.startswith("opt/servegen/site-packages/numpy/")}
        assert "srv/model/MLmodel" in ours
        assert theirs == ours
    env = {**os.environ, **place.variables}
    shown = ["buildah", "inspect", "--type", "image", "--format", "{{.OCIv1.Architecture}}", "built:1"]
    kept = subprocess.run(shown, env=env, check=True, capture_output=True, text=True).stdout
    assert kept.strip() == "amd64", "the engine keeps the image for this machine"


def test_the_dockerfile_is_clean_and_its_folder_is_never_overwritten(place, embedded):
    printed = place.ok("package", "./saved", *RUNTIME, "--dockerfile-only", "context")
    assert printed == "context\n"
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, place.folder / "context/Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    error, _ = place.fails(
        errors.ConfigError.exit_code, "package", "./saved", *RUNTIME, "--dockerfile-only", "context"
    )
    assert "context is there already" in error
    assert [p.name for p in place.folder.iterdir() if p.name.startswith(".context")] == []


def test_the_context_of_two_users_is_the_same(place, embedded):
    names = ("here", "there")
    for name, umask in zip(names, (0o022, 0o077), strict=True):
        before = os.umask(umask)
        try:
            place.ok("package", "./saved", *RUNTIME, "--dockerfile-only", name)
        finally:
            os.umask(before)
    here, there = (
        {
            path.relative_to(place.folder / name): (path.stat().st_mode, path.is_dir() or path.read_bytes())
            for path in (place.folder / name).rglob("*")
        }
        for name in names
    )
    assert here == there


def test_an_engine_that_is_down_is_said_before_the_model_is_looked_at(place):
    error, hint = place.fails(
        errors.BuildError.exit_code, "package", "./absent", "--builder", "nerdctl", PATH="/nowhere"
    )
    assert "nerdctl is not installed" in error
    assert "--builder embedded" in hint
