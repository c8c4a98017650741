"""The registry client: resolve, pull and push images of any registry."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

from servegen.errors import ImageNotFoundError, RegistryAuthError, RegistryError
from servegen.oci.auth import DOCKER_HUB
from servegen.oci.descriptor import INDEXES, JSON, MANIFESTS, Descriptor, parse_object
from servegen.oci.image import ImageConfig, ImageManifest, images_of, names_of, shown
from servegen.oci.push import THREADS, Pusher
from servegen.oci.repository import Repository
from servegen.oci.store import Store
from servegen.oci.transport import RegistryOptions, Transport
from servegen.oci.workers import Approval, Jobs
from servegen.progress import Progress
from servegen.values.image import ImageRef, Platform

__all__ = ["Registry", "RegistryOptions"]


class Registry:
    """Any number of registries behind one set of options; close it, or use it as a context manager."""

    def __init__(self, options: RegistryOptions, progress: Progress) -> None:
        self._options = options
        self._progress = progress
        self._transports: dict[str, Transport] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes idle connections."""
        for transport in self._transports.values():
            transport.close()

    def resolve(self, ref: ImageRef, platform: Platform) -> Descriptor:
        """The image that `ref` names for `platform`; an index is looked into, its digest is checked."""
        return self._image(ref, platform)[0]

    def manifest_digest(self, ref: ImageRef) -> str | None:
        """The digest that the registry has under the tag (or digest) of `ref`, None when it has none."""
        return self._repository(ref).digest(_reference(ref))

    def images(self, ref: ImageRef) -> dict[Platform, Descriptor]:
        """The images that the index under `ref` lists; empty when it is an image itself."""
        found = self._repository(ref).manifest(_reference(ref))
        if found is None:
            raise _not_found(ref)
        return images_of(found[1]) if found[0].media_type in INDEXES else {}

    def pull(self, ref: ImageRef, platform: Platform, store: Store, *, layers: bool = True) -> Descriptor:
        """Brings the image into the store: image manifest, config and, unless told not to, all layers."""
        repository = self._repository(ref)
        descriptor, data = self._image(ref, platform)
        if data is None:
            found = repository.manifest(descriptor.digest)
            if found is None:
                raise _not_found(ref)
            descriptor, data = found
        manifest = ImageManifest.from_bytes(data)
        config = repository.fetch(manifest.config, store, lambda _: None).read_bytes()
        built_for = ImageConfig.from_bytes(config).platform
        if built_for != platform:
            msg = f"{ref} is built for {built_for}, not for {platform}"
            raise ImageNotFoundError(msg, hint=f"choose another tag, or --platform {built_for}")
        if layers:
            self._fetch_all(repository, manifest.layers, store, f"pull {ref}")
        # Last, so that a manifest in the store means that the pull came to its end.
        store.add_bytes(data)
        return descriptor

    def fetch_blob(self, ref: ImageRef, descriptor: Descriptor, store: Store) -> Path:
        """Brings one blob of the repository of `ref` into the store; size and digest are checked."""
        counted = self._of_blob(shown(descriptor), descriptor.size, lambda _: None)
        return self._repository(ref).fetch(descriptor, store, counted)

    def push(
        self,
        store: Store,
        descriptor: Descriptor,
        ref: ImageRef,
        mount_from: ImageRef | None = None,
        approval: Approval | None = None,
    ) -> str:
        """Makes the image (or index) in the store available as `ref`, and returns its digest.

        Only what the registry lacks is sent, and the tag is moved last: when a push fails, the tag still
        names what it named before. `mount_from` is a repository whose blobs the registry may link here.
        With an `approval` no manifest is sent before that is given.
        """
        source = _repository_name(mount_from) if mount_from and mount_from.registry == ref.registry else None
        if source and source != _repository_name(ref):
            repository = self._repository(ref, action="pull,push", mount_from=source)
            try:
                return Pusher(repository, store, self._progress, approval=approval).push(descriptor, ref.tag)
            except RegistryAuthError:
                # One token has to cover both repositories; without the source it may be had.
                self._progress.step(f"no rights to link blobs of {source}; sending them")
        repository = self._repository(ref, action="pull,push")
        return Pusher(repository, store, self._progress, approval=approval).push(descriptor, ref.tag)

    def repository(self, ref: ImageRef, *, write: bool = False) -> Repository:
        """The repository of `ref`, for what goes beyond images; asks for no right to write unless told."""
        return self._repository(ref, action="pull,push" if write else "pull")

    def _repository(
        self, ref: ImageRef, *, action: str = "pull", mount_from: str | None = None
    ) -> Repository:
        if not ref.registry:
            msg = f"{ref} names no registry"
            raise RegistryError(msg, hint=f"write HOST/{ref}; Docker Hub is {DOCKER_HUB}/library/{ref}")
        with self._lock:
            transport = self._transports.get(ref.registry)
            if transport is None:
                transport = Transport(ref.registry, self._options, self._progress)
                self._transports[ref.registry] = transport
        return Repository(transport, _repository_name(ref), action=action, mount_from=mount_from)

    def _image(self, ref: ImageRef, platform: Platform) -> tuple[Descriptor, bytes | None]:
        """The image's descriptor, and its manifest when that was read on the way."""
        found = self._repository(ref).manifest(_reference(ref))
        if found is None:
            raise _not_found(ref)
        descriptor, data = found
        if descriptor.media_type in INDEXES:
            return _choose(ref, data, platform), None
        if descriptor.media_type not in MANIFESTS:
            msg = f"{ref} is of type {descriptor.media_type or 'unknown'}, not an image"
            raise RegistryError(msg, hint="images in a format from before 2016 must be pushed again")
        return descriptor, data

    def _fetch_all(
        self, repository: Repository, layers: tuple[Descriptor, ...], store: Store, task: str
    ) -> None:
        wanted = {layer.digest: layer for layer in layers if not store.has(layer.digest, layer.size)}
        jobs = Jobs(THREADS)
        counted = self._counter(task, sum(layer.size for layer in wanted.values()), jobs)
        biggest_first = sorted(wanted.values(), key=lambda layer: -layer.size)
        names = names_of(layers)
        jobs.run(
            partial(repository.fetch, layer, store, self._of_blob(names[layer.digest], layer.size, counted))
            for layer in biggest_first
        )

    def _of_blob(self, name: str, total: int, counted: Callable[[int], None]) -> Callable[[int], None]:
        """Tells how much of the blob is here, beside what `counted` does."""
        done = 0

        def both(size: int) -> None:
            nonlocal done
            done += size
            counted(size)
            self._progress.bytes(f"download {name}", done, total)

        return both

    def _counter(self, task: str, total: int, jobs: Jobs) -> Callable[[int], None]:
        done, lock = 0, threading.Lock()

        def counted(size: int) -> None:
            nonlocal done
            jobs.checkpoint()
            with lock:
                done += size
                self._progress.bytes(task, done, total)

        return counted


def _reference(ref: ImageRef) -> str:
    return ref.digest or ref.tag or "latest"


def _repository_name(ref: ImageRef) -> str:
    if ref.registry == DOCKER_HUB and "/" not in ref.repository:
        return f"library/{ref.repository}"
    return ref.repository


def _not_found(ref: ImageRef) -> ImageNotFoundError:
    return ImageNotFoundError(f"{ref} is not in the registry", hint="check name and tag; was it pushed?")


def _choose(ref: ImageRef, index: bytes, platform: Platform) -> Descriptor:
    manifests = parse_object(index, f"the image index of {ref}").get("manifests")
    offered = []
    for each in manifests if isinstance(manifests, list) else []:
        of = cast("JSON", each.get("platform") or {}) if isinstance(each, dict) else {}
        name = f"{of.get('os')}/{of.get('architecture')}"
        if name == str(platform):
            return Descriptor.from_json(each)
        if of.get("os") != "unknown":  # what build tools mark attestations with
            offered.append(name)
    msg = f"{ref} has no image for {platform} (only {', '.join(sorted(set(offered))) or 'none'})"
    raise ImageNotFoundError(msg, hint="choose another tag or another --platform")
