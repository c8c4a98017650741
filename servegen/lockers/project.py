"""The uv.lock that was logged with a model: exported as it stands, never resolved again."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from servegen.errors import LockError
from servegen.lockers.requirements import parsed
from servegen.progress import Progress
from servegen.uv import Indexes, run_uv
from servegen.values.model import Model

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_OTHER = "--no-uv-lock takes requirements.txt instead"


def exported(
    model: Model, folder: Path, indexes: Indexes, progress: Progress, *, without: str | None = None
) -> tuple[str, ...]:
    """Every version of the model's uv.lock as a requirement; without one package and what only it needs."""
    project = folder / "project"
    project.mkdir(exist_ok=True)
    for name in ("uv.lock", "pyproject.toml"):
        shutil.copyfile(model.path / name, project / name)
    prune = ["--prune", without] if without else []
    done = run_uv(
        [
            *("export", "--frozen", "--no-emit-project", "--no-dev", "--no-hashes", "--no-header"),
            *("--no-annotate", "--quiet", *prune),
        ],
        indexes,
        project,
        progress,
    )
    if done.status:
        msg = f"the uv.lock of {model.pin.uri} cannot be exported"
        raise LockError(msg, hint=_OTHER, details=done.stderr.strip())
    lines = (line.strip() for line in done.stdout.splitlines())
    return tuple(str(parsed(line, model)) for line in lines if line and not line.startswith("#"))


def active(lines: Iterable[str], environment: Mapping[str, str]) -> list[Requirement]:
    """The requirements that count in this environment."""
    found = (Requirement(line) for line in lines)
    return [r for r in found if r.marker is None or r.marker.evaluate(dict(environment))]


def check_pins(wanted: Iterable[Requirement], locked: Mapping[str, Requirement], model: Model) -> None:
    """LockError, with both, for a requirement that excludes the version in uv.lock."""
    for requirement in wanted:
        pin = locked.get(canonicalize_name(requirement.name))
        if pin is not None and not requirement.url and not pin.url and not _agree(requirement, pin):
            needed = f"{requirement.name}{requirement.specifier}"
            msg = f"the uv.lock of {model.pin.uri} has {pin.name}{pin.specifier}, and {needed} is needed"
            raise LockError(msg, hint=f"uv add '{needed}' in the project; or {_OTHER}")


def check_python(model: Model) -> None:
    """LockError when uv.lock was made for other versions of Python than the model's."""
    wanted = _content(model).get("requires-python", "")
    try:
        versions = SpecifierSet(str(wanted))
    except InvalidSpecifier as exc:
        raise _unreadable(model, exc) from exc
    # Of the wanted version maybe only the minor part is known.
    if not any(versions.contains(v) for v in (model.python, f"{model.python_minor}.99")):
        msg = (
            f"the uv.lock of {model.pin.uri} is for Python {wanted}, and the image gets {model.python_minor}"
        )
        raise LockError(msg, hint=f"--python VERSION that it allows; or {_OTHER}")


def locked_files(model: Model) -> dict[str, frozenset[str]]:
    """Canonical name → sha256 of every file that uv.lock allows."""
    found = _content(model)
    try:
        files: dict[str, set[str]] = {}
        for package in found.get("package", []):
            entries: list[dict[str, Any]] = [*package.get("wheels", []), package.get("sdist") or {}]
            hashes = {str(e["hash"]).removeprefix("sha256:") for e in entries if "hash" in e}
            files.setdefault(canonicalize_name(package["name"]), set()).update(hashes)
    except (TypeError, KeyError, AttributeError) as exc:
        raise _unreadable(model, exc) from exc
    return {name: frozenset(hashes) for name, hashes in files.items() if hashes}


def _content(model: Model) -> dict[str, Any]:
    try:
        return tomllib.loads((model.path / "uv.lock").read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as exc:
        raise _unreadable(model, exc) from exc


def _unreadable(model: Model, why: Exception) -> LockError:
    reason = " ".join(str(why).split())
    return LockError(f"the uv.lock of {model.pin.uri} cannot be read: {reason[:200]}", hint=_OTHER)


def _agree(wanted: Requirement, pin: Requirement) -> bool:
    version = re.fullmatch(r"===?\s*(\S+)", str(pin.specifier))
    return version is None or wanted.specifier.contains(version[1], prereleases=True)
