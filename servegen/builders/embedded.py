"""The default builder: layers written by servegen itself; no daemon, no root, no container engine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from servegen.builders import Builder, BuildInputs
from servegen.builders.bases.unpacked import unpacked_base
from servegen.builders.bytecode import Interpreter, compiled, magic_of
from servegen.builders.closure import objects_of, remember
from servegen.builders.code import server_entries
from servegen.builders.wheels import Owners, install, split
from servegen.errors import BuildError
from servegen.oci.compress import Compression
from servegen.oci.image import ImageConfig, Layer, assemble
from servegen.oci.store import Store
from servegen.oci.tar import Entry, LayerBlob, write_layer
from servegen.progress import Progress
from servegen.scratch import scratch_folder
from servegen.values.image import MODEL, Base, Image, ImageRef, LayerPlan, StoredImage


class Embedded:
    """Writes layers, config and image manifest into the store; a layer of a known key is not made again."""

    def check(self, env: Mapping[str, str], progress: Progress) -> None:
        """Nothing is needed."""

    def build(self, inputs: BuildInputs, progress: Progress) -> StoredImage:
        """Build the image; the same inputs give the same digest."""
        store, plan = Store(inputs.store), inputs.plan
        layers = make_layers(inputs, progress)
        config = ImageConfig(
            platform=plan.platform,
            env=plan.env,
            entrypoint=plan.entrypoint,
            user=plan.user,
            working_dir=plan.working_dir,
            ports=(plan.port,),
            stop_signal="SIGTERM",
            labels=plan.labels,
        )
        descriptor = assemble(store, config, layers)
        store.tag(inputs.reference, descriptor)
        ref = ImageRef.parse(inputs.reference).at(descriptor.digest)
        image = Image(ref=ref, platform=plan.platform, labels=plan.labels, port=plan.port)
        return StoredImage(image=image, store=inputs.store)


def make_layers(inputs: BuildInputs, progress: Progress) -> list[Layer]:
    """The plan's layers, each in the store or, where it is known, in the registry alone."""
    with scratch_folder(inputs.scratch, "build-") as folder:
        made = _Build(inputs=inputs, store=Store(inputs.store), folder=folder, progress=progress)
        return made.layers()


