"""Resolving with uv: one call gives the exact wheels of one platform."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tempfile
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from servegen.errors import LockError
from servegen.lockers.requirements import describe
from servegen.progress import Progress
from servegen.uv import Indexes, run_uv, source_failure
from servegen.values.image import Platform
from servegen.values.lock import EnvironmentLock, LockedPackage

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FORMAT = "1"
"""Part of every input hash; raise it when the same inputs must be resolved anew."""


@dataclass(frozen=True, kw_only=True)
class LockOptions:
    """What the resolution depends on beside the requirements."""

    platform: Platform
    python: str
    """Major and minor version."""
    glibc: tuple[int, int] = (2, 28)
    """Newest glibc that a wheel may ask for."""
    exclude_newer: str
    """Moment after which uploads are not looked at (RFC 3339)."""
    indexes: Indexes = field(default_factory=Indexes)

    @property
    def target(self) -> str:
        """The wheel platform in uv's words."""
        return f"{self.platform.machine}-manylinux_{self.glibc[0]}_{self.glibc[1]}"


def input_hash(requirements: tuple[str, ...], options: LockOptions) -> str:
    """Equal exactly when a new resolution could not be asked for anything else."""
    facts = [
        FORMAT,
        list(requirements),
        str(options.platform),
        options.python,
        options.target,
        options.indexes.identity(),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def lock(requirements: tuple[str, ...], options: LockOptions, progress: Progress) -> EnvironmentLock:
    """Resolve `requirements` to exact wheels; LockError says which requirement fails on which platform."""
    progress.step(
        f"resolving {len(requirements)} requirements for {options.platform}, Python {options.python}"
    )
    with tempfile.TemporaryDirectory() as directory:
        source, result = Path(directory, "requirements.in"), Path(directory, "pylock.toml")
        source.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        argv = [
            *("pip", "compile", str(source)),
            *("--python-platform", options.target, "--python-version", options.python),
            *("--only-binary", ":all:", "--generate-hashes", "--exclude-newer", options.exclude_newer),
            *("--no-header", "--no-sources", "--quiet", "--format", "pylock.toml", "-o", str(result)),
        ]
        done = run_uv(argv, options.indexes, Path(directory), progress)
        if done.status:
            raise _unresolvable(done.stderr, requirements, options)
        return EnvironmentLock(
            inputs=input_hash(requirements, options),
            platform=str(options.platform),
            python=options.python,
            target=options.target,
            exclude_newer=options.exclude_newer,
            packages=_packages(tomllib.loads(result.read_text(encoding="utf-8")), options),
        )


def _packages(pylock: Mapping[str, Any], options: LockOptions) -> tuple[LockedPackage, ...]:
    ranks = {tag: rank for rank, tag in enumerate(target_tags(options))}
    packages = []
    for entry in pylock.get("packages", []):
        wheels = [(rank, w) for w in entry.get("wheels", []) if (rank := _rank(w, ranks)) is not None]
        if not wheels:
            name = f"{entry['name']} {entry.get('version', '')}"
            msg = f"{name} has no wheel for {options.target} and Python {options.python}"
            raise LockError(msg, hint="another version of it, or a wheel in --wheelhouse")
        _, wheel = min(wheels, key=lambda w: w[0])
        packages.append(
            LockedPackage(
                name=canonicalize_name(entry["name"]),
                version=entry["version"],
                file=_file(wheel),
                size=int(wheel.get("size", 0)),
                sha256=wheel["hashes"]["sha256"],
            )
        )
    return tuple(sorted(packages, key=lambda p: p.name))


def target_tags(options: LockOptions) -> list[Tag]:
    """Wheel tags that the target takes, best first (PEP 425, PEP 600)."""
    major, minor = (int(n) for n in options.python.split("."))
    machine, (_, newest) = options.platform.machine, options.glibc
    platforms = []
    for glibc in range(newest, 4, -1):
        platforms.append(f"manylinux_2_{glibc}_{machine}")
        legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}.get(glibc)
        if legacy:
            platforms.append(f"{legacy}_{machine}")
    platforms.append(f"linux_{machine}")
    tags = list(cpython_tags((major, minor), platforms=platforms))
    return tags + list(compatible_tags((major, minor), f"cp{major}{minor}", platforms))


def _rank(wheel: Mapping[str, Any], ranks: Mapping[Tag, int]) -> int | None:
    _, _, _, tags = parse_wheel_filename(_file(wheel))
    return min((ranks[t] for t in tags if t in ranks), default=None)


def _file(wheel: Mapping[str, Any]) -> str:
    name = wheel.get("name") or urllib.parse.urlsplit(str(wheel.get("url") or wheel.get("path"))).path
    return urllib.parse.unquote(str(name)).rpartition("/")[2]


def _unresolvable(stderr: str, requirements: tuple[str, ...], options: LockOptions) -> LockError:
    if silent := source_failure(stderr):
        return silent
    text = stderr.strip()
    hint = "log the model with versions that have wheels for it, or name another --python or --platform"
    culprits = _culprits(text, requirements)
    if len(culprits) > 1:
        hint = "they may exclude each other: change --add-requirement, or log the model with other versions"
    what = f"requirement {' with '.join(culprits)}"
    if not culprits:
        what = f"the set of requirements ({describe(requirements)})"
    return LockError(
        f"{what} cannot be resolved for {options.target} and Python {options.python}",
        hint=hint,
        details=text,
    )


def _culprits(text: str, requirements: tuple[str, ...]) -> list[str]:
    """What uv's explanation is about: all requirements of the first distribution that it mentions."""
    flat = " ".join(text.split())
    named = []
    for line in requirements:
        name = canonicalize_name(re.split(r"[^A-Za-z0-9._-]", line)[0])
        at = re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", flat, re.IGNORECASE)
        if at:
            named.append((at.start(), name, line))
    return [line for _, name, line in named if name == min(named)[1]]
