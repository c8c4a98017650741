"""resolve → lock → base → plan → build → verify → push → render → deliver: the stages in order.

Read this file first. Each stage takes a value and returns a value, or raises; the rest is in the stages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from servegen.attest import attest, publish, sign
from servegen.builders import BuildInputs, builder
from servegen.builders.bytecode import Compiler, runs_here
from servegen.builders.closure import ClosureOptions, missing_packages
from servegen.builders.code import server_files
from servegen.conversion import accelerated, advice
from servegen.errors import ConfigError, SignatureError
from servegen.images import find_image, joined
from servegen.job import (
    Job,
    check_push,
    compression,
    indexes,
    lock_path,
    reference,
    registry,
    runtime,
    sign_key,
    verify_options,
    wanted_documents,
)
from servegen.lockers import read_lock, write_lock
from servegen.locking import Part, lock_all, lock_environment
from servegen.oci.compress import compressor_id
from servegen.oci.image import layers_of, read_image
from servegen.oci.known import KnownLayers
from servegen.oci.registry import Registry
from servegen.oci.store import Store
from servegen.oci.workers import Approval
from servegen.planning.deployment import draft
from servegen.planning.deployment import plan as plan_deployment
from servegen.planning.image import plan, portable
from servegen.planning.serving import variables
from servegen.progress import Progress
from servegen.renderers import Renderer, renderer
from servegen.sources import StoreOptions, resolve
from servegen.targets import Target
from servegen.values.bundle import Bundle
from servegen.values.delivery import Delivery
from servegen.values.deployment import Deployment, Settings
from servegen.values.image import Base, Image, ImageRef, Platform, StoredImage, Verified
from servegen.values.lock import EnvironmentLock, PlatformLock
from servegen.values.model import Model
from servegen.verify import verify

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """An image, and how it did when it was run; None when it was not run."""

    stored: StoredImage
    verified: Verified | None
    pushed: bool


def package(job: Job, progress: Progress) -> Packaged:
    """Model URI → tested image, or an index over one for each platform; pushed when the job says so."""
    # Asked for here too, so that a name nobody knows or an engine that is down costs nothing.
    builder(job.config.builder).check(job.environment.variables, progress)
    if job.push:
        check_push(job)
    key, unasked = sign_key(job), job.config.accelerate == "off"
    job, model = accelerated(job, resolve_model(job, progress), progress)
    wanted = wanted_documents(job)
    with registry(job, progress) as remote:
        if job.push:
            # A registry that does not answer or wants a login is known before minutes of work.
            remote.manifest_digest(reference(job.config, model.pin))
        built = build_all(job, model, remote, progress)
        stored = joined([image for image, _ in built], str(reference(job.config, model.pin)))
        # While the image is tried out, its blobs are sent; it gets its name only when it is found good.
        with ThreadPoolExecutor(max_workers=2) as beside, Approval() as approval:
            waiting: list[Future[None]] = []
            if job.push:
                base = base_repository(job.config.base)
                waiting.append(beside.submit(push, stored, remote, progress, base, approval))
            waiting += [beside.submit(attest, image, locked, wanted) for image, locked in built]
            verified = [try_out(job, image, progress) for image, _ in built]
            is_new = _record(lock_path(job, model), stored)
            approval.give()
            for each in waiting:
                each.result()
        if job.push:
            publish_documents([image for image, _ in built], stored, wanted.types, key, remote, progress)
    if unasked and is_new and (words := advice(model)):
        progress.step(words)
    return Packaged(stored=stored, verified=next((each for each in verified if each), None), pushed=job.push)


def build_all(
    job: Job, model: Model, remote: Registry, progress: Progress
) -> list[tuple[StoredImage, PlatformLock]]:
    """An image for each platform of the job, with all libraries that it needs, and what it is made of."""
    make, parts = builder(job.config.builder).build, lock_all(job, model, remote, progress)
    # Last the one for this machine, as a container engine keeps only the last image of a name.
    parts.sort(key=lambda part: runs_here(part.platform))
    images = []
    for part in parts:
        if len(parts) > 1:
            progress.step(f"building for {part.platform}")
        stored, locked = build(part, parts, model, remote, make, progress)
        stored = replace(stored, image=replace(stored.image, asked=portable(model.pin.uri)))
        if job.whole or (job.verify and runs_here(part.platform)):
            image = read_image(Store(job.store), Store(job.store).manifest(str(stored.image.ref.digest)))
            part.known.fetch([layer.key for layer in layers_of(*image) if layer.key])
        images.append((stored, locked))
    return sorted(images, key=lambda image: str(image[0].image.platform))


def build(
    part: Part,
    parts: Sequence[Part],
    model: Model,
    remote: Registry,
    make: Callable[[BuildInputs, Progress], Made],
    progress: Progress,
) -> tuple[Made, PlatformLock]:
    """What `make` makes for one of the `parts`; anew with a larger base as long as wheels need more of it."""
    locked, base = part.locked, part.base
    bases = {each.platform: each.base for each in parts}
    while True:
        inputs = build_inputs(part, model, locked.environment, base, bases, progress)
        made = make(inputs, progress)
        keys = [layer.key for layer in inputs.plan.layers if layer.packages]
        packages = missing_packages(
            keys, base, part.platform, closure_options(part.job, part.known), progress
        )
        if not packages:
            return made, locked
        progress.step(f"adding {', '.join(packages)} to the base: wheels need what is in it")
        locked, base = lock_environment(part.job, model, remote, part.known, progress, packages)


def resolve_model(job: Job, progress: Progress) -> Model:
    """The model that the job names, pinned and on this machine."""
    config = job.config
    if config.model is None:
        msg = "no model is named"
        raise ConfigError(msg, hint="servegen package models:/NAME@ALIAS, or `model:` in servegen.yaml")
    options = StoreOptions(
        tracking_uri=job.tracking_uri,
        registry_uri=config.registry_uri or job.environment.registry_uri,
        cache=job.cache,
        python=config.python,
        refresh=job.refresh,
    )
    model = resolve(config.model, options, progress)
    if not config.uv_lock:
        model = replace(model, uv_lock=False)
    if model.signature is None and not config.allow_no_signature:
        msg = f"model {model.pin.uri} has no signature, so its requests cannot be checked"
        raise SignatureError(
            msg, hint="log it with signature=infer_signature(inputs, outputs), or --allow-no-signature"
        )
    return model


def build_inputs(
    part: Part,
    model: Model,
    environment: EnvironmentLock,
    base: Base,
    bases: Mapping[Platform, Base],
    progress: Progress,
) -> BuildInputs:
    """The plan of the image, and what it refers to; `bases` are those of all its platforms."""
    job, code = part.job, server_files()
    compiler = Compiler.choose(base, part.platform, bases, job.environment.variables.get("PATH"), progress)
    if compiler is None:
        progress.warn(f"no bytecode in the image for {part.platform}: there is no Python {base.python} here")
    settings = variables(job.config.serving)
    return BuildInputs(
        plan=plan(
            model,
            environment,
            base,
            runtime(job.config),
            code,
            compressor_id(compression(job.config)),
            settings,
            keep_tests=job.config.keep_tests,
            bytecode=compiler.build if compiler else "none",
        ),
        model=model,
        lock=environment,
        base=base,
        code=code,
        reference=str(reference(job.config, model.pin)),
        indexes=indexes(job, model),
        store=job.store,
        scratch=job.cache / "rootfs",
        known=part.known,
        compiler=compiler,
        compression=compression(job.config),
    )


def try_out(job: Job, stored: StoredImage, progress: Progress) -> Verified | None:
    """Run the image and compare its answer with the model's; None when the job says not to."""
    if not job.verify:
        progress.warn("the image was not run (--no-verify): nobody knows whether it answers")
        return None
    if not runs_here(stored.image.platform):
        progress.warn(
            f"the image for {stored.image.platform} cannot be run here: only its libraries are checked"
        )
        return None
    verified = verify(stored, verify_options(job), progress)
    if not verified.replayed:
        progress.warn(
            "the model was logged without an input example: the image starts, its answers are unchecked"
        )
    return verified


