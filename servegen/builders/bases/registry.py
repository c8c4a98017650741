"""Base from a registry: any glibc image that holds a Python of the right version, pinned by digest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from servegen.builders.bases import BaseOptions
from servegen.builders.bases.libraries import glibc_of
from servegen.builders.bases.unpacked import unpacked_layers
from servegen.builders.bytecode import inside
from servegen.errors import BaseImageError, ConfigError
from servegen.oci.image import ImageConfig, Layer, layers_of, read_image
from servegen.oci.store import Store
from servegen.progress import Progress
from servegen.values.image import Base, ImageRef

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def prepare(
    spec: str, locked: Mapping[str, object], options: BaseOptions, progress: Progress
) -> tuple[Base, dict[str, object]]:
    """The image `spec` for the wanted platform, with all its layers in the store."""
    try:
        ref = ImageRef.parse(spec)
    except ValueError as exc:
        msg = f"--base {spec}: {exc}"
        raise ConfigError(msg, hint="debian, or REGISTRY/REPOSITORY:TAG, best with @sha256:…") from exc
    store = Store(options.store)
    known = str(locked["digest"]) if locked.get("name") == spec and locked.get("digest") else None
    if known and store.has(known):
        descriptor = store.manifest(known)
    else:
        progress.step(f"pulling the base {spec}")
        descriptor = options.registry.pull(ref.at(known) if known else ref, options.platform, store)
    manifest, config = read_image(store, descriptor)
    layers = layers_of(manifest, config)
    if any(not store.has(layer.blob.digest, layer.blob.size) for layer in layers):
        options.registry.pull(ref.at(descriptor.digest), options.platform, store)
    folder = options.cache / f"base-{descriptor.digest.removeprefix('sha256:')}"
    rootfs = unpacked_layers(list(layers), options.platform, store, folder)
    env = tuple((name, value) for name, value in config.env if name not in ("HOME", "PYTHONPATH"))
    base = Base(
        name=spec,
        digest=descriptor.digest,
        interpreter=_interpreter(rootfs, config, spec, options),
        python=options.python,
        build=descriptor.digest,
        layers=tuple(_recorded(store, layer) for layer in layers),
        env=env,
        glibc=glibc_of(rootfs, dict(env), options.platform),
    )
    return base, {"name": spec, "digest": descriptor.digest}


def _recorded(store: Store, layer: Layer) -> str:
    key = f"base-{layer.blob.digest.removeprefix('sha256:')}"
    store.record_layer(key, layer.blob)
    return key


def _interpreter(rootfs: Path, config: ImageConfig, spec: str, options: BaseOptions) -> str:
    folders = [options.base_python] if options.base_python else []
    folders += [f"{d}/python{options.python}" for d in dict(config.env).get("PATH", _PATH).split(":") if d]
    for candidate in folders:
        if inside(rootfs, candidate).is_file():
            return candidate
    found = sorted(
        {
            p.name
            for d in ("usr/bin", "usr/local/bin", "opt/python/bin")
            for p in (rootfs / d).glob("python3.*")
        }
    )
    versions = (
        ", ".join(n.removeprefix("python") for n in found if re.fullmatch(r"python3\.\d+", n)) or "none"
    )
    msg = f"the base {spec} has no Python {options.python} (found: {versions})"
    raise BaseImageError(
        msg, hint=f"a base with Python {options.python}, --base-python PATH, or --base debian"
    )
