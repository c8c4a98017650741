"""The registry as a cache: layers of the image under a tag, found by the keys in their annotations."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection, Iterable

from servegen.errors import ImageNotFoundError, RegistryError
from servegen.oci.compress import compression_of, decompressed
from servegen.oci.image import Layer, layers_of, read_image
from servegen.oci.registry import Registry
from servegen.oci.store import Store
from servegen.oci.tar import LayerBlob
from servegen.progress import Progress
from servegen.values.image import ImageRef, Platform


class KnownLayers:
    """What a repository has already; nothing is asked of it before the first key is looked up."""

    def __init__(
        self,
        refs: Iterable[ImageRef],
        platform: Platform,
        registry: Registry | None,
        store: Store,
        progress: Progress,
    ) -> None:
        self._refs = tuple(refs) if registry else ()
        self._platform = platform
        self._registry = registry
        self._store = store
        self._progress = progress
        self._layers: dict[str, tuple[ImageRef, Layer]] | None = None
        self._lock = threading.Lock()

    @classmethod
    def none(cls, store: Store, progress: Progress) -> KnownLayers:
        """No registry: only the store knows layers."""
        return cls((), Platform(os="linux", architecture="amd64"), None, store, progress)

    def find(self, key: str) -> LayerBlob | None:
        """The layer that `key` made: from the store, else as the registry has it, without its content."""
        return self._store.layer(key) or self._remote(key)

    def fetch(self, keys: Collection[str]) -> None:
        """Brings layers that only the registry has into the store; digest and diffID are checked."""
        absent = [key for key in dict.fromkeys(keys) if self._store.layer(key) is None]
        found = self._found()
        wanted = [(key, *found[key]) for key in absent if key in found]
        if not wanted or self._registry is None:
            return
        size = sum(layer.blob.size for _, _, layer in wanted) / 1e6
        self._progress.step(f"fetching {len(wanted)} known layers ({size:.1f} MB) from the registry")
        for key, ref, layer in wanted:
            self._registry.fetch_blob(ref, layer.descriptor(), self._store)
            self._check(layer.blob)
            self._store.record_layer(key, layer.blob)

    def _remote(self, key: str) -> LayerBlob | None:
        found = self._found().get(key)
        return found[1].blob if found else None

    def _found(self) -> dict[str, tuple[ImageRef, Layer]]:
        with self._lock:
            if self._layers is None:
                self._layers = self._ask()
            return self._layers

    def _ask(self) -> dict[str, tuple[ImageRef, Layer]]:
        for ref in self._refs:
            try:
                assert self._registry is not None  # noqa: S101 (without one there are no references)
                descriptor = self._registry.pull(ref, self._platform, self._store, layers=False)
                layers = layers_of(*read_image(self._store, descriptor))
            except ImageNotFoundError:
                continue
            except RegistryError as exc:
                # A damaged image, or a login that may only write, is no reason not to make a whole one.
                self._progress.warn(f"no layers are taken over from {ref}: {exc}")
                continue
            known = {layer.key: (ref, layer) for layer in layers if layer.key}
            if known:
                return known
        return {}

    def _check(self, blob: LayerBlob) -> None:
        hashing = hashlib.sha256()
        with self._store.blob(blob.digest).open("rb") as file:
            for piece in decompressed(file, compression_of(blob.media_type)):
                hashing.update(piece)
        if "sha256:" + hashing.hexdigest() != blob.diff_id:
            msg = f"layer {blob.digest} of the registry holds something else than its image says"
            raise RegistryError(msg, hint="--no-registry-cache builds everything here")
