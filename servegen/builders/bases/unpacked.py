"""A base as a folder: for probing what is in it, and for running its Python."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from servegen.errors import BuildError
from servegen.oci.image import ImageConfig, Layer, assemble
from servegen.oci.rootfs import unpack
from servegen.oci.store import Store
from servegen.scratch import scratch_folder
from servegen.values.image import Base, Platform


def unpacked_base(base: Base, platform: Platform, store: Store, folder: Path) -> Path:
    """The base below `folder`, kept there for the next build."""
    blobs = [(key, store.layer(key)) for key in base.layers]
    layers = [Layer(blob=blob, name="base", key=key) for key, blob in blobs if blob]
    return unpacked_layers(layers, platform, store, folder / f"base-{base.digest.removeprefix('sha256:')}")


def unpacked_layers(layers: list[Layer], platform: Platform, store: Store, target: Path) -> Path:
    """`layers` unpacked as `target`, unless that is there already."""
    if target.is_dir() and not (target / "usr").is_dir():
        # Someone cleaned the cache by halves; every base has this folder.
        shutil.rmtree(target, ignore_errors=True)
    if not target.is_dir():
        with scratch_folder(target.parent, "new-") as temporary:
            unpack(store, assemble(store, ImageConfig(platform=platform), layers), temporary / "root")
            with contextlib.suppress(OSError):
                # Another process may have put the same files there meanwhile; then those will do.
                (temporary / "root").rename(target)
    if not target.is_dir():
        msg = f"the base cannot be unpacked into {target}"
        raise BuildError(msg, hint="check the disk and the rights on the cache folder")
    return target
