"""A packaged image on another base: what may be swapped, and what its config says afterwards. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from servegen.errors import BaseImageError
from servegen.planning.image import BASE_DIGEST, base_labels, environment
from servegen.values.image import LABEL, Base

_AGAIN = "servegen package builds the image anew"


def check_swap(labels: Mapping[str, str], entrypoint: Iterable[str], base: Base) -> None:
    """BaseImageError when the wheels of an image with these labels could not run on `base`."""
    python = labels.get(f"{LABEL}python")
    if python != base.python:
        msg = f"the image has Python {python}, the base {base.name} has {base.python}"
        raise BaseImageError(msg, hint=f"a base with Python {python}; {_AGAIN}")
    interpreter = next(iter(entrypoint), "")
    if interpreter != base.interpreter:
        msg = f"the image starts {interpreter}, the base {base.name} has Python at {base.interpreter}"
        raise BaseImageError(msg, hint=f"a base with Python at {interpreter}; {_AGAIN}")
    glibc = tuple(int(part) for part in labels.get(f"{LABEL}glibc", "").split(".") if part.isdigit())
    if base.glibc < glibc:
        have, had = (".".join(map(str, version)) or "none" for version in (base.glibc, glibc))
        msg = f"the base {base.name} has glibc {have}, the image was built for {had}"
        raise BaseImageError(msg, hint=f"a base that is not older; {_AGAIN}")


def is_on(labels: Mapping[str, str], base: Base) -> bool:
    """Whether the image stands on exactly this base."""
    return labels.get(BASE_DIGEST) == base.digest


def base_spec(labels: Mapping[str, str]) -> str:
    """What `--base` was when the image was packaged."""
    name = labels.get("org.opencontainers.image.base.name", "debian")
    return "debian" if name.startswith("debian:") and "/" not in name else name


def extra_packages(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Debian packages that the image's base has beside its own."""
    return tuple(labels.get(f"{LABEL}apt", "").split())


def swapped_labels(labels: Mapping[str, str], base: Base) -> tuple[tuple[str, str], ...]:
    """The labels of the image on `base`."""
    kept = {name: value for name, value in labels.items() if name not in base_labels(base)}
    return tuple(sorted({**kept, **{n: v for n, v in base_labels(base).items() if v}}.items()))


def swapped_env(env: Iterable[tuple[str, str]], runtime: str, base: Base) -> tuple[tuple[str, str], ...]:
    """The environment of the image on `base`: the old base's variables go, ours stay."""
    ours = dict(environment(runtime))
    kept = {name: value for name, value in env if name in ours or name.startswith("SERVEGEN_")}
    fresh = dict(environment(runtime, base))
    return tuple({**fresh, **kept, "PATH": fresh["PATH"]}.items())
