"""resolve → lock → base → plan → build → verify → push → render → deliver: the stages in order.

Read this file first. Each stage takes a value and returns a value, or raises; the rest is in the stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from servegen.attest import attest, publish, sign
from servegen.builders import BuildInputs, builder
from servegen.builders.bases import BaseOptions, prepare
from servegen.builders.bytecode import Compiler, runs_here
from servegen.builders.closure import ClosureOptions, missing_packages
from servegen.builders.code import server_files
from servegen.config import Config
from servegen.errors import ConfigError, SignatureError, StaleLockError
from servegen.images import find_image, joined
from servegen.job import (
    Job,
    check_push,
    for_platform,
    indexes,
    known_layers,
    lock_options,
    lock_path,
    network,
    platforms,
    reference,
    registry,
    serving,
    sign_key,
    tell_of_sources,
    verify_options,
    wanted_documents,
)
from servegen.kube.options import ClusterOptions
from servegen.lockers import (
    input_hash,
    lock,
    merged_requirements,
    read_lock,
    write_lock,
)
from servegen.oci.compress import compressor_id
from servegen.oci.image import layers_of, read_image
from servegen.oci.known import KnownLayers
from servegen.oci.registry import Registry
from servegen.oci.store import Store
from servegen.planning.deployment import draft
from servegen.planning.deployment import plan as plan_deployment
from servegen.planning.image import plan
from servegen.planning.serving import variables
from servegen.progress import Progress
from servegen.renderers import Renderer, renderer
from servegen.sources import StoreOptions, resolve
from servegen.targets import Target, target
from servegen.values.bundle import Bundle
from servegen.values.delivery import Delivery
from servegen.values.deployment import Deployment, Settings
from servegen.values.image import Base, Image, ImageRef, Platform, StoredImage, Verified
from servegen.values.lock import EnvironmentLock, Lock, PlatformLock
from servegen.values.model import Model
from servegen.verify import verify


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
    wanted, key = wanted_documents(job), sign_key(job)
    model = resolve_model(job, progress)
    with registry(job, progress) as remote:
        if job.push:
            # A registry that does not answer or wants a login is known before minutes of work.
            remote.manifest_digest(reference(job.config, model.pin))
        built = build_all(job, model, remote, progress)
        stored = joined([image for image, _ in built], str(reference(job.config, model.pin)))
        # Beside check and push, which mostly wait for the server in the image and for the registry.
        with ThreadPoolExecutor(max_workers=1) as beside:
            attesting = [beside.submit(attest, image, locked, wanted) for image, locked in built]
            verified = [try_out(job, image, progress) for image, _ in built]
            _record(lock_path(job, model), stored)
            if job.push:
                push(stored, remote, progress)
            for document in attesting:
                document.result()
        if job.push:
            for image, _ in built:
                publish(image, wanted.types, key, remote, progress)
            if key is not None and len(built) > 1:
                sign(
                    stored.image.ref, [str(stored.image.ref.digest)], key, remote, Store(job.store), progress
                )
    return Packaged(stored=stored, verified=next((each for each in verified if each), None), pushed=job.push)


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is to be built for one platform of a job."""

    job: Job
    """Of this platform alone."""
    known: KnownLayers
    locked: PlatformLock
    base: Base


def lock_all(job: Job, model: Model, remote: Registry, progress: Progress) -> list[Part]:
    """Wheels and base for each platform of the job, in one lock."""
    parts: list[Part] = []
    for platform in platforms(job.config):
        part = for_platform(job, platform, model)
        if parts:
            # The same moment for all, so that they get the same versions.
            moment = parts[0].locked.environment.exclude_newer
            part = replace(part, config=replace(part.config, exclude_newer=moment))
        known = known_layers(part, model.pin, remote, progress)
        locked, base = lock_environment(part, model, remote, known, progress)
        parts.append(Part(job=part, known=known, locked=locked, base=base))
    return parts


