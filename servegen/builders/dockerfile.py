"""A Dockerfile and the files it needs: what `--dockerfile-only` writes, and what the container engines build.

Every file of the image is in the folder already, so a build downloads at most the base and runs nothing: no
package index, no secret, no emulation for another platform, and the files of the embedded builder's image.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from servegen import __version__
from servegen.builders import BuildInputs
from servegen.builders.embedded import make_layers
from servegen.errors import BuildError
from servegen.oci.compress import compression_of, decompressed
from servegen.oci.image import Layer
from servegen.oci.store import Store
from servegen.oci.untar import TarReader
from servegen.planning.image import APP
from servegen.progress import Progress
from servegen.values.image import MODEL, Base, ImagePlan, ImageRef
from servegen.values.lock import EnvironmentLock, LockedPackage

_CODE, _MODEL = "code", "model"
"""Names of the layers that are folders in the context; the others are archives."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One instruction of a Dockerfile."""

    keyword: str
    words: tuple[str, ...]
    """Already quoted; several are written one a line."""


def write_context(inputs: BuildInputs, folder: Path, progress: Progress) -> None:
    """Write Dockerfile, layers, server and model into `folder`, which must be empty."""
    plan, store = inputs.plan, Store(inputs.store)
    # The model is copied as it is: a layer of it would only be unpacked again.
    others = replace(plan, layers=tuple(layer for layer in plan.layers if layer.name != _MODEL))
    layers = make_layers(replace(inputs, plan=others), progress)
    present = _base_reference(inputs.base)
    skipped = inputs.base.layers if present else ()
    wanted = [layer for layer in layers if layer.key not in skipped]
    inputs.known.fetch([layer.key for layer in wanted if layer.key])
    progress.step("writing the build context")
    archives = []
    (folder / "layers").mkdir()
    for number, layer in enumerate(wanted):
        if layer.name == _CODE:
            _unpack(store, layer, APP, folder / "app")
        else:
            archives.append(f"layers/{number:02d}-{layer.name.replace(':', '-')}.tar")
            _decompress(store, layer, folder / archives[-1])
    for file in inputs.model.files:
        target = folder / "model" / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(inputs.model.path / file.path, target)
        target.chmod(0o755 if file.executable else 0o644)
    (folder / "requirements.txt").write_text(_requirements(inputs.lock), encoding="utf-8")
    (folder / ".dockerignore").write_text("*\n!layers\n!app\n!model\n", encoding="utf-8")
    (folder / "Dockerfile").write_text(text(steps(plan, present, archives)), encoding="utf-8")
    _open_to_everybody(folder)


def steps(plan: ImagePlan, base: str | None, archives: Iterable[str]) -> list[Step]:
    """The instructions that make the plan's image; without `base`, which FROM names, `archives` hold it."""
    return [
        Step(keyword="FROM", words=(base or "scratch",)),
        *(Step(keyword="ADD", words=(f"{archive} /",)) for archive in archives),
        Step(keyword="COPY", words=(f"--chown=0:0 app/ /{APP}/",)),
        Step(keyword="COPY", words=(f"--chown=0:0 model/ /{MODEL}/",)),
        Step(keyword="ENV", words=tuple(f"{name}={quoted(value)}" for name, value in plan.env)),
        Step(keyword="WORKDIR", words=(plan.working_dir,)),
        Step(keyword="EXPOSE", words=(f"{plan.port}/tcp",)),
        Step(keyword="STOPSIGNAL", words=("SIGTERM",)),
        Step(keyword="USER", words=(plan.user,)),
        Step(keyword="ENTRYPOINT", words=(json.dumps(list(plan.entrypoint)),)),
        Step(keyword="CMD", words=("[]",)),
        Step(keyword="LABEL", words=tuple(f"{name}={quoted(value)}" for name, value in plan.labels)),
    ]


def text(instructions: Iterable[Step]) -> str:
    """The Dockerfile."""
    lines = [f"{step.keyword} " + " \\\n    ".join(step.words) for step in instructions]
    head = f"# Written by servegen {__version__}; every file of the image is in this folder."
    return "\n".join([head, *lines]) + "\n"


def quoted(value: str) -> str:
    """`value` as one word of ENV or LABEL, in which nothing is replaced."""
    if "\n" in value or "\r" in value:
        msg = f"{value!r} has more than one line, which a Dockerfile cannot say"
        raise BuildError(msg, hint="--builder embedded, or a value of one line")
    if "'" not in value:
        # Nothing is special in it, and JSON stays readable.
        return f"'{value}'"
    for special in ("\\", '"', "$"):
        value = value.replace(special, "\\" + special)
    return f'"{value}"'


def _base_reference(base: Base) -> str | None:
    """What FROM names; None for a base that no registry has."""
    try:
        ref = ImageRef.parse(base.name)
    except ValueError:
        return None
    return str(ref.at(base.digest)) if ref.registry else None


def _requirements(lock: EnvironmentLock) -> str:
    """What is installed, for scanners and readers; the build does not use it."""
    lines = (f"{_named(p)} --hash=sha256:{p.sha256}\n" for p in lock.packages)
    return "# What is in layers/, for scanners and readers; the build does not use it.\n" + "".join(lines)


def _named(package: LockedPackage) -> str:
    # A wheel of the model is in no index, where another package may have its name.
    return f"./{_MODEL}/{package.path}" if package.path else f"{package.name}=={package.version}"


def _decompress(store: Store, layer: Layer, target: Path) -> None:
    with store.blob(layer.blob.digest).open("rb") as source, target.open("wb") as out:
        for piece in decompressed(source, compression_of(layer.blob.media_type)):
            out.write(piece)


def _unpack(store: Store, layer: Layer, prefix: str, target: Path) -> None:
    with store.blob(layer.blob.digest).open("rb") as source:
        reader = TarReader(decompressed(source, compression_of(layer.blob.media_type)))
        for member in reader.members():
            if member.kind != "file":
                continue
            file = target / Path(member.path).relative_to(prefix)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(reader.read())
            file.chmod(member.mode)


def _open_to_everybody(folder: Path) -> None:
    """Modes and times that COPY takes over: neither our umask nor the time of the build may show."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (0, 0))
