"""An image as files that other tools read: an OCI layout folder, or an archive for `docker load`."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from servegen.errors import BuildError, ImageNotFoundError
from servegen.oci.compress import compression_of, decompressed
from servegen.oci.descriptor import (
    CONFIG,
    INDEX,
    INDEXES,
    LAYER,
    MANIFEST,
    Descriptor,
    canonical,
    oci_media_type,
)
from servegen.oci.image import ImageManifest, images_of, index_bytes, read_image
from servegen.oci.store import LAYOUT, REF_NAME, Store
from servegen.oci.tar import Entry, write_layer
from servegen.values.image import ImageRef, Platform

CONTAINERD_NAME = "io.containerd.image.name"


def export_layout(store: Store, descriptor: Descriptor, ref_name: str, directory: Path) -> None:
    """Writes the image, or an index with all its images, as a complete OCI layout.

    An older layout at `directory` is replaced at once.
    """
    if directory.exists() and not (directory / "oci-layout").is_file() and any(directory.iterdir()):
        msg = f"{directory} is not an OCI layout"
        raise BuildError(msg, hint="choose a folder that does not exist yet")
    files = {
        each.digest: _present(store, each)
        for image in _images(store, descriptor).values()
        for manifest in [read_image(store, image)[0]]
        for each in (descriptor, image, manifest.config, *manifest.layers)
    }
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.") as tmp:
        new, old = Path(tmp) / "new", Path(tmp) / "old"
        blobs = new / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        for digest, file in files.items():
            # A hard link would let whoever edits the layout change the cache.
            shutil.copyfile(file, blobs / digest.removeprefix("sha256:"))
        (new / "oci-layout").write_bytes(LAYOUT)
        (new / "index.json").write_bytes(_index(descriptor, {REF_NAME: ref_name}))
        if directory.exists():
            directory.rename(old)
        new.rename(directory)


def export_docker_archive(store: Store, descriptor: Descriptor, ref: ImageRef, out_file: Path) -> None:
    """Writes an archive for `docker load`, `podman load` or `ctr images import`, always with the same bytes.

    Old Docker reads no zstd: such layers are stored uncompressed, so the manifest digest differs from the
    registry's, while the config digest, which is Docker's image id, stays. Of an index the archive holds all
    images; tools that know none load the first one.
    """
    with ExitStack() as stack:
        images = _images(store, descriptor)
        readable = {each.digest: _image(store, each, stack) for each in images.values()}
        tag = ref.tag or "latest"
        full = f"{_docker_name(ref)}:{tag}"
        first = next(iter(readable.values()))
        docker = [
            {
                "Config": _blob_path(first.manifest.config.digest),
                "RepoTags": [f"{ref.name}:{tag}"],
                "Layers": [_blob_path(layer.digest) for layer in first.manifest.layers],
            }
        ]
        top = first.descriptor
        # A layer can be in an image twice, and in several images; its blob is there once.
        entries: dict[str, Entry] = {}
        for image in readable.values():
            path = _blob_path(image.descriptor.digest)
            entries |= {
                _blob_path(digest): Entry(path=_blob_path(digest), source=file)
                for digest, file in image.files
            }
            entries[path] = Entry(path=path, data=image.raw)
        if descriptor.media_type in INDEXES:
            raw = index_bytes(
                {platform: readable[each.digest].descriptor for platform, each in images.items()}
            )
            top = Descriptor.of(raw, INDEX)
            entries[_blob_path(top.digest)] = Entry(path=_blob_path(top.digest), data=raw)
        members = [
            *entries.values(),
            Entry(path="index.json", data=_index(top, {REF_NAME: tag, CONTAINERD_NAME: full})),
            Entry(path="manifest.json", data=canonical(docker)),
            Entry(path="oci-layout", data=LAYOUT),
        ]
        out_file.parent.mkdir(parents=True, exist_ok=True)
        tmp = stack.enter_context(
            tempfile.TemporaryDirectory(dir=out_file.parent, prefix=f".{out_file.name}.")
        )
        write_layer(members, Path(tmp) / "archive", "none")
        (Path(tmp) / "archive").replace(out_file)


@dataclass(frozen=True, kw_only=True)
class _Readable:
    """An image in a form that every Docker reads."""

    descriptor: Descriptor
    raw: bytes
    manifest: ImageManifest
    files: tuple[tuple[str, Path], ...]
    """Digests of config and layers, and where they are."""


def _image(store: Store, descriptor: Descriptor, stack: ExitStack) -> _Readable:
    manifest, config = read_image(store, descriptor)
    pairs = zip(manifest.layers, config.diff_ids, strict=True)
    layers = [stack.enter_context(_readable(store, layer, diff_id)) for layer, diff_id in pairs]
    stored = replace(
        manifest,
        config=replace(manifest.config, media_type=CONFIG),
        layers=tuple(layer for layer, _ in layers),
    )
    changed = [layer.digest for layer in stored.layers] != [layer.digest for layer in manifest.layers]
    raw = stored.to_bytes() if changed else store.read(descriptor.digest)
    return _Readable(
        descriptor=Descriptor.of(raw, MANIFEST if changed else descriptor.media_type),
        raw=raw,
        manifest=stored,
        files=(
            (stored.config.digest, _present(store, stored.config)),
            *((layer.digest, file) for layer, file in layers),
        ),
    )


def _images(store: Store, descriptor: Descriptor) -> dict[Platform, Descriptor]:
    """The image itself, or those of an index, in the order of their platforms' names."""
    if descriptor.media_type not in INDEXES:
        return {read_image(store, descriptor)[1].platform: descriptor}
    found = images_of(store.read(descriptor.digest))
    return {platform: found[platform] for platform in sorted(found, key=str)}


def _index(descriptor: Descriptor, annotations: dict[str, str]) -> bytes:
    named = replace(descriptor, annotations=tuple(sorted(annotations.items())))
    return canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named.to_json()]})


def _blob_path(digest: str) -> str:
    return "blobs/sha256/" + digest.removeprefix("sha256:")


def _present(store: Store, descriptor: Descriptor) -> Path:
    if not store.has(descriptor.digest, descriptor.size):
        msg = f"{descriptor.digest} is not on this machine"
        raise ImageNotFoundError(msg, hint="pull the whole image first")
    store.check(descriptor.digest)
    return store.blob(descriptor.digest)


@contextmanager
def _readable(store: Store, layer: Descriptor, diff_id: str) -> Iterator[tuple[Descriptor, Path]]:
    """The layer in a form that every Docker reads, and its file."""
    file = _present(store, layer)
    if compression_of(layer.media_type) != "zstd":
        yield replace(layer, media_type=oci_media_type(layer.media_type)), file
        return
    with store.scratch() as plain:
        hashing, size = hashlib.sha256(), 0
        with file.open("rb") as source, plain.open("wb") as out:
            for piece in decompressed(source, "zstd"):
                hashing.update(piece)
                out.write(piece)
                size += len(piece)
        if "sha256:" + hashing.hexdigest() != diff_id:
            msg = f"layer {layer.digest} is damaged: its content is not {diff_id}"
            raise BuildError(msg, hint="the image was made wrongly; build it again")
        yield replace(layer, media_type=LAYER, digest=diff_id, size=size), plain


def _docker_name(ref: ImageRef) -> str:
    """The name as containerd keeps it: with a registry, Docker Hub's when none is given."""
    if ref.registry:
        return ref.name
    return f"docker.io/{ref.repository}" if "/" in ref.repository else f"docker.io/library/{ref.repository}"