def build_all(
    job: Job, model: Model, remote: Registry, progress: Progress
) -> list[tuple[StoredImage, PlatformLock]]:
    """An image for each platform of the job, with all libraries that it needs, and what it is made of."""
    parts = lock_all(job, model, remote, progress)
    bases = {Platform.parse(part.job.config.platform): part.base for part in parts}
    images = []
    for part in parts:
        known, locked, base = part.known, part.locked, part.base
        stored = build(part.job, model, locked.environment, base, known, progress, bases)
        while packages := missing_packages(stored, base, closure_options(part.job, known), progress):
            progress.step(f"adding {', '.join(packages)} to the base: wheels need what is in it")
            locked, base = lock_environment(part.job, model, remote, known, progress, packages)
            stored = build(part.job, model, locked.environment, base, known, progress, bases)
        if job.whole or (job.verify and runs_here(stored.image.platform)):
            image = read_image(Store(job.store), Store(job.store).manifest(str(stored.image.ref.digest)))
            known.fetch([layer.key for layer in layers_of(*image) if layer.key])
        images.append((stored, locked))
    return images


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


def lock_environment(
    job: Job,
    model: Model,
    remote: Registry,
    layers: KnownLayers,
    progress: Progress,
    found: tuple[str, ...] = (),
) -> tuple[PlatformLock, Base]:
    """Exact wheels and base: from servegen.lock where it fits, else resolved anew and written there.

    `found` are Debian packages that the wheels turned out to need.
    """
    config, path = job.config, lock_path(job, model)
    requirements = merged_requirements(model, serving(config))
    options = lock_options(job, model)
    inputs = input_hash(requirements, options, model)
    known = read_lock(path)
    locked = known.of(str(options.platform)) if known else None
    environment = locked.environment if locked and _fits(locked.environment, inputs, config) else None
    # What was found to be missing is so of the wheels that were just locked.
    renew = job.update_lock and not found
    if (environment is None or renew) and job.frozen:
        msg = f"{path.name} does not fit {model.pin.uri}" if known else f"there is no {path.name}"
        raise StaleLockError(msg, hint="servegen lock, then commit the file")
    if found and job.frozen:
        msg = f"{path.name} lacks {', '.join(found)}, which wheels need of the base"
        raise StaleLockError(msg, hint="servegen package without --frozen adds it; commit the file")
    wanted = base_options(job, options.platform, options.python, remote, layers, found)
    kept = dict(locked.base) if locked and not renew else {}
    # Two servers are asked, and neither answer depends on the other.
    with ThreadPoolExecutor(max_workers=1) as beside:
        preparing = beside.submit(prepare, config.base, kept, wanted, progress)
        if environment is None or renew:
            tell_of_sources(job, model, progress)
            environment = lock(requirements, model, options, progress)
        base, locked_base = preparing.result()
    own = PlatformLock(environment=environment, base=tuple(locked_base.items()))
    others = [each for each in known.platforms if each != locked] if known else []
    whole = Lock(
        pin=model.pin,
        platforms=tuple(sorted([own, *others], key=lambda each: each.environment.platform)),
    )
    if known is None or replace(known, image=None) != whole:
        write_lock(path, whole)
    return own, base


def base_options(
    job: Job,
    platform: Platform,
    python: str,
    remote: Registry,
    layers: KnownLayers,
    found: tuple[str, ...] = (),
) -> BaseOptions:
    """What the base of an image is made with; `found` are Debian packages that its wheels need."""
    config = job.config
    return BaseOptions(
        platform=platform,
        python=python,
        store=job.store,
        cache=job.cache / "rootfs",
        debian_mirrors=config.debian_mirrors or job.environment.debian_mirrors,
        debian_keyring=Path(config.debian_keyring) if config.debian_keyring else None,
        apt=config.apt,
        found=found,
        registry=remote,
        network=network(job),
        known=layers,
        base_python=config.base_python,
    )


