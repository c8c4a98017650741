"""Locked wheels → layer entries: uv unpacks them, their RECORD files say what belongs to which."""

from __future__ import annotations

import configparser
import csv
import functools
import io
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from packaging.utils import canonicalize_name

from servegen.distributions import Source, built, file_digest
from servegen.errors import BuildError, LockError
from servegen.oci.tar import Entry
from servegen.planning.image import BIN, SITE
from servegen.planning.untested import is_test
from servegen.progress import Progress
from servegen.uv import Indexes, run_uv, source_failure
from servegen.values.lock import EnvironmentLock, LockedPackage

_CHANGED = "the file changed on the index or on the way; servegen lock --update-lock renews the lock"


def install(
    packages: Iterable[LockedPackage], lock: EnvironmentLock, indexes: Indexes, tree: Path, progress: Progress
) -> None:
    """Unpack exactly these wheels into the new folder `tree`; their hashes are checked."""
    requirements = tree.with_suffix(".requirements.txt")
    lines = (f"{_named(p, lock, indexes, progress)} --hash=sha256:{p.sha256}\n" for p in packages)
    requirements.write_text("".join(lines), encoding="utf-8")
    done = run_uv(
        [
            *("pip", "install", "--target", str(tree), "--quiet", "-r", str(requirements)),
            *("--python-platform", lock.target, "--python-version", lock.python),
            *("--only-binary", ":all:", "--require-hashes", "--no-deps", "--no-sources"),
        ],
        indexes,
        tree.parent,
        progress,
    )
    if done.status:
        if silent := source_failure(done.stderr):
            raise silent
        text = done.stderr.strip()
        if "Hash mismatch" in text:
            named = re.search(r"`([^`]+)`", text)
            msg = f"{named[1] if named else 'a wheel'}: its sha256 is not the one in servegen.lock"
            raise LockError(msg, hint=_CHANGED, details=text)
        msg = "the locked wheels cannot be installed"
        hint = "see uv's text above; servegen lock --update-lock resolves anew"
        raise BuildError(msg, hint=hint, details=text)


def _named(package: LockedPackage, lock: EnvironmentLock, indexes: Indexes, progress: Progress) -> str:
    """The package in uv's words: by version, or by the place of a wheel that no index has."""
    if package.path:
        return f"{package.name} @ {(indexes.model / package.path).absolute().as_uri()}"
    if package.sdist:
        source = Source(name=package.name, version=package.version, sha256=package.sdist, python=lock.python)
        wheel = built(source, indexes, progress)
        if file_digest(wheel) != package.sha256:
            msg = f"{package.name} {package.version}, built from source again, is not what servegen.lock has"
            raise LockError(msg, hint="servegen lock --update-lock; or a wheel of it in --wheelhouse DIR")
        return f"{package.name} @ {wheel.absolute().as_uri()}"
    if url := indexes.urls.get(package.name):
        return f"{package.name} @ {url}"
    return f"{package.name}=={package.version}"


Owners = dict[str, tuple[str, str]]
"""Path → the first wheel that has it, and what its RECORD says of the content."""


def split(
    tree: Path, interpreter: str, *, untested: Collection[str] = (), owners: Owners | None = None
) -> dict[str, list[Entry]]:
    """Canonical name → entries of that wheel alone, without tests for the `untested`.

    A path may belong to several wheels when its content is the same, as in mlflow, mlflow-skinny and
    mlflow-tracing; each gets it, so that its layer depends on its own wheel only. `owners` are those of
    wheels in other trees, and are added to.
    """
    owners, tree = {} if owners is None else owners, tree.resolve()
    return {
        name: entries
        for record in sorted(tree.glob("*.dist-info/RECORD"))
        for name, entries in [_wheel(tree, record, interpreter, owners, untested)]
    }


def _wheel(
    tree: Path,
    record: Path,
    interpreter: str,
    owners: Owners,
    untested: Collection[str],
) -> tuple[str, list[Entry]]:
    info = record.parent
    name = _name(info)
    kept, entries = [], []
    inside = functools.cache(lambda folder: folder.resolve().is_relative_to(tree))
    with record.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    for path, digest, size in rows:
        clean = os.path.normpath(path)
        if clean.startswith("bin/") or clean.endswith((".pyc", "direct_url.json")):
            # Scripts name the build host's interpreter and are written anew; the others may name its folders.
            continue
        if is_test(clean, name, untested):
            # Not in RECORD either: what is listed there is in the image.
            continue
        source = tree / clean
        linked = source.is_symlink() and not source.resolve().is_relative_to(tree)
        if clean.startswith(("..", "/")) or linked or not inside(source.parent):
            msg = f"the wheel {name} names the file {path!r}, which lies outside of it"
            raise BuildError(msg, hint="do not use this wheel; tell its authors")
        first = owners.setdefault(clean, (name, digest))
        if first[1] != digest:
            msg = f"{clean} is in {first[0]} and in {name} with different content"
            raise BuildError(msg, hint="one of the two packages has to go; see the model's requirements")
        if not source.is_file():
            msg = f"the wheel {name} lists {clean}, which it does not hold"
            raise BuildError(msg, hint="do not use this wheel; tell its authors")
        kept.append((path, digest, size))
        if source != record:
            entries.append(_file(f"{SITE}/{clean}", source))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(kept)
    entries.append(Entry(path=f"{SITE}/{record.relative_to(tree).as_posix()}", data=text.getvalue().encode()))
    return name, entries + _scripts(info, interpreter)


def _name(info: Path) -> str:
    with (info / "METADATA").open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if line.startswith("Name:"):
                return canonicalize_name(line.partition(":")[2].strip())
    msg = f"{info.name} has no name"
    raise BuildError(msg, hint="do not use this wheel; tell its authors")


def _file(path: str, source: Path) -> Entry:
    return Entry(path=path, source=source, mode=0o755 if source.stat().st_mode & 0o111 else 0o644)


def _scripts(info: Path, interpreter: str) -> list[Entry]:
    points = info / "entry_points.txt"
    if not points.is_file():
        return []
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names of scripts keep their case
    parser.read_string(points.read_text(encoding="utf-8"))
    scripts = parser["console_scripts"] if parser.has_section("console_scripts") else {}
    entries = []
    for script, target in sorted(scripts.items()):
        module, _, attribute = target.split("[")[0].strip().partition(":")
        first = attribute.split(".")[0]
        body = (
            f"#!{interpreter}\nimport sys\nfrom {module} import {first}\n"
            f'if __name__ == "__main__":\n    sys.exit({attribute}())\n'
        )
        entries.append(Entry(path=f"{BIN}/{script}", data=body.encode(), mode=0o755))
    return entries
