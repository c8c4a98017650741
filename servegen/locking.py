"""The stages lock and base: exact wheels and what they stand on, for each platform, in one servegen.lock."""

from __future__ import annotations

import datetime
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from servegen.builders.bases import BaseOptions, prepare
from servegen.config import Config
from servegen.errors import StaleLockError
from servegen.job import (
    Job,
    compression,
    for_platform,
    indexes,
    known_layers,
    lock_path,
    network,
    platforms,
    serving,
)
from servegen.lockers import (
    LockOptions,
    constraints,
    input_hash,
    lock,
    merged_requirements,
    read_lock,
    unneeded,
    write_lock,
)
from servegen.lockers.conda import translated
from servegen.oci.debian import suite_for
from servegen.oci.known import KnownLayers
from servegen.oci.registry import Registry
from servegen.progress import Progress
from servegen.redact import redacted
from servegen.values.image import Base, Platform
from servegen.values.lock import EnvironmentLock, Lock, PlatformLock
from servegen.values.model import Model

_DEBIAN_GLIBC = {"3.11": (2, 36), "3.13": (2, 41)}
"""glibc of the Debian base with this Python."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is to be built for one platform of a job."""

    job: Job
    """Of this platform alone."""
    known: KnownLayers
    locked: PlatformLock
    base: Base

    @property
    def platform(self) -> Platform:
        """What it is for."""
        return Platform.parse(self.locked.environment.platform)


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
    if config.base == "debian":
        # Or the resolver would find a reason of its own why nothing fits a Python that no base has.
        suite_for(model.python_minor)
    requirements = merged_requirements(model, serving(config))
    options = lock_options(job, model)
    known = read_lock(path)
    locked = known.of(str(options.platform)) if known else None
    wanted = base_options(job, options.platform, options.python, remote, layers, found)
    # What was found to be missing is so of the wheels that were just locked.
    renew = job.update_lock and not found
    kept = dict(locked.base) if locked and not renew else {}
    if brings_wheels(model) and options.base_glibc is None:
        # Only this base tells which of the model's wheels can be run.
        base, kept = prepare(config.base, kept, wanted, progress)
        options = with_glibc(options, base)
    inputs = input_hash(requirements, options, model)
    environment = locked.environment if locked and _fits(locked.environment, inputs, config) else None
    if (environment is None or renew) and job.frozen:
        msg = f"{path.name} does not fit {model.pin.uri}" if known else f"there is no {path.name}"
        raise StaleLockError(msg, hint="servegen lock, then commit the file")
    if found and job.frozen:
        msg = f"{path.name} lacks {', '.join(found)}, which wheels need of the base"
        raise StaleLockError(msg, hint="servegen package without --frozen adds it; commit the file")
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
        compression=compression(config),
    )


def lock_options(job: Job, model: Model) -> LockOptions:
    """What the resolution depends on beside the requirements."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    glibc = _DEBIAN_GLIBC.get(model.python_minor) if job.config.base == "debian" else None
    (platform,) = platforms(job.config)
    options = LockOptions(
        platform=platform,
        python=model.python_minor,
        moment=now,
        exclude_newer=job.config.exclude_newer,
        constraints=constraints(model),
        base_glibc=glibc,
        indexes=indexes(job, model),
        unneeded=unneeded(model, serving(job.config)),
    )
    return replace(options, glibc=glibc) if glibc and brings_wheels(model) else options


def brings_wheels(model: Model) -> bool:
    """Whether the model holds wheels.

    They were chosen for the machine that logged it, so those for any glibc that the base can run are taken.
    """
    return any("#sha256=" in line and "://" not in line for line in model.requirements)


def with_glibc(options: LockOptions, base: Base) -> LockOptions:
    """`options` for all wheels that `base` can run."""
    if len(base.glibc) != 2:
        return options
    major, minor = base.glibc
    return replace(options, glibc=(major, minor), base_glibc=(major, minor))


def tell_of_sources(job: Job, model: Model, progress: Progress) -> None:
    """Say what a user would want to know of where packages come from."""
    config, wishes = job.config, serving(job.config)
    if lines := translated(model, wishes.conda_map, wishes.drop_conda):
        progress.step(f"from the package index instead of conda: {', '.join(lines)}")
    if any(redacted(url) != url for url in (config.index_url or "", *config.extra_index_urls)):
        better = "UV_INDEX_<NAME>_USERNAME and _PASSWORD, or .netrc"
        progress.warn(f"others may read the login in the URL of a package index; better: {better}")


def _fits(environment: EnvironmentLock, inputs: str, config: Config) -> bool:
    wanted = config.exclude_newer
    return environment.inputs == inputs and (wanted is None or wanted == environment.exclude_newer)
