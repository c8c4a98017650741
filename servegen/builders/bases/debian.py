"""The built-in base: one layer from Debian packages, without a registry and without root."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from servegen.builders.bases import BaseOptions
from servegen.oci.compress import compressor_id
from servegen.oci.debian import (
    BaseLock,
    Source,
    apt_sources,
    base_entries,
    mirror_sources,
    resolve_base,
    suite_for,
)
from servegen.oci.store import Store
from servegen.oci.tar import write_layer
from servegen.planning.image import layer_key
from servegen.progress import Progress
from servegen.values.image import Base

_APT = Path("/etc/apt")
_RELEASES = ("bookworm", "trixie", "forky", "bullseye", "sid")
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def prepare(
    locked: Mapping[str, object], options: BaseOptions, progress: Progress
) -> tuple[Base, dict[str, object]]:
    """The base for the wanted Python and platform; its layer is made unless the store has it."""
    suite = suite_for(options.python)
    lock, found = _known(locked, options)
    if lock is None:
        lock = resolve_base(
            options.python,
            options.platform,
            _sources(suite.name, options),
            network=options.network,
            progress=progress,
            extra=(*options.apt, *found),
            keyring=options.debian_keyring,
            cache_dir=options.cache / "index",
        )
    store = Store(options.store)
    key = layer_key("base", compressor_id(options.compression), lock.digest)
    with store.build_lock(key):
        if options.known.find(key) is None:
            _make(key, lock, store, options, progress)
    versions = {package.name: package.version for package in lock.packages}
    base = Base(
        name=f"debian:{lock.suite}",
        digest=lock.digest,
        interpreter=f"/usr/bin/python{lock.python}",
        python=lock.python,
        build=versions[f"python{lock.python}-minimal"],
        layers=(key,),
        env=(("SSL_CERT_FILE", _CERTIFICATES),),
        glibc=_glibc(versions["libc6"]),
        extra=tuple(sorted({*options.apt, *found})),
    )
    # Left out when empty, so that locks without them stay as they were.
    lists = {"apt": sorted(set(options.apt)), "found": list(found)}
    return base, {"name": "debian", **{k: v for k, v in lists.items() if v}, **lock.to_json()}


def _known(locked: Mapping[str, object], options: BaseOptions) -> tuple[BaseLock | None, tuple[str, ...]]:
    """The locked base if it is the wanted one, and the packages that wheels were found to need."""
    if locked.get("name") != "debian":
        return None, options.found
    lock = BaseLock.from_json(locked)
    if (lock.python, lock.arch) != (options.python, options.platform.architecture):
        # Another release may call its packages otherwise.
        return None, options.found
    apt, kept = _names(locked.get("apt")), _names(locked.get("found"))
    found = tuple(sorted({*kept, *options.found}))
    return lock if apt == sorted(set(options.apt)) and kept == list(found) else None, found


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []


def _glibc(version: str) -> tuple[int, ...]:
    """2.36 of the package version 2.36-9+deb12u10."""
    match = re.match(r"(?:\d+:)?(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else ()


def _make(key: str, lock: BaseLock, store: Store, options: BaseOptions, progress: Progress) -> None:
    progress.step(f"assembling the base from {len(lock.packages)} Debian packages")
    sources = _sources(lock.suite, options)
    entries = base_entries(lock, options.cache / "debs", sources, network=options.network, progress=progress)
    with store.scratch() as temporary:
        blob = write_layer(entries, temporary, options.compression)
        store.commit(temporary, blob.digest)
    store.record_layer(key, blob)


def _sources(suite: str, options: BaseOptions) -> list[Source]:
    if options.debian_mirrors:
        return mirror_sources(options.debian_mirrors, suite)
    own = apt_sources(suite, _APT)
    if own:
        return own
    # A mirror that apt uses here for another release has this one too.
    uris = (source.uri for release in _RELEASES for source in apt_sources(release, _APT))
    return mirror_sources(dict.fromkeys(uris), suite)