def push(
    stored: StoredImage,
    remote: Registry,
    progress: Progress,
    mount_from: ImageRef | None = None,
    approval: Approval | None = None,
) -> None:
    """Make the image available in the registry its reference names; the tag moves last.

    `mount_from` is a repository that has most of its layers; no manifest is sent before an `approval`.
    """
    ref = stored.image.ref
    if remote.manifest_digest(replace(ref, digest=None)) == ref.digest:
        return
    progress.step(f"pushing {replace(ref, digest=None)}")
    store = Store(stored.store)
    remote.push(store, store.manifest(str(ref.digest)), replace(ref, digest=None), mount_from, approval)


def base_repository(spec: str) -> ImageRef | None:
    """Where a registry base is from; None for the built-in one, which is made here."""
    return None if spec == "debian" else ImageRef.parse(spec)


def publish_documents(
    images: Sequence[StoredImage],
    whole: StoredImage,
    types: frozenset[str],
    key: EllipticCurvePrivateKey | None,
    remote: Registry,
    progress: Progress,
) -> None:
    """Attach the documents of pushed images and sign all with `key`, also the index `whole` over several."""
    for image in images:
        publish(image, types, key, remote, progress)
    if key is not None and len(images) > 1:
        sign(whole.image.ref, [str(whole.image.ref.digest)], key, remote, Store(whole.store), progress)


