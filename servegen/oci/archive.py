"""Taking over an image that a container engine saved as a docker archive (`docker save`)."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, BinaryIO, cast

from servegen.errors import BuildError
from servegen.oci.compress import Compression, Packing, compressor, decompressed
from servegen.oci.descriptor import Descriptor
from servegen.oci.image import ImageConfig, Layer, assemble
from servegen.oci.store import Store
from servegen.oci.tar import MEDIA_TYPE, LayerBlob

_MAGIC: tuple[tuple[bytes, Compression], ...] = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))


def import_docker_archive(
    store: Store, archive: Path, packed: Packing, known: Iterable[LayerBlob] = ()
) -> Descriptor:
    """Stores the only image of `archive`: what its config says of the container, and its layers as `packed`.

    Build time and history are dropped. A layer that is among `known`, by its diffID, is not stored again.
    """
    have = {blob.diff_id: blob for blob in known}
    try:
        with tarfile.open(archive, "r:") as tar:
            config, names = _image(tar)
            blobs = [
                have.get(diff_id) or _layer(store, tar, name, diff_id, packed)
                for name, diff_id in zip(names, config.diff_ids, strict=True)
            ]
            layers = [Layer(blob=blob, name=f"built:{number}") for number, blob in enumerate(blobs)]
    except (tarfile.TarError, KeyError, ValueError, LookupError, TypeError) as exc:
        msg = f"the saved image cannot be read: {exc}"
        raise BuildError(msg, hint="a newer container engine, or --builder embedded") from exc
    return assemble(store, config, layers)


def _image(tar: tarfile.TarFile) -> tuple[ImageConfig, list[str]]:
    """The image's config, and the members that hold its layers, lowest first."""
    (image,) = json.loads(_member(tar, "manifest.json").read())
    return ImageConfig.from_bytes(_member(tar, image["Config"]).read()), list(image["Layers"])


def _layer(store: Store, tar: tarfile.TarFile, name: str, diff_id: str, packed: Packing) -> LayerBlob:
    stream = _member(tar, name)
    start = stream.read(4)
    stream.seek(0)
    compression: Compression = "none"
    for magic, form in _MAGIC:
        if start.startswith(magic):
            compression = form
    squeeze, diff, whole, size = compressor(packed), hashlib.sha256(), hashlib.sha256(), 0
    with store.scratch() as temporary:
        with temporary.open("wb") as out:

            def write(data: bytes) -> None:
                nonlocal size
                out.write(data)
                whole.update(data)
                size += len(data)

            for piece in decompressed(cast("BinaryIO", stream), compression):
                diff.update(piece)
                write(squeeze.compress(piece))
            write(squeeze.flush())
        if "sha256:" + diff.hexdigest() != diff_id:
            msg = f"layer {name} is not {diff_id}"
            raise ValueError(msg)
        digest = "sha256:" + whole.hexdigest()
        store.commit(temporary, digest)
    return LayerBlob(digest=digest, diff_id=diff_id, size=size, media_type=MEDIA_TYPE[packed])


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    # Older engines keep a layer that occurs twice as a link, which this follows.
    found = tar.extractfile(name)
    if found is None:
        msg = f"{name} is no file"
        raise ValueError(msg)
    return found
