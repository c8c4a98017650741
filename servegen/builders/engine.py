"""What the builders docker, podman, buildah and nerdctl share: build the context, take the image over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from servegen.builders import BuildInputs
from servegen.builders.dockerfile import write_context
from servegen.errors import BuildError
from servegen.oci.archive import import_docker_archive
from servegen.oci.image import read_image
from servegen.oci.store import Store
from servegen.process import Completed, run
from servegen.progress import Progress
from servegen.scratch import scratch_folder
from servegen.values.image import Image, ImageRef, StoredImage

_OWN = "--builder embedded needs no container engine"


class Engine:
    """Hands a build context to a program; its image stays there under the same name."""

    program: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ()
    """Of its `build`."""
    variables: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Environment of its `build`, beside the user's own."""

    def check(self, env: Mapping[str, str], progress: Progress) -> None:
        """Raise BuildError unless the program is there and whatever does its work answers."""
        done = self._run(["info"], env, progress)
        if done.status:
            msg = f"{self.program} does not answer: {_last_line(done)}"
            raise BuildError(msg, hint=f"start it and see that `{self.program} info` answers; or {_OWN}")

    def build(self, inputs: BuildInputs, progress: Progress) -> StoredImage:
        """Build the image and take it over into the store, where verification and push find it."""
        env, store = {**inputs.indexes.env, **self.variables}, Store(inputs.store)
        with scratch_folder(inputs.scratch, "context-") as folder:
            context, archive = folder / "context", folder / "image.tar"
            context.mkdir()
            write_context(inputs, context, progress)
            progress.step(f"building with {self.program}")
            self._must(self.building(inputs, context), env, progress, "does not build the image")
            self._must(self.saving(inputs.reference, archive), env, progress, "does not hand out the image")
            known = [blob for key in inputs.base.layers if (blob := store.layer(key))]
            descriptor = import_docker_archive(store, archive, inputs.compression, known)
        _, config = read_image(store, descriptor)
        if config.platform != inputs.plan.platform:
            msg = f"{self.program} built for {config.platform} instead of {inputs.plan.platform}"
            raise BuildError(msg, hint=f"a newer {self.program}; or {_OWN}")
        store.tag(inputs.reference, descriptor)
        ref = ImageRef.parse(inputs.reference).at(descriptor.digest)
        image = Image(ref=ref, platform=config.platform, labels=config.labels, port=inputs.plan.port)
        return StoredImage(image=image, store=inputs.store)

    def building(self, inputs: BuildInputs, context: Path) -> list[str]:
        """Arguments that build `context`."""
        named = ("--platform", str(inputs.plan.platform), "--tag", inputs.reference)
        return ["build", *self.options, *named, str(context)]

    def saving(self, name: str, archive: Path) -> list[str]:
        """Arguments that write the image as a docker archive."""
        return ["save", "--output", str(archive), name]

    def _must(self, arguments: list[str], env: Mapping[str, str], progress: Progress, failure: str) -> None:
        done = self._run(arguments, env, progress)
        if done.status:
            msg = f"{self.program} {failure}: {_last_line(done)}"
            raise BuildError(msg, hint=f"see its text above; or {_OWN}", details=done.stderr)

    def _run(self, arguments: list[str], env: Mapping[str, str], progress: Progress) -> Completed:
        try:
            return run([self.program, *arguments], progress=progress, env=env)
        except FileNotFoundError as exc:
            msg = f"{self.program} is not installed"
            raise BuildError(msg, hint=_OWN) from exc


def _last_line(done: Completed) -> str:
    lines = done.stderr.strip().splitlines() or [f"it ended with status {done.status}"]
    return lines[-1].strip()[:200]