@dataclass(kw_only=True)
class _Build:
    inputs: BuildInputs
    store: Store
    folder: Path
    progress: Progress
    _wheels: dict[str, list[Entry]] = field(default_factory=dict)
    _owners: Owners = field(default_factory=dict)

    def layers(self) -> list[Layer]:
        plan = self.inputs.plan
        made = {layer.key: self.inputs.known.find(layer.key) for layer in plan.layers}
        missing = [layer for layer in plan.layers if made[layer.key] is None]
        if any(layer.name == "base" for layer in missing):
            msg = f"the layers of the base {self.inputs.base.name} are not in the store"
            raise BuildError(msg, hint="run the command again; the cache was cleaned meanwhile")
        if any(layer.name != "model" for layer in missing):
            self._interpreter = self._find_interpreter()
        with ThreadPoolExecutor(max_workers=max(1, len(os.sched_getaffinity(0)))) as pool:
            making = []
            try:
                for batch in _batches(missing):
                    # Layers are written while the wheels of the next batch are on their way.
                    self._install([name for layer in batch for name in layer.packages])
                    making += [(layer, pool.submit(self._make, layer)) for layer in batch]
                if missing:
                    self.progress.step(f"writing {len(missing)} of {len(plan.layers)} layers")
                made |= {layer.key: blob.result() for layer, blob in making}
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [Layer(blob=_present(made[p.key], p), name=p.name, key=p.key) for p in plan.layers]

    def _install(self, names: list[str]) -> None:
        if not names:
            return
        wanted = set(names)
        tree = Path(tempfile.mkdtemp(dir=self.folder)) / "tree"
        packages = [p for p in self.inputs.lock.packages if p.name in wanted]
        size = sum(p.size for p in packages) / 1e6
        self.progress.step(f"installing {len(packages)} packages ({size:.0f} MB of wheels)")
        install(packages, self.inputs.lock, self.inputs.indexes, tree, self.progress)
        interpreter, untested = self.inputs.base.interpreter, self.inputs.plan.untested
        self._wheels |= split(tree, interpreter, untested=untested, owners=self._owners)
        if absent := wanted - self._wheels.keys():
            msg = f"the wheels of {', '.join(sorted(absent))} hold no distribution of that name"
            raise BuildError(msg, hint="do not use these wheels; tell their authors")

    def _make(self, layer: LayerPlan) -> LayerBlob:
        with self.store.build_lock(layer.key):
            found = self.store.layer(layer.key)
            return found or self._write(layer)

    def _write(self, layer: LayerPlan) -> LayerBlob:
        content: dict[str, Callable[[], list[Entry]]] = {
            "model": self._model,
            "code": lambda: self._with_bytecode(server_entries(self.inputs.code)),
        }
        entries = content.get(layer.name, lambda: self._dependencies(layer))()
        # A new model version is the layer that travels most, and trained weights hardly compress.
        compression: Compression = "none" if layer.name == "model" else self.inputs.compression
        counted = partial(self.progress.bytes, f"write {layer.name}")
        with self.store.scratch() as temporary:
            blob = write_layer(entries, temporary, compression, counted)
            self.store.commit(temporary, blob.digest)
        self.store.record_layer(layer.key, blob)
        return blob

    def _dependencies(self, layer: LayerPlan) -> list[Entry]:
        wheels = {name: self._wheels[name] for name in layer.packages}
        # First, so that a layer in the store has its record.
        remember(self.store, layer.key, objects_of(wheels))
        entries = {e.path: e for found in wheels.values() for e in found}
        return self._with_bytecode(list(entries.values()))

    def _with_bytecode(self, entries: list[Entry]) -> list[Entry]:
        interpreter = self._interpreter
        if interpreter is None:
            return entries
        scratch = Path(tempfile.mkdtemp(dir=self.folder))
        return entries + compiled(entries, interpreter, scratch, self.progress)

    def _model(self) -> list[Entry]:
        model = self.inputs.model
        return [
            Entry(
                path=f"{MODEL}/{f.path}",
                source=(model.path / f.path).resolve(),
                mode=0o755 if f.executable else 0o644,
            )
            for f in model.files
        ]

    def _find_interpreter(self) -> Interpreter | None:
        compiler, base = self.inputs.compiler, self.inputs.base
        if compiler is None:
            return None
        if compiler.local:
            found = Interpreter.local(compiler.local, compiler.python)
        else:
            from_base = compiler.base or base
            found = Interpreter.of(from_base, self._unpacked(from_base))
        if compiler.base != base and found.magic is not None:
            wanted = magic_of(base, self._unpacked(base))
            if wanted is not None and wanted != found.magic:
                msg = f"the base {base.name} has a Python {base.python} with bytecode of its own ({wanted})"
                raise BuildError(msg, hint="--base REF with a released Python")
        return found

    def _unpacked(self, base: Base) -> Path:
        # The base may be in the registry alone.
        self.inputs.known.fetch(base.layers)
        return unpacked_base(base, self.inputs.plan.platform, self.store, self.inputs.scratch)


def _batches(layers: list[LayerPlan]) -> list[list[LayerPlan]]:
    """The layers in the order in which they are made: small wheels are here first, big ones take longer."""
    big = [layer for layer in layers if layer.name.startswith("dep:")]
    small = [layer for layer in layers if layer not in big]
    # Within a batch the plan's order, biggest first, so that two workers end at about the same time.
    return [batch for batch in (small, big) if batch]


def _present(blob: LayerBlob | None, layer: LayerPlan) -> LayerBlob:
    if blob is None:
        msg = f"the layer {layer.name} was not made"
        raise BuildError(msg, hint="run with -v and report this as a bug")
    return blob


BUILDER: type[Builder] = Embedded
