"""Resolving with uv: one call gives the exact wheels of one platform."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from servegen.distributions import Source, built, check_wheel, file_digest
from servegen.errors import LockError, ServegenError
from servegen.lockers.project import active, check_pins, check_python, exported, locked_files
from servegen.lockers.requirements import describe, parsed
from servegen.progress import Progress
from servegen.uv import Indexes, run_uv, source_failure
from servegen.values.image import Platform
from servegen.values.lock import EnvironmentLock, LockedPackage
from servegen.values.model import Model

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_WAYS = "a wheel of it in --wheelhouse DIR, another version of it, or another --python or --platform"
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
    moment: str
    """When the resolution takes place (RFC 3339)."""
    exclude_newer: str | None = None
    """Moment after which uploads are not looked at; None for the moment of the resolution, which needs no
    index that tells upload times."""
    constraints: tuple[str, ...] = ()
    """Requirements that only narrow versions."""
    base_glibc: tuple[int, int] | None = None
    """glibc of the base, where it is known beforehand: the newest that a wheel built here may ask for."""
    indexes: Indexes = field(default_factory=Indexes)
    unneeded: tuple[str, ...] = ()
    """Distributions that are left out although others require them."""

    @property
    def target(self) -> str:
        """The wheel platform in uv's words."""
        return f"{self.platform.machine}-manylinux_{self.glibc[0]}_{self.glibc[1]}"


def input_hash(requirements: tuple[str, ...], options: LockOptions, model: Model) -> str:
    """Equal exactly when a new resolution could not be asked for anything else."""
    facts: list[object] = [
        FORMAT,
        list(requirements),
        str(options.platform),
        options.python,
        options.target,
        options.indexes.identity(),
    ]
    if options.constraints:
        facts.append(["constraints", *options.constraints])
    if folders := [f"{link}/" for link in model.indexes.find_links if "://" not in link]:
        own = [f.sha256 for f in model.files if f.path.startswith(tuple(folders))]
        facts.append(["find-links", *own])
    if options.unneeded:
        facts.append(["unneeded", *options.unneeded])
    if model.uv_lock:
        facts.append(["uv.lock", *(f.sha256 for f in model.files if f.path in ("pyproject.toml", "uv.lock"))])
        facts.append(["requirements", *model.requirements])
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def lock(
    requirements: tuple[str, ...], model: Model, options: LockOptions, progress: Progress
) -> EnvironmentLock:
    """Resolve `requirements` to exact wheels; LockError says which requirement fails on which platform."""
    progress.step(
        f"resolving {len(requirements)} requirements for {options.platform}, Python {options.python}"
    )
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        wanted, constraints, allowed = requirements, options.constraints, dict[str, frozenset[str]]()
        if model.uv_lock:
            wanted, constraints = _with_uv_lock(requirements, model, options, folder, progress)
            allowed = locked_files(model)
        pylock = _resolve(wanted, constraints, model, options, folder, progress)
    packages = _packages(pylock, options, allowed, progress)
    return EnvironmentLock(
        inputs=input_hash(requirements, options, model),
        platform=str(options.platform),
        python=options.python,
        target=options.target,
        exclude_newer=options.exclude_newer or options.moment,
        packages=tuple(p for p in packages if p.name not in options.unneeded),
        left_out=tuple(f"{p.name}=={p.version}" for p in packages if p.name in options.unneeded),
    )


