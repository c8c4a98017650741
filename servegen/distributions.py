"""Wheels that no index has: checking those of a model, and building one from a source distribution."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from servegen.errors import LockError
from servegen.progress import Progress
from servegen.scratch import scratch_folder
from servegen.uv import Indexes, run_uv, source_failure

_EPOCH = (1980, 1, 1, 0, 0, 0)
_SCHEMES = ("purelib", "platlib", "data", "scripts", "headers")
_LEFT_OUT = ("INSTALLER", "REQUESTED", "direct_url.json", "RECORD")


@dataclass(frozen=True, kw_only=True)
class Source:
    """One exact source distribution, and the Python that its wheel is for."""

    name: str
    version: str
    sha256: str
    python: str
    """Major and minor version."""
    exclude_newer: str | None = None
    """Moment after which uploads of build requirements are not looked at."""


def check_wheel(path: Path, shown: str) -> None:
    """LockError unless unpacking the wheel writes below its folder only, and what wheels have (PEP 427)."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as exc:
        msg = f"{shown} of the model is no wheel: {exc}"
        raise LockError(msg, hint="log the model again with the wheel that the build tool wrote") from exc
    for name in names:
        parts = name.rstrip("/").split("/")
        data = re.fullmatch(r"[^/]+\.data", parts[0]) and len(parts) > 1
        odd = (
            "\\" in name
            or "\0" in name
            or re.match(r"/|[A-Za-z]:", name)
            or not {"", ".", ".."}.isdisjoint(parts)
        )
        if odd or (data and parts[1] not in _SCHEMES):
            msg = f"{shown} of the model holds {name!r}, which no wheel may"
            raise LockError(msg, hint="do not use this wheel; tell its authors")
    # The file's name says who it is; another content would be locked under that name.
    stem = "-".join(path.name.split("-")[:2])
    if f"{stem}.dist-info/METADATA" not in names:
        msg = f"{shown} of the model holds no {stem}.dist-info/METADATA"
        raise LockError(msg, hint="a wheel keeps the name that the build tool gave it")


def built(source: Source, indexes: Indexes, progress: Progress) -> Path:
    """The wheel of `source`, built at most once on this machine; LockError when that fails.

    The same files give the same bytes: times, order and compression of what the build made are dropped.
    """
    folder = indexes.built / f"{source.sha256}-{source.python}-{os.uname().machine}"
    if found := list(folder.glob("*.whl")):
        return found[0]
    progress.step(f"building {source.name} {source.version} from source: the index has no wheel of it")
    with scratch_folder(indexes.built, "build-") as scratch:
        tree, ready = scratch / "tree", scratch / "ready"
        ready.mkdir()
        requirements = scratch / "requirements.txt"
        requirements.write_text(
            f"{source.name}=={source.version} --hash=sha256:{source.sha256}\n", encoding="utf-8"
        )
        newer = ["--exclude-newer", source.exclude_newer] if source.exclude_newer else []
        done = run_uv(
            [
                *("pip", "install", "--target", str(tree), "--quiet", "-r", str(requirements)),
                *("--only-binary", ":all:", "--no-binary", source.name),
                *("--require-hashes", "--no-deps", "--no-sources", *newer),
            ],
            indexes,
            scratch,
            progress,
            python=interpreter(source.python, indexes, scratch, progress) or sys.executable,
        )
        if done.status:
            if silent := source_failure(done.stderr):
                raise silent
            msg = f"{source.name} {source.version} has no wheel, and none can be built of it here"
            raise LockError(
                msg, hint="a wheel of it in --wheelhouse DIR, or another version", details=done.stderr.strip()
            )
        _pack(tree, ready)
        try:
            ready.rename(folder)
        except OSError:
            # Another process was faster.
            if not folder.is_dir():
                raise
    return next(folder.glob("*.whl"))


def interpreter(python: str, indexes: Indexes, folder: Path, progress: Progress) -> str | None:
    """A Python of this minor version on this machine."""
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    done = run_uv(["python", "find"], indexes, folder, progress, python=python, sources=False)
    return done.stdout.strip() if done.status == 0 else None


def file_digest(path: Path) -> str:
    """sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _pack(tree: Path, folder: Path) -> None:
    (info,) = tree.glob("*.dist-info")
    files: dict[str, Path] = {}
    for path in sorted(p for p in tree.rglob("*") if p.is_file()):
        name = path.relative_to(tree).as_posix()
        # Scripts name this machine's interpreter; images get theirs from the entry points.
        if name == ".lock" or name.startswith("bin/") or "__pycache__/" in name:
            continue
        if path.parent == info and path.name in _LEFT_OUT:
            continue
        files[name] = path
    tags = re.findall(
        r"^Tag:\s*(\S+)-(\S+)-(\S+)\s*$", (info / "WHEEL").read_text(encoding="utf-8"), re.MULTILINE
    )
    tag = "-".join(".".join(sorted(set(column))) for column in zip(*tags, strict=True))
    target = folder / f"{info.name.removesuffix('.dist-info')}-{tag}.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, path in files.items():
            _add(archive, name, path.read_bytes(), executable=bool(path.stat().st_mode & 0o111))
        _add(archive, f"{info.name}/RECORD", _record(files, info.name), executable=False)


def _add(archive: zipfile.ZipFile, name: str, content: bytes, *, executable: bool) -> None:
    member = zipfile.ZipInfo(name, _EPOCH)
    member.external_attr = (0o100755 if executable else 0o100644) << 16
    archive.writestr(member, content)


def _record(files: Mapping[str, Path], info: str) -> bytes:
    rows = []
    for name, path in files.items():
        content = path.read_bytes()
        code = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        quoted = f'"{name}"' if "," in name else name
        rows.append(f"{quoted},sha256={code},{len(content)}")
    return "\n".join([*rows, f"{info}/RECORD,,\n"]).encode()
