"""Bytecode for an image, made on this machine: with the image's own interpreter where it runs here.

Bytecode is the same for all architectures, so for another one any Python of the same minor version will do.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from servegen.errors import BuildError
from servegen.oci.tar import Entry
from servegen.planning.bytecode import has_bytecode
from servegen.planning.image import SITE
from servegen.process import run
from servegen.progress import Progress
from servegen.values.image import Base, Platform

_PROGRAM = Path(__file__).with_name("compile_pyc.py")
_MAGIC = re.compile(r"MAGIC_NUMBER = \((\d+)\)\.to_bytes")
_ASK = (
    "import importlib.util, json, platform, sys;"
    "print(json.dumps([platform.python_implementation(), sys.version_info[:2], sys.version_info[3],"
    " platform.python_version(), sys.base_prefix,"
    " int.from_bytes(importlib.util.MAGIC_NUMBER[:2], 'little')]))"
)


@dataclass(frozen=True, kw_only=True)
class LocalPython:
    """A Python of this machine."""

    program: str
    home: Path
    version: str
    """Such as 3.11.7."""
    magic: int
    """What its bytecode files begin with."""

    @classmethod
    def find(cls, minor: str, path: str | None, progress: Progress) -> LocalPython | None:
        """A released CPython of the minor version, ours or one on `path`; None when there is none."""
        for program in (sys.executable, shutil.which(f"python{minor}", path=path)):
            found = cls._asked(program, minor, progress) if program else None
            if found:
                return found
        return None

    @classmethod
    def _asked(cls, program: str, minor: str, progress: Progress) -> LocalPython | None:
        argv = [program, "-I", "-c", _ASK]
        try:
            done = run(argv, progress=progress, env={})
            name, version, level, text, home, magic = json.loads(done.stdout)
        except (OSError, ValueError):
            # Something else of that name on PATH.
            return None
        if name != "CPython" or ".".join(map(str, version)) != minor or level != "final":
            return None
        return cls(program=program, home=Path(home), version=text, magic=magic)


@dataclass(frozen=True, kw_only=True)
class Compiler:
    """Whose Python makes the bytecode of an image: that of a base which runs here, or one of this machine."""

    build: str
    """What its bytecode depends on; a part of the layers' keys."""
    python: str
    """Major and minor version."""
    base: Base | None = None
    local: LocalPython | None = None

    @classmethod
    def choose(
        cls,
        base: Base,
        target: Platform,
        bases: Mapping[Platform, Base],
        path: str | None,
        progress: Progress,
    ) -> Compiler | None:
        """For an image on `base`; `bases` are those of the same run. None when no Python here will do."""
        native = base if runs_here(target) else next((b for p, b in bases.items() if runs_here(p)), None)
        if native and native.python == base.python:
            return cls(build=native.build, python=base.python, base=native)
        local = LocalPython.find(base.python, path, progress)
        return cls(build=f"cpython-{local.version}", python=base.python, local=local) if local else None


def runs_here(target: Platform) -> bool:
    """Whether this machine can run programs for `target`."""
    return platform.machine() == target.machine


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A Python, ready to compile."""

    argv: tuple[str, ...]
    home: Path
    tag: str
    """Part of a bytecode file's name, such as `cpython-311`."""
    magic: int | None = None
    """What its bytecode files begin with; None where that is not known."""

    @classmethod
    def local(cls, found: LocalPython, minor: str) -> Interpreter:
        """A Python of this machine."""
        argv = (found.program, "-W", "ignore", "-s", "-S", str(_PROGRAM))
        return cls(argv=argv, home=found.home, tag=_tag(minor), magic=found.magic)

    @classmethod
    def of(cls, base: Base, rootfs: Path) -> Interpreter:
        """The Python in an unpacked base, run through its own loader: no root, no namespace, no chroot."""
        program = inside(rootfs, base.interpreter)
        loaders = sorted(
            p for d in ("usr/lib64", "lib64", "usr/lib", "lib") for p in (rootfs / d).glob("ld-linux-*.so.*")
        )
        if not loaders:
            loaders = sorted((rootfs / "usr/lib").glob("*/ld-linux-*.so.*"))
        if not loaders or not program.is_file():
            msg = f"the base {base.name} has no Python {base.python} at {base.interpreter} that runs on glibc"
            raise BuildError(msg, hint="--base debian, or a Debian-based Python image")
        loader = inside(rootfs, "/" + loaders[0].relative_to(rootfs).as_posix())
        home = program.parent.parent
        libraries = [home / "lib", *sorted((rootfs / "usr/lib").glob("*-linux-gnu")), loader.parent]
        path = ":".join(str(p) for p in dict.fromkeys(libraries))
        argv = (str(loader), "--library-path", path, str(program), "-W", "ignore", "-s", "-S", str(_PROGRAM))
        return cls(argv=argv, home=home, tag=_tag(base.python), magic=magic_of(base, rootfs))


def magic_of(base: Base, rootfs: Path) -> int | None:
    """What an unpacked base's bytecode files begin with; None where its library does not say."""
    library = inside(rootfs, base.interpreter).parent.parent / "lib" / f"python{base.python}"
    try:
        text = (library / "importlib/_bootstrap_external.py").read_text(encoding="utf-8")
    except OSError:
        return None
    found = _MAGIC.search(text)
    return int(found[1]) if found else None


def _tag(minor: str) -> str:
    return "cpython-" + minor.replace(".", "")


def inside(rootfs: Path, path: str) -> Path:
    """Where `path` of the image lies here; links are followed as in the image, so it stays below `rootfs`."""
    here, parts, followed = PurePosixPath("/"), list(PurePosixPath(path).parts[1:]), 0
    while parts:
        part = parts.pop(0)
        if part == "..":
            here = here.parent
            continue
        place = rootfs / here.relative_to("/") / part
        if place.is_symlink() and followed < 40:
            followed += 1
            link = PurePosixPath(os.readlink(place))  # noqa: PTH115 - Path.readlink would be relative to this machine
            if link.is_absolute():
                here = PurePosixPath("/")
                link = link.relative_to("/")
            parts = [*link.parts, *parts]
        else:
            here = here / part
    return rootfs / here.relative_to("/")


def compiled(
    entries: Iterable[Entry], interpreter: Interpreter, scratch: Path, progress: Progress
) -> list[Entry]:
    """Entries of the bytecode of all Python files among `entries`; the files are written below `scratch`."""
    scratch.mkdir(parents=True, exist_ok=True)
    wanted: list[tuple[Path, str]] = []
    lines = []
    for entry in entries:
        path = PurePosixPath(entry.path)
        if entry.kind != "file" or path.suffix != ".py" or entry.source is None:
            continue
        if not has_bytecode(entry.path, SITE):
            continue
        name = str(path.parent / "__pycache__" / f"{path.stem}.{interpreter.tag}.pyc")
        target = scratch / f"{len(wanted)}.pyc"
        wanted.append((target, name))
        lines.append(f"{entry.source.resolve()}\t{target}\t/{entry.path}\n")
    if not wanted:
        return []
    env = {"PYTHONHOME": str(interpreter.home), "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
    done = run(interpreter.argv, progress=progress, env=env, stdin="".join(lines))
    if done.status:
        msg = "the base's Python cannot compile the packages"
        raise BuildError(msg, hint="run with -v; is the base for this platform?", details=done.stderr[-2000:])
    return [Entry(path=name, source=target) for target, name in wanted if target.is_file()]