def build(
    job: Job,
    model: Model,
    environment: EnvironmentLock,
    base: Base,
    known: KnownLayers,
    progress: Progress,
    bases: Mapping[Platform, Base],
) -> StoredImage:
    """The image in the local store, under the job's name and tag; `bases` are those of all its platforms."""
    inputs = build_inputs(job, model, environment, base, known, progress, bases)
    return builder(job.config.builder).build(inputs, progress)


def build_inputs(
    job: Job,
    model: Model,
    environment: EnvironmentLock,
    base: Base,
    known: KnownLayers,
    progress: Progress,
    bases: Mapping[Platform, Base],
) -> BuildInputs:
    """The plan of the image, and what it refers to."""
    code = server_files()
    platform = Platform.parse(job.config.platform)
    compiler = Compiler.choose(base, platform, bases, job.environment.variables.get("PATH"), progress)
    if compiler is None:
        progress.warn(f"no bytecode in the image for {platform}: there is no Python {base.python} here")
    settings = variables(job.config.serving)
    return BuildInputs(
        plan=plan(
            model,
            environment,
            base,
            job.config.runtime,
            code,
            compressor_id("zstd"),
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
        known=known,
        compiler=compiler,
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
    stored: StoredImage, remote: Registry, progress: Progress, mount_from: ImageRef | None = None
) -> None:
    """Make the image available in the registry its reference names; the tag moves last.

    `mount_from` is a repository that has most of its layers.
    """
    ref = stored.image.ref
    if remote.manifest_digest(replace(ref, digest=None)) == ref.digest:
        return
    progress.step(f"pushing {replace(ref, digest=None)}")
    store = Store(stored.store)
    remote.push(store, store.manifest(str(ref.digest)), replace(ref, digest=None), mount_from)


def image_of(text: str | None, job: Job, progress: Progress) -> Image:
    """The packaged image that `text` names; without one, the job's model, packaged when it is not yet."""
    if text is not None:
        return find_image(text, job, progress)
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


def rehearse(settings: Settings, format_name: str) -> Rendered:
    """What `render` gives, with a stand-in for the image: fails for all that has nothing to do with it."""
    return Rendered(deployment=draft(settings), renderer=renderer(format_name))


def render(image: Image, settings: Settings, format_name: str) -> Rendered:
    """The objects of `image` in the wanted format."""
    return Rendered(deployment=plan_deployment(image, settings), renderer=renderer(format_name))


def deploy(
    text: str | None, target_name: str, options: ClusterOptions, job: Job, progress: Progress
) -> Delivery:
    """Image or model → pods that answer on the target."""
    place, settings = _place(target_name, options, job)
    image = image_of(text, job, progress)
    return place.deliver(plan_deployment(image, settings), progress=progress)


def difference(
    text: str | None, target_name: str, options: ClusterOptions, job: Job, progress: Progress
) -> str:
    """What `deploy` would change there, as a unified diff."""
    place, settings = _place(target_name, options, job)
    return place.diff(plan_deployment(image_of(text, job, progress), settings))


def _place(target_name: str, options: ClusterOptions, job: Job) -> tuple[Target, Settings]:
    # Settings that cannot be and a place that takes nothing are known before anything is built.
    place = target(target_name)(options=options)
    settings = job.config.deploy
    if settings.kube_version is None:
        settings = replace(settings, kube_version=str(place.version()))
    place.check(draft(settings))
    return place, settings


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


def _fits(environment: EnvironmentLock, inputs: str, config: Config) -> bool:
    wanted = config.exclude_newer
    return environment.inputs == inputs and (wanted is None or wanted == environment.exclude_newer)


def closure_options(job: Job, known: KnownLayers) -> ClosureOptions:
    """How the wheels' libraries are checked."""
    return ClosureOptions(
        scratch=job.cache / "rootfs", known=known, without=job.config.allow_missing_libraries
    )


def _record(path: Path, stored: StoredImage) -> None:
    """Note in the lock which image was made from it."""
    locked = read_lock(path)
    if locked:
        write_lock(path, replace(locked, image=stored.image.ref.digest))
