"""resolve → lock → base → plan → build → verify → push → render → deliver: the stages in order.

Read this file first. Each stage takes a value and returns a value, or raises; the rest is in the stages.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace

from servegen.attest import attest, publish
from servegen.builders import BuildInputs, builder
from servegen.builders.bases import BaseOptions, prepare
from servegen.builders.code import server_files
from servegen.config import Config
from servegen.errors import ConfigError, ImageNotFoundError, SignatureError, StaleLockError
from servegen.job import (
    Job,
    check_push,
    indexes,
    known_layers,
    lock_options,
    lock_path,
    network,
    reference,
    registry,
    serving,
    sign_key,
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
from servegen.oci.descriptor import Descriptor
from servegen.oci.image import ImageConfig, layers_of, read_image
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
from servegen.values.lock import EnvironmentLock, Lock
from servegen.values.model import Model
from servegen.verify import Command, image_config, open_sandbox, verify


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """An image, and how it did when it was run; None when it was not run."""

    stored: StoredImage
    verified: Verified | None
    pushed: bool


def package(job: Job, progress: Progress) -> Packaged:
    """Model URI → tested image, pushed when the job says so."""
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
        known = known_layers(job, model.pin, remote, progress)
        locked, base = lock_environment(job, model, remote, known, progress)
        stored = build(job, model, locked.environment, base, known, progress)
        if job.verify or job.whole:
            image = read_image(Store(job.store), Store(job.store).manifest(str(stored.image.ref.digest)))
            known.fetch([layer.key for layer in layers_of(*image) if layer.key])
        # Beside check and push, which mostly wait for the server in the image and for the registry.
        with ThreadPoolExecutor(max_workers=1) as beside:
            attesting = beside.submit(attest, stored, locked, wanted)
            verified = try_out(job, stored, progress)
            write_lock(lock_path(job, model), replace(locked, image=stored.image.ref.digest))
            if job.push:
                push(stored, remote, progress)
            attesting.result()
        if job.push:
            publish(stored, wanted.types, key, remote, progress)
    return Packaged(stored=stored, verified=verified, pushed=job.push)


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
    if model.signature is None and not config.allow_no_signature:
        msg = f"model {model.pin.uri} has no signature, so its requests cannot be checked"
        raise SignatureError(
            msg, hint="log it with signature=infer_signature(inputs, outputs), or --allow-no-signature"
        )
    return model


def lock_environment(
    job: Job, model: Model, remote: Registry, layers: KnownLayers, progress: Progress
) -> tuple[Lock, Base]:
    """Exact wheels and base: from servegen.lock where it fits, else resolved anew and written there."""
    config, path = job.config, lock_path(job, model)
    requirements = merged_requirements(model, serving(config))
    options = lock_options(job, model)
    inputs = input_hash(requirements, options)
    known = read_lock(path)
    environment = known.environment if known and _fits(known.environment, inputs, config) else None
    if (environment is None or job.update_lock) and job.frozen:
        msg = f"{path.name} does not fit {model.pin.uri}" if known else f"there is no {path.name}"
        raise StaleLockError(msg, hint="servegen lock, then commit the file")
    kept = dict(known.base) if known and not job.update_lock else {}
    base_options = BaseOptions(
        platform=options.platform,
        python=options.python,
        store=job.store,
        cache=job.cache / "rootfs",
        debian_mirrors=job.environment.debian_mirrors,
        registry=remote,
        network=network(job),
        known=layers,
        base_python=config.base_python,
    )
    # Two servers are asked, and neither answer depends on the other.
    with ThreadPoolExecutor(max_workers=1) as beside:
        preparing = beside.submit(prepare, config.base, kept, base_options, progress)
        if environment is None or job.update_lock:
            environment = lock(requirements, options, progress)
        base, locked_base = preparing.result()
    found = Lock(pin=model.pin, environment=environment, base=tuple(locked_base.items()), image=None)
    if known is None or replace(known, image=None) != found:
        write_lock(path, found)
    return found, base


def build(
    job: Job,
    model: Model,
    environment: EnvironmentLock,
    base: Base,
    known: KnownLayers,
    progress: Progress,
) -> StoredImage:
    """The image in the local store, under the job's name and tag."""
    return builder(job.config.builder).build(build_inputs(job, model, environment, base, known), progress)


