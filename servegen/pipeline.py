"""resolve → lock → base → plan → build → verify → push → render → deliver: the stages in order.

Read this file first. Each stage takes a value and returns a value, or raises; everything else is in the stages.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from servegen.builders import BuildInputs, builder
from servegen.builders.bases import BaseOptions, prepare
from servegen.builders.code import server_files
from servegen.config import Config, Environment
from servegen.errors import ConfigError, LockError, SignatureError, StaleLockError
from servegen.kube.names import slug
from servegen.kube.options import ClusterOptions
from servegen.lockers import (
    LockOptions,
    Serving,
    input_hash,
    lock,
    merged_requirements,
    read_lock,
    write_lock,
)
from servegen.lockers.requirements import RUNTIMES
from servegen.oci.auth import CredentialFiles
from servegen.oci.compress import compressor_id
from servegen.oci.descriptor import MANIFEST, Descriptor
from servegen.oci.http import Network
from servegen.oci.image import ImageConfig, read_image
from servegen.oci.registry import Registry, RegistryOptions
from servegen.oci.store import Store
from servegen.planning.deployment import plan as plan_deployment
from servegen.planning.image import plan
from servegen.progress import Progress
from servegen.renderers import Renderer, renderer
from servegen.sources import StoreOptions, resolve
from servegen.targets import target
from servegen.uv import Indexes
from servegen.values.bundle import Bundle
from servegen.values.delivery import Delivery
from servegen.values.deployment import Deployment, Settings
from servegen.values.image import Base, Image, ImageRef, Platform, StoredImage, Verified
from servegen.values.lock import EnvironmentLock, Lock
from servegen.values.model import Model, Pin
from servegen.verify import Command, VerifyOptions, image_config, open_sandbox, verify


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is wanted of one run, beside what servegen.yaml says."""

    config: Config
    environment: Environment
    lock_file: Path | None
    """servegen.lock beside servegen.yaml; None keeps the lock in the cache."""
    push: bool = False
    verify: bool = True
    verify_with: str | None = None
    verify_timeout_seconds: int = 120
    refresh: bool = False
    """Ask the stores again even where nothing seems to have changed."""
    update_lock: bool = False
    frozen: bool = False
    """Fail rather than resolve requirements."""

    @property
    def cache(self) -> Path:
        """Folder of everything that can be made again."""
        return self.environment.cache

    @property
    def store(self) -> Path:
        """The content store of images."""
        return self.cache / "oci"


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """An image, and how it did when it was run; None when it was not run."""

    stored: StoredImage
    verified: Verified | None
    pushed: bool


def package(job: Job, progress: Progress) -> Packaged:
    """Model URI → tested image, pushed when the job says so."""
    model = resolve_model(job, progress)
    with registry(job, progress) as remote:
        locked, base = lock_environment(job, model, remote, progress)
        stored = build(job, model, locked.environment, base, progress)
        write_lock(lock_path(job, model), replace(locked, image=stored.image.ref.digest))
        verified = try_out(job, stored, progress)
        if job.push:
            push(stored, remote, progress)
    return Packaged(stored=stored, verified=verified, pushed=job.push)


