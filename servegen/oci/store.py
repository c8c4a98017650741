"""A content store on this machine: an OCI image layout, plus a record of which key made which layer."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import cast

from servegen.errors import BuildError, ImageNotFoundError, RegistryError
from servegen.oci.descriptor import (
    INDEX,
    INDEXES,
    JSON,
    MANIFEST,
    Descriptor,
    canonical,
    checked_digest,
    digest_of,
    parse_object,
)
from servegen.oci.tar import LayerBlob
from servegen.scratch import scratch_folder

REF_NAME = "org.opencontainers.image.ref.name"
LAYOUT = canonical({"imageLayoutVersion": "1.0.0"})
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,200}")
_PIECE = 1 << 20


class Store:
    """Blobs by digest, images by reference and layers by key; processes may share one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._blobs = path / "blobs" / "sha256"
        self._layers = path / "layers"
        self._tmp = path / "tmp"
        # Cached layers may hold a model: nobody else on the machine needs to read them.
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self._blobs, self._layers, self._tmp):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (path / "oci-layout").exists():
            self._write(path / "oci-layout", LAYOUT)

    def blob(self, digest: str) -> Path:
        """Where the blob is, or would be."""
        return self._blobs / checked_digest(digest).removeprefix("sha256:")

    def has(self, digest: str, size: int | None = None) -> bool:
        """Whether the blob is here, with this size when one is given."""
        try:
            found = self.blob(digest).stat().st_size
        except FileNotFoundError:
            return False
        return size is None or size == found

    def read(self, digest: str) -> bytes:
        """A small blob; it is hashed again, and one that was changed on disk is refused."""
        try:
            data = self.blob(digest).read_bytes()
        except FileNotFoundError as exc:
            msg = f"{digest} is not in the store {self.path}"
            raise ImageNotFoundError(msg, hint="pull or build the image again") from exc
        if digest_of(data) != digest:
            raise self._damaged(digest)
        return data

    def check(self, digest: str) -> None:
        """Hash the blob again; BuildError for one that was changed on disk, which is then removed."""
        hashing = hashlib.sha256()
        with self.blob(digest).open("rb") as file:
            while piece := file.read(_PIECE):
                hashing.update(piece)
        if "sha256:" + hashing.hexdigest() != digest:
            raise self._damaged(digest)

    def _damaged(self, digest: str) -> BuildError:
        # A cache must not stand in the way of making again what it holds.
        self.blob(digest).unlink(missing_ok=True)
        return BuildError(
            f"{digest} was damaged in the cache {self.path} and has been removed from it",
            hint="run the command again: it is built or pulled anew",
        )

    def add_bytes(self, data: bytes) -> str:
        """Stores `data` and returns its digest."""
        digest = digest_of(data)
        if not self.has(digest, len(data)):
            self._write(self.blob(digest), data)
        return digest

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A file in the store to write a blob to before `commit`; removed when it was not committed."""
        with scratch_folder(self._tmp, "") as folder:
            path = folder / "blob"
            path.touch(mode=0o600)
            yield path

    def commit(self, tmp: Path, digest: str) -> Path:
        """Makes the file that `scratch` gave the blob `digest`; the caller hashed it while writing."""
        path = self.blob(digest)
        tmp.replace(path)
        return path

    def tag(self, ref_text: str, descriptor: Descriptor) -> None:
        """Makes `ref_text` name this image, and no other."""
        with self._locked():
            kept = [old for old in self._index() if old.annotation(REF_NAME) != ref_text]
            named = {
                **descriptor.to_json(),
                "annotations": {**dict(descriptor.annotations), REF_NAME: ref_text},
            }
            images = [*(old.to_json() for old in kept), named]
            images.sort(key=canonical)
            index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": images}
            self._write(self.path / "index.json", canonical(index))

    def resolve(self, ref_text: str) -> Descriptor | None:
        """The image that `ref_text` was last given to, None when there is none."""
        for found in self._index():
            if found.annotation(REF_NAME) == ref_text:
                rest = tuple(pair for pair in found.annotations if pair[0] != REF_NAME)
                return Descriptor(
                    media_type=found.media_type, digest=found.digest, size=found.size, annotations=rest
                )
        return None

    def manifest(self, digest: str) -> Descriptor:
        """The descriptor of an image manifest or index that is here; raises ImageNotFoundError for others."""
        data = self.read(digest)
        told = parse_object(data, "the image manifest").get("mediaType")
        return Descriptor(
            media_type=str(told) if told in INDEXES else MANIFEST, digest=digest, size=len(data)
        )

    def record_layer(self, key: str, layer: LayerBlob) -> None:
        """Remembers that `key` made `layer`."""
        self._write(self._record(key), canonical(asdict(layer)))

    def layer(self, key: str) -> LayerBlob | None:
        """The layer that `key` made, None when it was never made or its blob is gone or cut short."""
        try:
            fields = cast("dict[str, object]", json.loads(self._record(key).read_bytes()))
            layer = LayerBlob(
                digest=str(fields["digest"]),
                diff_id=str(fields["diff_id"]),
                size=int(str(fields["size"])),
                media_type=str(fields["media_type"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            # A cache entry that cannot be read is one that does not exist: the layer is built again.
            return None
        return layer if self.has(layer.digest, layer.size) else None

    @contextmanager
    def build_lock(self, key: str) -> Iterator[None]:
        """Held while the layer of `key` is built, so that two processes do not build it both."""
        with self._flock(self._record(key).with_suffix(".lock")):
            yield

    def _record(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            msg = f"{key!r} cannot be a layer key"
            raise BuildError(msg, hint="use letters, digits, '.', ':', '_' and '-'")
        return self._layers / (key.replace(":", "-") + ".json")

    def _index(self) -> list[Descriptor]:
        try:
            data = (self.path / "index.json").read_bytes()
        except FileNotFoundError:
            return []
        try:
            index: JSON = parse_object(data, f"{self.path / 'index.json'}")
            found = index.get("manifests")
            return [Descriptor.from_json(each) for each in found] if isinstance(found, list) else []
        except RegistryError as exc:
            msg = f"{self.path / 'index.json'} is damaged, so names of images are lost"
            raise BuildError(msg, hint="delete it, then package or pull the image again") from exc

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._flock(self.path / "index.lock"):
            yield

    @contextmanager
    def _flock(self, path: Path) -> Iterator[None]:
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write(self, path: Path, data: bytes) -> None:
        """Replaces `path` at once; a reader sees the old or the new content, never a part."""
        with self.scratch() as tmp:
            tmp.write_bytes(data)
            tmp.replace(path)
