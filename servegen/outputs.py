"""Further places for a built image: an OCI layout, a docker archive, a local engine."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from servegen.errors import BuildError, ConfigError
from servegen.oci.descriptor import INDEXES
from servegen.oci.image import images_of
from servegen.oci.layout import export_docker_archive, export_layout
from servegen.oci.store import Store
from servegen.process import run
from servegen.progress import Progress
from servegen.values.image import StoredImage


def check_output(output: str) -> None:
    """ConfigError for an output that `write_output` would not take; asked before the work begins."""
    if not output.startswith("oci:") and not output.endswith(".tar"):
        msg = f"--output {output!r} is neither oci:FOLDER nor a .tar file"
        raise ConfigError(msg, hint="oci:./image for an OCI layout, image.tar for docker load")
    if output == "oci:":
        msg = "--output 'oci:' names no folder"
        raise ConfigError(msg, hint="oci:./image")
    parent = Path(output.removeprefix("oci:")).absolute().parent
    if not parent.is_dir():
        msg = f"--output {output!r}: there is no folder {parent}"
        raise ConfigError(msg, hint=f"mkdir -p {parent}")


def write_output(stored: StoredImage, output: str, directory: Path, progress: Progress) -> None:
    """Write the image as `oci:FOLDER` or as a docker archive; a relative path starts at `directory`."""
    ref, store = replace(stored.image.ref, digest=None), Store(stored.store)
    progress.step(f"writing {output}")
    if output.startswith("oci:"):
        folder = directory / output.removeprefix("oci:")
        export_layout(store, store.manifest(str(stored.image.ref.digest)), ref.tag or "latest", folder)
    else:
        export_docker_archive(store, store.manifest(str(stored.image.ref.digest)), ref, directory / output)


def load_into_engine(stored: StoredImage, env: Mapping[str, str], progress: Progress) -> None:
    """Hand the image to docker or podman, whichever is there."""
    engine = next((e for e in ("docker", "podman") if shutil.which(e, path=env.get("PATH"))), None)
    if engine is None:
        msg = "neither docker nor podman is installed here"
        raise BuildError(msg, hint="--output image.tar writes a file for `docker load -i` elsewhere")
    store = Store(stored.store)
    image = store.manifest(str(stored.image.ref.digest))
    if image.media_type in INDEXES:
        # Engines keep one image a name.
        images = images_of(store.read(image.digest))
        image = next((each for p, each in images.items() if p.machine == platform.machine()), image)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "image.tar")
        export_docker_archive(
            store,
            image,
            replace(stored.image.ref, digest=None),
            archive,
        )
        done = run([engine, "load", "--input", str(archive)], progress=progress, env=env)
    if done.status:
        msg = f"{engine} does not load the image: {done.stderr.strip().partition(chr(10))[0]}"
        raise BuildError(msg, hint=f"does `{engine} info` answer?")