def resolve_model(job: Job, progress: Progress) -> Model:
    """The model that the job names, pinned and on this machine."""
    config = job.config
    if not config.model:
        msg = "no model is named"
        raise ConfigError(msg, hint="servegen package models:/NAME@ALIAS, or `model:` in servegen.yaml")
    options = StoreOptions(
        tracking_uri=config.tracking_uri or job.environment.tracking_uri,
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


def lock_environment(job: Job, model: Model, remote: Registry, progress: Progress) -> tuple[Lock, Base]:
    """Exact wheels and base: from servegen.lock where it fits, else resolved anew and written there."""
    config, path = job.config, lock_path(job, model)
    requirements = merged_requirements(model, _serving(config))
    options = _lock_options(job, model)
    inputs = input_hash(requirements, options)
    known = read_lock(path)
    environment = known.environment if known and _fits(known.environment, inputs, config) else None
    if environment is None or job.update_lock:
        if job.frozen:
            msg = f"{path.name} does not fit {model.pin.uri}" if known else f"there is no {path.name}"
            raise StaleLockError(msg, hint="servegen lock, then commit the file")
        environment = lock(requirements, options, progress)
    base, locked_base = prepare(
        config.base,
        dict(known.base) if known and not job.update_lock else {},
        BaseOptions(
            platform=options.platform,
            python=options.python,
            store=job.store,
            cache=job.cache / "rootfs",
            debian_mirrors=job.environment.debian_mirrors,
            registry=remote,
            network=_network(job),
            base_python=config.base_python,
        ),
        progress,
    )
    found = Lock(pin=model.pin, environment=environment, base=tuple(locked_base.items()), image=None)
    if known is None or replace(known, image=None) != found:
        write_lock(path, found)
    return found, base


def build(
    job: Job, model: Model, environment: EnvironmentLock, base: Base, progress: Progress
) -> StoredImage:
    """The image in the local store, under the job's name and tag."""
    code = server_files()
    inputs = BuildInputs(
        plan=plan(model, environment, base, job.config.runtime, code, compressor_id("zstd")),
        model=model,
        lock=environment,
        base=base,
        code=code,
        reference=str(reference(job.config, model.pin)),
        indexes=_indexes(job),
        store=job.store,
        scratch=job.cache / "rootfs",
    )
    return builder(job.config.builder).build(inputs, progress)


def try_out(job: Job, stored: StoredImage, progress: Progress) -> Verified | None:
    """Run the image and compare its answer with the model's; None when the job says not to."""
    if not job.verify:
        progress.warn("the image was not run (--no-verify): nobody knows whether it answers")
        return None
    verified = verify(stored, _verify_options(job), progress)
    if not verified.replayed:
        progress.warn(
            "the model was logged without an input example: the image starts, its answers are unchecked"
        )
    return verified


def push(stored: StoredImage, remote: Registry, progress: Progress) -> None:
    """Make the image available in the registry its reference names; the tag moves last."""
    ref = stored.image.ref
    if not ref.registry:
        msg = f"{ref.name} names no registry to push to"
        raise ConfigError(msg, hint="--tag REGISTRY/REPOSITORY:TAG, or `image:` in servegen.yaml")
    if remote.manifest_digest(replace(ref, digest=None)) == ref.digest:
        return
    progress.step(f"pushing {replace(ref, digest=None)}")
    remote.push(Store(stored.store), _descriptor(stored), replace(ref, digest=None))


def image_of(text: str | None, job: Job, progress: Progress) -> Image:
    """The packaged image that `text` names; without one, the job's model, packaged when it is not yet."""
    if text is not None:
        return find_image(text, job, progress)
    if job.push and not ImageRef.parse(job.config.image or "local").registry:
        msg = "no registry is named, and a cluster can only pull from one"
        raise ConfigError(msg, hint="--tag REGISTRY/REPOSITORY, or `image:` in servegen.yaml")
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


def render(image: Image, settings: Settings, format_name: str) -> Rendered:
    """The objects of `image` in the wanted format."""
    return Rendered(deployment=plan_deployment(image, settings), renderer=renderer(format_name))


def deploy(
    text: str | None, target_name: str, options: ClusterOptions, job: Job, progress: Progress
) -> Delivery:
    """Image or model → pods that answer on the target."""
    place, settings = _place(target_name, options, job)
    image = image_of(text, job, progress)
    delivery: Delivery = place.deliver(plan_deployment(image, settings), progress=progress)
    return delivery


def difference(
    text: str | None, target_name: str, options: ClusterOptions, job: Job, progress: Progress
) -> str:
    """What `deploy` would change there, as a unified diff."""
    place, settings = _place(target_name, options, job)
    return str(place.diff(plan_deployment(image_of(text, job, progress), settings)))


def _place(target_name: str, options: ClusterOptions, job: Job) -> tuple[Any, Settings]:
    # Before anything is built: a cluster that does not answer is known within seconds.
    place = target(target_name)(options=options)
    settings = job.config.deploy
    if settings.kube_version is None:
        settings = replace(settings, kube_version=str(place.version()))
    return place, settings


def find_image(text: str, job: Job, progress: Progress) -> Image:
    """An image that servegen packaged earlier, from the local store or its registry."""
    try:
        ref = ImageRef.parse(text)
    except ValueError as exc:
        raise ConfigError(
            str(exc), hint="a model URI, or REGISTRY/REPOSITORY:TAG of a packaged image"
        ) from exc
    store, platform = Store(job.store), Platform.parse(job.config.platform)
    known = store.resolve(str(replace(ref, digest=None))) if not ref.digest else None
    if known is None:
        with registry(job, progress) as remote:
            known = remote.pull(ref, platform, store, layers=False)
    return _image(ref.at(known.digest), read_image(store, known)[1])


def verify_image(text: str, job: Job, progress: Progress) -> Verified:
    """What running a packaged image shows; its layers are pulled where they are not here."""
    stored = _whole(text, job, progress)
    options = _verify_options(replace(job, refresh=True))
    return verify(stored, options, progress)


@contextlib.contextmanager
def running(
    text: str, port: int, means: str | None, job: Job, progress: Progress
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Program and environment that serve a packaged image on `port` of loopback; cleaned up at the end."""
    stored = _whole(text, job, progress)
    config = image_config(stored)
    env = {**dict(config.env), "SERVEGEN_PORT": str(port)}
    scratch, own = job.cache / "run", job.environment.variables
    with open_sandbox(stored, config, scratch=scratch, env=own, progress=progress, means=means) as sandbox:
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
        **{name: value for name, value in asdict(model.pin).items()},
        "flavors": [f"{f.name} {f.version or ''}".strip() for f in model.flavors],
        "python": model.python,
        "mlflow": model.mlflow,
        "signature": model.signature,
        "example": model.serving_example and " ".join(model.serving_example.split()),
        "requirements": list(model.requirements),
        "size": sum(f.size for f in model.files),
    }


def registry(job: Job, progress: Progress) -> Registry:
    """The registry client with this job's logins and network."""
    environment, config = job.environment, job.config
    credentials = CredentialFiles(files=environment.credential_files, env=environment.variables)
    network = replace(_network(job), ca_file=Path(config.registry_ca) if config.registry_ca else None)
    hosts = frozenset(config.insecure_registries)
    return Registry(RegistryOptions(credentials=credentials, network=network, insecure_hosts=hosts), progress)


def reference(config: Config, pin: Pin) -> ImageRef:
    """Name and tag of the image: as configured, the tag by default from the model's version."""
    version = pin.version or "sha-" + pin.digest.removeprefix("sha256:")[:12]
    try:
        ref = ImageRef.parse(config.image or slug(pin.name))
    except ValueError as exc:
        raise ConfigError(
            str(exc), hint="REGISTRY/REPOSITORY:TAG, in lower case, such as ghcr.io/me/iris:1"
        ) from exc
    if ref.digest:
        msg = f"{ref} names a digest, which only a build can tell"
        raise ConfigError(msg, hint=f"write {ref.name}:{ref.tag or version}")
    return ref if ref.tag else replace(ref, tag=version)


def lock_path(job: Job, model: Model) -> Path:
    """Where the lock of this model is kept."""
    if job.lock_file:
        return job.lock_file
    facts = f"{model.pin.name}\0{job.config.runtime}\0{job.config.platform}\0{job.config.base}"
    return (
        job.cache / "locks" / f"{slug(model.pin.name)}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}.lock"
    )


def _serving(config: Config) -> Serving:
    if config.runtime not in RUNTIMES:
        msg = f"there is no runtime {config.runtime!r}"
        raise ConfigError(msg, hint=f"one of: {', '.join(sorted(RUNTIMES))}")
    if config.mlflow not in ("auto", "skinny", "full"):
        msg = f"mlflow cannot be {config.mlflow!r}"
        raise ConfigError(msg, hint="one of: auto, skinny, full")
    return Serving(runtime=config.runtime, mlflow=config.mlflow, extra=config.requirements)


def _lock_options(job: Job, model: Model) -> LockOptions:
    try:
        platform = Platform.parse(job.config.platform)
    except ValueError as exc:
        raise ConfigError(str(exc), hint="--platform linux/amd64 or linux/arm64") from exc
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return LockOptions(
        platform=platform,
        python=model.python_minor,
        exclude_newer=job.config.exclude_newer or now,
        indexes=_indexes(job),
    )


def _fits(environment: EnvironmentLock, inputs: str, config: Config) -> bool:
    wanted = config.exclude_newer
    return environment.inputs == inputs and (wanted is None or wanted == environment.exclude_newer)


def _network(job: Job) -> Network:
    proxies = job.environment.proxies
    return Network(
        proxies=tuple((k, v) for k, v in proxies.items() if k != "no"),
        no_proxy=tuple(filter(None, proxies.get("no", "").split(","))),
    )


def _indexes(job: Job) -> Indexes:
    config = job.config
    wheelhouse = Path(config.wheelhouse) if config.wheelhouse else None
    if wheelhouse and not wheelhouse.is_dir():
        msg = f"the wheelhouse {wheelhouse} is no folder"
        raise LockError(msg, hint="name a folder that holds .whl files")
    return Indexes(
        index_url=config.index_url,
        extra_index_urls=config.extra_index_urls,
        wheelhouse=wheelhouse,
        env=job.environment.variables,
    )


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
    layers = read_image(store, _descriptor(stored))[0].layers
    if any(not store.has(layer.digest, layer.size) for layer in layers):
        with registry(job, progress) as remote:
            remote.pull(image.ref, image.platform, store)
    return stored


def _verify_options(job: Job) -> VerifyOptions:
    return VerifyOptions(
        scratch=job.cache / "run",
        records=job.cache / "verified",
        env=job.environment.variables,
        means=job.verify_with,
        timeout_seconds=job.verify_timeout_seconds,
        again=job.refresh,
    )


def _descriptor(stored: StoredImage) -> Descriptor:
    digest = str(stored.image.ref.digest)
    size = Store(stored.store).blob(digest).stat().st_size
    return Descriptor(media_type=MANIFEST, digest=digest, size=size)
