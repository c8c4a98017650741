"""IMAGE → the same image on the current base: only base layers are made, all others are taken over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from servegen.attest import attest_rebased, is_signed
from servegen.builders.bases import prepare
from servegen.builders.bytecode import runs_here
from servegen.builders.closure import missing_packages, read_layer, recalled
from servegen.errors import BuildError, ConfigError
from servegen.images import image_reference, joined, named_images
from servegen.job import Job, registry, sign_key, wanted_documents
from servegen.lockers import read_lock, write_lock
from servegen.locking import base_options
from servegen.oci.descriptor import Descriptor
from servegen.oci.image import ImageConfig, Layer, assemble, layers_of, read_image
from servegen.oci.known import KnownLayers
from servegen.oci.registry import Registry
from servegen.oci.store import Store
from servegen.pipeline import closure_options, publish_documents, push, try_out
from servegen.planning.rebase import base_spec, check_swap, extra_packages, is_on, swapped_env, swapped_labels
from servegen.progress import Progress
from servegen.values.image import LABEL, Base, Image, ImageRef, Platform, StoredImage


def rebase(text: str, spec: str | None, tag: str | None, job: Job, progress: Progress) -> StoredImage:
    """The packaged image `text` on the base `spec`, by default the newest of the one it has.

    An index is rebased image by image. Raises BaseImageError for a base that its wheels could not run on.
    """
    source, target = image_reference(text), image_reference(tag or text)
    if tag is None and source.digest:
        msg = f"{text} names a digest, under which another image cannot be kept"
        raise ConfigError(msg, hint="--tag REGISTRY/REPOSITORY:TAG")
    target = replace(target, tag=target.tag or source.tag or "latest", digest=None)
    wanted, key = wanted_documents(job), sign_key(job)
    with registry(job, progress) as remote:
        top, images = named_images(source, job, remote)
        if key is not None and source.registry and not is_signed(source, top, key, remote):
            progress.warn(f"{text} is not signed with this key: what it holds is signed as it is")
        swaps = [
            _Work(
                job=replace(job, config=replace(job.config, platform=str(platform))),
                source=source.at(top),
                target=target,
                remote=remote,
                progress=progress,
            ).swap(descriptor, platform, spec)
            for platform, descriptor in images.items()
        ]
        made = [swap.stored for swap in swaps]
        stored = joined(made, str(target))
        for image in made:
            try_out(job, image, progress)
        options = {"base": spec} if spec else {}
        lacking = [
            str(swap.old.ref)
            for swap in swaps
            if not attest_rebased(
                swap.stored, swap.old, swap.base, replace(wanted, parameters=options), remote
            )
        ]
        if lacking:
            progress.warn(f"{', '.join(lacking)} has no SBOM, so the image on the new base gets none")
        _follow(job, top, {str(swap.old.platform): swap.base for swap in swaps}, stored)
        if job.push:
            push(stored, remote, progress, mount_from=source)
            publish_documents(made, stored, wanted.types, key, remote, progress)
    return stored


@dataclass(frozen=True, kw_only=True)
class _Swap:
    """The image for one platform, before and after."""

    old: Image
    stored: StoredImage
    base: Mapping[str, object]
    """What a lock keeps of the new base."""


@dataclass(frozen=True, kw_only=True)
class _Work:
    """The image for one platform."""

    job: Job
    source: ImageRef
    """With the digest of what was named: the image or its index."""
    target: ImageRef
    remote: Registry
    progress: Progress

    def swap(self, descriptor: Descriptor, platform: Platform, spec: str | None) -> _Swap:
        """The image on its new base in the store."""
        store = Store(self.job.store)
        manifest, config = read_image(store, descriptor)
        labels = dict(config.labels)
        if f"{LABEL}pin" not in labels:
            msg = f"{self.source} was not packaged by servegen: it has no {LABEL}pin label"
            raise ConfigError(msg, hint="servegen package MODEL --base REF makes one")
        layers = layers_of(manifest, config)
        if not any(layer.key for layer in layers):
            msg = f"{self.source} was built by a container engine, so its base cannot be told from the rest"
            hint = "servegen package builds it anew; what --builder embedded builds can be rebased later"
            raise ConfigError(msg, hint=hint)
        old = Image(ref=self.source.at(descriptor.digest), platform=platform, labels=config.labels)
        known = KnownLayers([self.source], platform, self.remote, store, self.progress)
        if not self.source.registry:
            known = KnownLayers.none(store, self.progress)
        spec, python = spec or base_spec(labels), labels.get(f"{LABEL}python", "")
        found = tuple(sorted({*extra_packages(labels)} - {*self.job.config.apt})) if spec == "debian" else ()
        while True:
            options = base_options(self.job, platform, python, self.remote, known, found)
            base, locked = prepare(spec, {}, options, self.progress)
            check_swap(labels, config.entrypoint, base)
            if is_on(labels, base):
                self.progress.step(f"{platform} is on the newest {base.name} already")
                ref = self.target.at(descriptor.digest)
                self._bring(layers, platform, store)
                store.tag(str(self.target), descriptor)
                return _Swap(old=old, stored=self._stored(ref, config, store), base=locked)
            kept = [each for each in layers if each.name.partition(":")[0] != "base"]
            self._bring(kept, platform, store)
            more = self._missing(kept, base, platform, known)
            if not more:
                stored = self._assembled(config, labels, base, kept, known, store)
                return _Swap(old=old, stored=stored, base=locked)
            found = tuple(sorted({*found, *more}))

    def _missing(
        self, kept: Sequence[Layer], base: Base, platform: Platform, known: KnownLayers
    ) -> tuple[str, ...]:
        """Debian packages that the wheels need of the new base, as far as their layers are here."""
        store = Store(self.job.store)
        wheels = {each.key: each.blob for each in kept if each.key and each.name.startswith("dep")}
        for key, blob in wheels.items():
            if recalled(store, key) is None and store.has(blob.digest, blob.size):
                read_layer(store, key, blob)
        return missing_packages([*wheels], base, platform, closure_options(self.job, known), self.progress)

    def _bring(self, layers: Sequence[Layer], platform: Platform, store: Store) -> None:
        """Fetch layers where they are needed here: to run the image, or to keep or send it elsewhere."""
        runs = self.job.verify and runs_here(platform)
        if self.job.push and self.target.registry == self.source.registry and not runs:
            return
        absent = [each.blob for each in layers if not store.has(each.blob.digest, each.blob.size)]
        if not absent:
            return
        size = sum(blob.size for blob in absent) / 1e6
        self.progress.step(f"fetching {len(absent)} layers ({size:.1f} MB)")
        for blob in absent:
            found = Descriptor(media_type=blob.media_type, digest=blob.digest, size=blob.size)
            self.remote.fetch_blob(self.source, found, store)

    def _assembled(
        self,
        config: ImageConfig,
        labels: Mapping[str, str],
        base: Base,
        kept: Sequence[Layer],
        known: KnownLayers,
        store: Store,
    ) -> StoredImage:
        layers = []
        for key in base.layers:
            blob = known.find(key)
            if blob is None:
                msg = f"the layers of the base {base.name} are not in the store"
                raise BuildError(msg, hint="run the command again; the cache was cleaned meanwhile")
            layers.append(Layer(blob=blob, name="base", key=key))
        swapped = replace(
            config,
            env=swapped_env(config.env, labels.get(f"{LABEL}runtime", "bentoml"), base),
            labels=swapped_labels(labels, base),
        )
        descriptor = assemble(store, swapped, [*layers, *kept])
        store.tag(str(self.target), descriptor)
        return self._stored(self.target.at(descriptor.digest), swapped, store)

    @staticmethod
    def _stored(ref: ImageRef, config: ImageConfig, store: Store) -> StoredImage:
        image = Image(ref=ref, platform=config.platform, labels=config.labels)
        return StoredImage(image=image, store=store.path)


def _follow(job: Job, digest: str, bases: Mapping[str, Mapping[str, object]], stored: StoredImage) -> None:
    """Let servegen.lock name the new base, when it is the lock of the image that was on the old one."""
    locked = read_lock(job.lock_file) if job.lock_file else None
    if not job.lock_file or not locked or locked.image != digest:
        return
    swapped = [
        replace(each, base=tuple(bases.get(each.environment.platform, dict(each.base)).items()))
        for each in locked.platforms
    ]
    write_lock(job.lock_file, replace(locked, platforms=tuple(swapped), image=stored.image.ref.digest))