def image_of(text: str | None, job: Job, progress: Progress) -> Image:
    """The packaged image that `text` names; without one, the job's model, packaged when it is not yet.

    Where the job names an image and no model, it is that image.
    """
    named = text if text is not None or job.config.model is not None else job.config.image
    if named is not None:
        return find_image(named, job, progress)
    return package(job, progress).stored.image


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A deployment, ready to be written in one format."""

    deployment: Deployment
    renderer: Renderer

    def stream(self) -> str:
        """All of it as one text."""
        return self.renderer.stream(self.deployment)

    def bundle(self) -> Bundle:
        """All of it as files."""
        return self.renderer.render(self.deployment)


def rehearse(job: Job, format_name: str) -> Rendered:
    """What `render` gives, with a stand-in for the image: fails for all that has nothing to do with it."""
    writer = renderer(format_name)
    shared = job.shared if writer.layered else None
    return Rendered(deployment=draft(job.config.deploy, shared), renderer=writer)


def render(image: Image, job: Job, format_name: str) -> Rendered:
    """The objects of `image` in the wanted format."""
    writer = renderer(format_name)
    shared = job.shared if writer.layered else None
    return Rendered(deployment=plan_deployment(image, job.config.deploy, shared), renderer=writer)


def deploy(text: str | None, place: Target, job: Job, progress: Progress) -> Delivery:
    """Image or model → what answers, or is committed, at `place`."""
    return place.deliver(_intent(text, place, job, progress), progress=progress)


def difference(text: str | None, place: Target, job: Job, progress: Progress) -> str:
    """What `deploy` would change there, as a unified diff."""
    return place.diff(_intent(text, place, job, progress))


def _intent(text: str | None, place: Target, job: Job, progress: Progress) -> Deployment:
    settings = ready(place, job)
    image = image_of(text, job, progress)
    return plan_deployment(image, settings, job.shared if place.layered else None)


def ready(place: Target, job: Job) -> Settings:
    """The settings of a delivery to `place`; raises for what it would refuse whatever the image is."""
    # Settings that cannot be and a place that takes nothing are known before anything is built.
    settings = job.config.deploy
    if settings.kube_version is None:
        settings = replace(settings, kube_version=str(place.version()))
    place.check(draft(settings, job.shared if place.layered else None))
    return settings


def inspect_model(job: Job, progress: Progress) -> dict[str, object]:
    """What is known of the job's model, in the order a reader wants it."""
    allowed = replace(job, config=replace(job.config, allow_no_signature=True))
    model = resolve_model(allowed, progress)
    return {
        **asdict(model.pin),
        "flavors": [f"{f.name} {f.version or ''}".strip() for f in model.flavors],
        "python": model.python,
        "mlflow": model.mlflow,
        "signature": model.signature,
        "example": model.serving_example and " ".join(model.serving_example.split()),
        "requirements": list(model.requirements),
        "uv_lock": model.uv_lock,
        "conda": list(model.conda),
        "size": sum(f.size for f in model.files),
    }


def closure_options(job: Job, known: KnownLayers) -> ClosureOptions:
    """How the wheels' libraries are checked."""
    return ClosureOptions(
        store=job.store,
        scratch=job.cache / "rootfs",
        known=known,
        without=job.config.allow_missing_libraries,
    )


def _record(path: Path, stored: StoredImage) -> bool:
    """Note in the lock which image was made from it; whether it was another one before."""
    locked, digest = read_lock(path), stored.image.ref.digest
    if locked:
        write_lock(path, replace(locked, image=digest))
    return locked is None or locked.image != digest
