"""Builders that hand a context to a program; a stand-in on PATH keeps what it is told and saves an image."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from servegen.builders import builder
from servegen.errors import BuildError
from servegen.oci.image import ImageConfig, Layer, assemble, read_image
from servegen.oci.layout import export_docker_archive
from servegen.oci.store import Store
from servegen.oci.tar import Entry, write_layer
from servegen.progress import Silent
from servegen.uv import Indexes
from servegen.values.image import ImageRef, Platform
from tests.builders.test_dockerfile import inputs  # noqa: F401 (a fixture)

PROGRAM = f"""#!{sys.executable}
import json, os, shutil, sys
folder = os.path.dirname(os.path.abspath(__file__))
with open(folder + "/told", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
for place in sys.argv[1:]:
    place = place.removeprefix("docker-archive:")
    if place.endswith("image.tar"):
        shutil.copy(folder + "/saved.tar", place)
    if place.endswith("/context") and not os.path.exists(place + "/Dockerfile"):
        sys.exit("no Dockerfile")
"""
AS_USUAL = ["--platform", "linux/amd64", "--tag", "iris:1"]
FIXED = ["--format", "oci", "--timestamp", "0", "--identity-label=false"]


def saved_image(folder, platform="linux/amd64"):
    """What an engine would have built, as a docker archive."""
    store = Store(folder / "engine")
    with store.scratch() as temporary:
        blob = write_layer([Entry(path="a", data=b"a")], temporary)
        store.commit(temporary, blob.digest)
    config = ImageConfig(platform=Platform.parse(platform), labels=(("dev.servegen.pin", "models:/iris/3"),))
    image = assemble(store, config, [Layer(blob=blob, name="all")])
    export_docker_archive(store, image, ImageRef.parse("iris:1"), folder / "bin/saved.tar")


@pytest.fixture
def engine(tmp_path, inputs):  # noqa: F811
    """Puts the stand-in on PATH under a name; gives the inputs for it and a reader of what it was told."""
    (tmp_path / "bin").mkdir()

    def install(name, platform="linux/amd64"):
        program = tmp_path / "bin" / name
        program.write_text(PROGRAM)
        program.chmod(0o755)
        saved_image(tmp_path, platform)
        env = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        lines = tmp_path / "bin/told"
        found = replace(inputs, indexes=Indexes(env=env))
        return found, lambda: [json.loads(line) for line in lines.read_text().splitlines()]

    return install


@pytest.mark.parametrize(
    ("name", "options", "saving"),
    [
        ("docker", [], ["save", "--output", "image.tar", "iris:1"]),
        ("nerdctl", [], ["save", "--output", "image.tar", "iris:1"]),
        ("podman", FIXED, ["save", "--format", "docker-archive", "--output", "image.tar", "iris:1"]),
        ("buildah", FIXED, ["push", "iris:1", "docker-archive:image.tar"]),
    ],
)
def test_an_engine_builds_the_context_and_its_image_is_taken_over(engine, name, options, saving):
    given, told = engine(name)
    stored = builder(name).build(given, Silent())
    building, saved = told()
    assert building[:-1] == ["build", *options, *AS_USUAL]
    folder = Path(building[-1]).parent
    assert [word.replace(f"{folder}/", "") for word in saved] == saving
    assert stored.image.label("pin") == "models:/iris/3"
    store = Store(given.store)
    assert store.resolve("iris:1").digest == stored.image.ref.digest
    assert read_image(store, store.resolve("iris:1"))[1].platform == given.plan.platform
    assert not folder.exists()


def test_an_image_for_another_platform_is_refused(engine):
    given, _ = engine("docker", platform="linux/arm64")
    with pytest.raises(BuildError, match="linux/arm64 instead of linux/amd64"):
        builder("docker").build(given, Silent())


def test_an_engine_that_is_not_installed_is_said_with_the_way_out(tmp_path):
    with pytest.raises(BuildError, match="nerdctl is not installed") as caught:
        builder("nerdctl").check({"PATH": str(tmp_path)}, Silent())
    assert "--builder embedded" in caught.value.hint


def test_an_engine_whose_daemon_is_down_is_said_before_any_work(tmp_path):
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(BuildError, match="docker does not answer: Cannot connect") as caught:
        builder("docker").check({"PATH": str(tmp_path)}, Silent())
    assert "--builder embedded" in caught.value.hint
