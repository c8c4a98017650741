"""Images that servegen packaged earlier: found by name here or in a registry, tried out, run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from servegen.builders.bytecode import runs_here
from servegen.errors import ConfigError, ImageNotFoundError
from servegen.job import Job, platforms, registry, verify_options
from servegen.oci.descriptor import INDEXES, Descriptor
from servegen.oci.image import ImageConfig, assemble_index, images_of, read_image
from servegen.oci.registry import Registry
from servegen.oci.store import Store
from servegen.progress import Progress
from servegen.values.image import Image, ImageRef, Platform, StoredImage, Verified
from servegen.verify import Command, image_config, open_sandbox, verify


def find_image(text: str, job: Job, progress: Progress) -> Image:
    """An image that servegen packaged earlier.

    A job that pushes means a cluster, so the registry must have it; otherwise the local store will do.
    """
    ref = image_reference(text)
    top, descriptor = _found(ref, job, progress)
    # An index is what nodes of every platform can pull.
    return _image(ref.at(top), read_image(Store(job.store), descriptor)[1])


def image_reference(text: str) -> ImageRef:
    """The reference that `text` writes; ConfigError when it writes none."""
    try:
        return ImageRef.parse(text)
    except ValueError as exc:
        raise ConfigError(
            str(exc), hint="a model URI, or REGISTRY/REPOSITORY:TAG of a packaged image"
        ) from exc


def find_platform_image(text: str, job: Job, progress: Progress) -> Image:
    """As `find_image`, but of an index the image for one platform, by its own digest."""
    image = find_image(text, job, progress)
    return replace(image, ref=image.ref.at(_found(image.ref, job, progress)[1].digest))


def _found(ref: ImageRef, job: Job, progress: Progress) -> tuple[str, Descriptor]:
    """Digest of what `ref` names, and the image for one of the job's platforms that it is or lists."""
    store, wanted = Store(job.store), platforms(job.config)
    platform = next((each for each in wanted if runs_here(each)), wanted[0])
    named = None if job.push else _local(ref, store)
    if named is not None:
        if named.media_type not in INDEXES:
            return named.digest, named
        image = images_of(store.read(named.digest)).get(platform)
        if image and store.has(image.digest):
            return named.digest, image
    with registry(job, progress) as remote:
        top = _digest(ref, remote)
        return top, remote.pull(ref.at(top), platform, store, layers=False)


def joined(images: Sequence[StoredImage], name: str) -> StoredImage:
    """The image itself, or an index over several, under `name` in the store."""
    if len(images) == 1:
        return images[0]
    store = Store(images[0].store)
    index = assemble_index(
        store, {each.image.platform: store.manifest(str(each.image.ref.digest)) for each in images}
    )
    store.tag(name, index)
    first = images[0].image
    return StoredImage(image=replace(first, ref=first.ref.at(index.digest)), store=store.path)


def named_images(ref: ImageRef, job: Job, remote: Registry) -> tuple[str, dict[Platform, Descriptor]]:
    """Digest of what `ref` names, and all its images with manifest and config here, by platform."""
    store = Store(job.store)
    named = None if job.push else _local(ref, store)
    if named is not None and named.media_type not in INDEXES:
        return named.digest, {read_image(store, named)[1].platform: named}
    if named is not None:
        found = images_of(store.read(named.digest))
        if all(store.has(image.digest) for image in found.values()):
            return named.digest, found
    top = _digest(ref, remote)
    listed = remote.images(ref.at(top)) or dict.fromkeys(platforms(job.config))
    return top, {
        platform: remote.pull(ref.at(top), platform, store, layers=False)
        for platform in sorted(listed, key=str)
    }


def _digest(ref: ImageRef, remote: Registry) -> str:
    if not ref.registry:
        msg = f"{ref} is not in the local store and names no registry"
        raise ImageNotFoundError(msg, hint="servegen package makes it; or write REGISTRY/REPOSITORY:TAG")
    digest = remote.manifest_digest(ref)
    if digest is None:
        msg = f"{ref} is not in the registry"
        raise ImageNotFoundError(msg, hint="check name and tag; was it pushed?")
    return digest


def _local(ref: ImageRef, store: Store) -> Descriptor | None:
    if ref.digest:
        return store.manifest(ref.digest) if store.has(ref.digest) else None
    return store.resolve(str(ref if ref.tag else replace(ref, tag="latest")))


def verify_image(text: str, job: Job, progress: Progress) -> Verified:
    """What running a packaged image shows; its layers are pulled where they are not here."""
    stored = _whole(text, job, progress)
    options = verify_options(replace(job, refresh=True))
    return verify(stored, options, progress)


@contextlib.contextmanager
def running(
    text: str, port: int, means: str | None, job: Job, progress: Progress
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Program and environment that serve a packaged image on `port` of loopback; cleaned up at the end."""
    stored = _whole(text, job, progress)
    config = image_config(stored)
    # Nobody here has to be told that the server is leaving, so it need not wait before it stops.
    env = {**dict(config.env), "SERVEGEN_PORT": str(port), "SERVEGEN_DRAIN_DELAY": "0"}
    scratch, own = job.cache / "run", job.environment.variables
    with open_sandbox(
        stored, config, scratch=scratch, env=own, progress=progress, means=means, reuse=True
    ) as sandbox:
        if sandbox.means in ("namespace", "chroot"):
            env["SERVEGEN_HOST"] = "127.0.0.1"
            yield sandbox.argv(Command(program=config.entrypoint, env=env, network="host", port=port)), env
        else:
            command = Command(program=config.entrypoint, env=env, network="host", port=port)
            yield sandbox.argv(command), dict(own)


def _image(ref: ImageRef, config: ImageConfig) -> Image:
    image = Image(ref=ref, platform=config.platform, labels=config.labels)
    if image.label("pin") is None:
        msg = f"{ref} was not packaged by servegen: it has no dev.servegen.pin label"
        raise ConfigError(
            msg, hint="servegen package MODEL --tag … --push makes an image that can be deployed"
        )
    return replace(image, port=config.ports[0]) if config.ports else image


def _whole(text: str, job: Job, progress: Progress) -> StoredImage:
    image, store = find_platform_image(text, job, progress), Store(job.store)
    stored = StoredImage(image=image, store=job.store)
    layers = read_image(store, store.manifest(str(image.ref.digest)))[0].layers
    if any(not store.has(layer.digest, layer.size) for layer in layers):
        with registry(job, progress) as remote:
            remote.pull(image.ref, image.platform, store)
    return stored
