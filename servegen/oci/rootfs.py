"""Unpacks an image into a folder, safely: as any user, from any origin, without trusting its layers."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from servegen.errors import BuildError, ImageNotFoundError
from servegen.oci.compress import compression_of, decompressed
from servegen.oci.descriptor import Descriptor
from servegen.oci.image import ImageConfig, read_image
from servegen.oci.store import Store
from servegen.oci.tree import Tree
from servegen.oci.untar import TarReader
from servegen.oci.workers import Ahead

_SMALL = 64 << 20
"""A layer up to this size unpacked may be compressed to almost nothing."""


@dataclass(frozen=True, kw_only=True)
class UnpackLimits:
    """How much an image may grow when it is unpacked."""

    total: int = 20 << 30
    ratio: int = 200
    """Unpacked size of a layer over its stored one."""


def unpack(
    store: Store,
    descriptor: Descriptor,
    directory: Path,
    *,
    present: int = 0,
    limits: UnpackLimits | None = None,
) -> ImageConfig:
    """Makes `directory` the root file system of the image, and returns the image's config.

    Every layer must have its diffID. The folder must be new or empty; with `present` it holds that many of
    the first layers already, from an earlier call for an image with the same ones. After an error it is gone.
    """
    manifest, config = read_image(store, descriptor)
    limits = limits or UnpackLimits()
    if not present and directory.exists() and any(directory.iterdir()):
        msg = f"{directory} is not empty"
        raise BuildError(msg, hint="unpack into a new folder")
    directory.mkdir(parents=True, exist_ok=True)
    try:
        tree = Tree(directory.resolve())
        if present:
            tree.scan()
        budget = limits.total
        pairs = list(zip(manifest.layers, config.diff_ids, strict=True))
        for number, (layer, diff_id) in enumerate(pairs[present:], start=present):
            most = min(budget, _most(layer, limits))
            try:
                budget -= _apply(tree, store, layer, diff_id, number, most=most)
            except BuildError:
                # Whoever made the layer is to blame only if it is still what they made.
                store.check(layer.digest)
                raise
        tree.finish()
    except BaseException as exc:
        shutil.rmtree(directory, ignore_errors=True)
        if isinstance(exc, OSError):
            msg = f"{directory} cannot be written: {exc.strerror} ({exc.filename or 'a file in it'})"
            raise BuildError(msg, hint="free some space, or choose another --cache-dir") from exc
        raise
    return config


def _most(layer: Descriptor, limits: UnpackLimits) -> int:
    return max(_SMALL, layer.size * limits.ratio)


def _apply(tree: Tree, store: Store, layer: Descriptor, diff_id: str, number: int, *, most: int) -> int:
    """Applies one layer and returns its unpacked size."""
    if not store.has(layer.digest, layer.size):
        msg = f"layer {layer.digest} is not on this machine"
        raise ImageNotFoundError(msg, hint="pull the whole image first")
    hashing = hashlib.sha256()
    size = 0

    def pieces() -> Iterator[bytes]:
        nonlocal size
        with store.blob(layer.digest).open("rb") as file:
            for piece in decompressed(file, compression_of(layer.media_type)):
                size += len(piece)
                if size > most:
                    msg = f"layer {layer.digest} unpacks to more than {most} bytes"
                    raise BuildError(msg, hint="do not use this image; it may be made to fill the disk")
                hashing.update(piece)
                yield piece

    ahead = Ahead(pieces())
    try:
        reader = TarReader(ahead)
        for member in reader.members():
            tree.add(member, reader.content(), number)
        reader.drain()
    finally:
        ahead.close()
    if "sha256:" + hashing.hexdigest() != diff_id:
        msg = f"layer {layer.digest} is damaged: its content is not {diff_id}"
        raise BuildError(msg, hint="the image was made wrongly; build it again")
    return size