def _with_uv_lock(
    requirements: tuple[str, ...], model: Model, options: LockOptions, folder: Path, progress: Progress
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Requirements and constraints when the model's uv.lock decides versions."""
    check_python(model)
    everything = exported(model, folder, options.indexes, progress)
    environment = marker_environment(options)
    pins = {str(canonicalize_name(r.name)): r for r in active(everything, environment)}
    # requirements.txt repeats uv.lock; what else it has came with a group or an extra of the project.
    others = active((str(parsed(line, model)) for line in model.requirements), environment)
    check_pins((*active(requirements, environment), *others), pins, model)
    # mlflow-skinny in mlflow's place: what only the full one needs stays out, too.
    skinny = "mlflow" in pins and any(line.startswith("mlflow-skinny") for line in requirements)
    kept = exported(model, folder, options.indexes, progress, without="mlflow") if skinny else everything
    more = (str(r) for r in others if canonicalize_name(r.name) not in (*pins, "mlflow"))
    limits = tuple(line for line in everything if not Requirement(line).url)
    return (*kept, *requirements, *more), (*limits, *options.constraints)


def _resolve(
    requirements: tuple[str, ...],
    constraints: tuple[str, ...],
    model: Model,
    options: LockOptions,
    folder: Path,
    progress: Progress,
) -> dict[str, Any]:
    source, result = folder / "requirements.in", folder / "pylock.toml"
    limits = folder / "constraints.txt"
    source.write_text("".join(f"{_located(line, model)}\n" for line in requirements), encoding="utf-8")
    limits.write_text("".join(f"{_located(line, model)}\n" for line in constraints), encoding="utf-8")
    argv = [
        *("pip", "compile", str(source)),
        *("--python-platform", options.target, "--python-version", options.python),
        *("--only-binary", ":all:", "--generate-hashes", "--no-header", "--no-sources", "--quiet"),
        *("--format", "pylock.toml", "-o", str(result)),
    ]
    if constraints:
        argv += ["--constraints", str(limits)]
    if options.exclude_newer:
        argv += ["--exclude-newer", options.exclude_newer]
    unbuilt: list[str] = []
    while (done := run_uv(argv, options.indexes, folder, progress)).status:
        # uv tells them one by one.
        missing = set(re.findall(r"Wheels are required for `([^`]+)`", done.stderr)) - set(unbuilt)
        if not missing:
            raise _unresolvable(done.stderr, requirements, unbuilt, options)
        unbuilt += sorted(missing)
        argv += [argument for name in sorted(missing) for argument in ("--no-binary", name)]
    return tomllib.loads(result.read_text(encoding="utf-8"))


def _located(line: str, model: Model) -> str:
    """The line as uv needs it: a wheel of the model by its place here, after a look into it."""
    requirement = Requirement(line)
    parts = urllib.parse.urlsplit(requirement.url or "https:")
    if parts.scheme:
        return line
    path = urllib.parse.unquote(parts.path)
    check_wheel(model.path / path, path)
    requirement.url = f"{(model.path / path).absolute().as_uri()}#{parts.fragment}"
    return str(requirement)


def _packages(
    pylock: Mapping[str, Any],
    options: LockOptions,
    allowed: Mapping[str, frozenset[str]],
    progress: Progress,
) -> tuple[LockedPackage, ...]:
    ranks = {tag: rank for rank, tag in enumerate(target_tags(options))}
    packages = []
    for entry in pylock.get("packages", []):
        name, version = canonicalize_name(entry["name"]), str(entry.get("version", ""))
        offered = entry.get("wheels", []) or ([entry["archive"]] if "archive" in entry else [])
        hashes = allowed.get(name)
        files = offered or ([entry["sdist"]] if "sdist" in entry else [])
        known = [file for file in files if not hashes or file["hashes"]["sha256"] in hashes]
        if files and not known:
            msg = f"{name} {version}: the index has other files than the model's uv.lock"
            raise LockError(msg, hint="--index-url of the index that uv.lock was made with")
        fitting = [(rank, w) for w in known if offered and (rank := _rank(w, ranks)) is not None]
        if fitting:
            packages.append(_package(name, version, min(fitting, key=lambda f: f[0])[1], options))
        elif not offered and "sdist" in entry:
            packages.append(_from_source(name, version, entry["sdist"], ranks, options, progress))
        else:
            raise _no_wheel(name, version, known, options)
    return tuple(sorted(packages, key=lambda p: p.name))


def _package(name: str, version: str, wheel: Mapping[str, Any], options: LockOptions) -> LockedPackage:
    local = _local(wheel)
    own = options.indexes.model.absolute()
    path = local.relative_to(own).as_posix() if local and local.is_relative_to(own) else None
    if local and path:
        check_wheel(local, path)
    return LockedPackage(
        name=name,
        # The wheel of a path has its version in its name alone.
        version=version or str(parse_wheel_filename(_file(wheel))[1]),
        file=_file(wheel),
        size=int(wheel.get("size") or (local.stat().st_size if local else 0)),
        sha256=wheel["hashes"]["sha256"],
        path=path,
    )


def _from_source(
    name: str,
    version: str,
    sdist: Mapping[str, Any],
    ranks: Mapping[Tag, int],
    options: LockOptions,
    progress: Progress,
) -> LockedPackage:
    sha256 = sdist["hashes"]["sha256"]
    source = Source(
        name=name, version=version, sha256=sha256, python=options.python, exclude_newer=options.exclude_newer
    )
    wheel = built(source, options.indexes, progress)
    _, _, _, tags = parse_wheel_filename(wheel.name)
    if _rank({"name": wheel.name}, ranks) is None:
        raise _no_wheel(name, version, [{"name": wheel.name}], options)
    if all(tag.platform != "any" for tag in tags):
        here = re.fullmatch(r"glibc (\d+)\.(\d+)", os.confstr("CS_GNU_LIBC_VERSION") or "")
        newest = options.base_glibc or options.glibc
        if not here or (int(here[1]), int(here[2])) > newest:
            needs = here[0] if here else "another libc"
            msg = f"{name} {version} has no wheel, and one built here needs {needs}"
            raise LockError(msg, hint=f"build a wheel on glibc {newest[0]}.{newest[1]}; {_WAYS}")
    return LockedPackage(
        name=name,
        version=version,
        file=wheel.name,
        size=wheel.stat().st_size,
        sha256=file_digest(wheel),
        sdist=sha256,
    )


def _no_wheel(
    name: str, version: str, offered: Sequence[Mapping[str, Any]], options: LockOptions
) -> LockError:
    found = f" (found: {', '.join(_file(w) for w in offered[:3])})" if offered else ""
    msg = f"{name} {version} has no wheel for {options.target} and Python {options.python}{found}"
    return LockError(msg, hint=_WAYS)


def marker_environment(options: LockOptions) -> dict[str, str]:
    """What environment markers are compared with on the target (PEP 508)."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{options.python}.0",
        "os_name": "posix",
        "platform_machine": options.platform.machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{options.python}.0",
        "python_version": options.python,
        "sys_platform": "linux",
        "extra": "",
    }


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


def _local(wheel: Mapping[str, Any]) -> Path | None:
    if path := wheel.get("path"):
        return Path(str(path))
    parts = urllib.parse.urlsplit(str(wheel.get("url", "")))
    return Path(urllib.parse.unquote(parts.path)) if parts.scheme == "file" else None


def _unresolvable(
    stderr: str, requirements: tuple[str, ...], unbuilt: Sequence[str], options: LockOptions
) -> ServegenError:
    if silent := source_failure(stderr):
        return silent
    text = stderr.strip()
    if unbuilt and (failed := re.search(r"Failed to (?:build|download and build) `?([\w.-]+)", text)):
        msg = f"{failed[1]} has no wheel, and none can be built of it here"
        return LockError(msg, hint=_WAYS, details=text)
    filtered = re.search(r"`([^`]+)` was filtered by `exclude-newer`[^\n]*", text)
    if filtered and "published at" not in filtered[0]:
        msg = (
            f"the package index gives no upload times for {filtered[1]}, so exclude_newer cannot be followed"
        )
        return LockError(msg, hint="leave --exclude-newer out, or name an index with upload times (PEP 700)")
    hint = "log the model with versions that have wheels for it, or name another --python or --platform"
    culprits = _culprits(text, requirements)
    if len(culprits) > 1:
        hint = "they may exclude each other: change --add-requirement, or log the model with other versions"
    if filtered:
        hint = f"uploads after {options.exclude_newer} are not looked at: a later --exclude-newer"
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
