"""Bytecode for an image, made with the image's own interpreter on this machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
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


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """The image's Python, run through its own loader: no root, no namespace, no chroot."""

    argv: tuple[str, ...]
    home: Path
    tag: str
    """Part of a bytecode file's name, such as `cpython-311`."""

    @classmethod
    def of(cls, base: Base, rootfs: Path, target: Platform) -> Interpreter | None:
        """The interpreter in the unpacked base; None when this machine cannot run its code."""
        if platform.machine() != target.machine:
            return None
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
        return cls(argv=argv, home=home, tag="cpython-" + base.python.replace(".", ""))


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