def build_inputs(
    job: Job, model: Model, environment: EnvironmentLock, base: Base, known: KnownLayers
) -> BuildInputs:
    """The plan of the image, and what it refers to."""
    code = server_files()
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
        ),
        model=model,
        lock=environment,
        base=base,
        code=code,
        reference=str(reference(job.config, model.pin)),
        indexes=indexes(job),
        store=job.store,
        scratch=job.cache / "rootfs",
        known=known,
    )


def try_out(job: Job, stored: StoredImage, progress: Progress) -> Verified | None:
    """Run the image and compare its answer with the model's; None when the job says not to."""
    if not job.verify:
        progress.warn("the image was not run (--no-verify): nobody knows whether it answers")
        return None
    verified = verify(stored, verify_options(job), progress)
    if not verified.replayed:
        progress.warn(
            "the model was logged without an input example: the image starts, its answers are unchecked"
        )
    return verified


def push(stored: StoredImage, remote: Registry, progress: Progress) -> None:
    """Make the image available in the registry its reference names; the tag moves last."""
    ref = stored.image.ref
    if remote.manifest_digest(replace(ref, digest=None)) == ref.digest:
        return
    progress.step(f"pushing {replace(ref, digest=None)}")
    store = Store(stored.store)
    remote.push(store, store.manifest(str(ref.digest)), replace(ref, digest=None))


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


def find_image(text: str, job: Job, progress: Progress) -> Image:
    """An image that servegen packaged earlier.

    A job that pushes means a cluster, so the registry must have it; otherwise the local store will do.
    """
    ref = image_reference(text)
    store, platform = Store(job.store), Platform.parse(job.config.platform)
    descriptor = None if job.push else _local(ref, store)
    if descriptor is None:
        if not ref.registry:
            msg = f"{ref} is not in the local store and names no registry"
            raise ImageNotFoundError(msg, hint="servegen package makes it; or write REGISTRY/REPOSITORY:TAG")
        with registry(job, progress) as remote:
            descriptor = remote.pull(ref, platform, store, layers=False)
    return _image(ref.at(descriptor.digest), read_image(store, descriptor)[1])


def image_reference(text: str) -> ImageRef:
    """The reference that `text` writes; ConfigError when it writes none."""
    try:
        return ImageRef.parse(text)
    except ValueError as exc:
        raise ConfigError(
            str(exc), hint="a model URI, or REGISTRY/REPOSITORY:TAG of a packaged image"
        ) from exc


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
        "size": sum(f.size for f in model.files),
    }


def _fits(environment: EnvironmentLock, inputs: str, config: Config) -> bool:
    wanted = config.exclude_newer
    return environment.inputs == inputs and (wanted is None or wanted == environment.exclude_newer)


def _image(ref: ImageRef, config: ImageConfig) -> Image:
    image = Image(ref=ref, platform=config.platform, labels=config.labels)
    if image.label("pin") is None:
        msg = f"{ref} was not packaged by servegen: it has no dev.servegen.pin label"
        raise ConfigError(
            msg, hint="servegen package MODEL --tag … --push makes an image that can be deployed"
        )
    return replace(image, port=config.ports[0]) if config.ports else image


def _whole(text: str, job: Job, progress: Progress) -> StoredImage:
    image, store = find_image(text, job, progress), Store(job.store)
    stored = StoredImage(image=image, store=job.store)
    layers = read_image(store, store.manifest(str(image.ref.digest)))[0].layers
    if any(not store.has(layer.digest, layer.size) for layer in layers):
        with registry(job, progress) as remote:
            remote.pull(image.ref, image.platform, store)
    return stored
