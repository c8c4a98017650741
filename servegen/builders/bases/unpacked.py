"""A base as a folder: for probing what is in it, and for running its Python."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from servegen.oci.image import ImageConfig, Layer, assemble
from servegen.oci.rootfs import unpack
from servegen.oci.store import Store
from servegen.values.image import Base, Platform


def unpacked_base(base: Base, platform: Platform, store: Store, folder: Path) -> Path:
    """The base below `folder`, kept there for the next build."""
    blobs = [(key, store.layer(key)) for key in base.layers]
    layers = [Layer(blob=blob, name="base", key=key) for key, blob in blobs if blob]
    return unpacked_layers(layers, platform, store, folder / f"base-{base.digest.removeprefix('sha256:')}")


def unpacked_layers(layers: list[Layer], platform: Platform, store: Store, target: Path) -> Path:
    """`layers` unpacked as `target`, unless that is there already."""
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix="base-", dir=target.parent))
        try:
            unpack(store, assemble(store, ImageConfig(platform=platform), layers), temporary / "root")
            (temporary / "root").replace(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target
