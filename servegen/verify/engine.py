"""Running an image in a container engine: what the means `docker` and `podman` share."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from servegen.errors import SandboxError
from servegen.oci.layout import export_docker_archive
from servegen.oci.store import Store
from servegen.process import run
from servegen.values.image import USER, ImageRef, StoredImage
from servegen.verify.sandbox import Command, Surroundings


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """An image in an engine's store, under a name of its own."""

    means: str
    name: str
    surroundings: Surroundings
    isolated: bool = True

    def argv(self, command: Command) -> list[str]:
        """`run` with the restrictions of the pod that servegen deploys."""
        network = ["--network", "none"]
        if command.network == "host":
            network = ["--publish", f"127.0.0.1:{command.port}:{command.port}"]
        env = [part for name, value in command.env.items() for part in ("--env", f"{name}={value}")]
        entrypoint, *arguments = command.program
        return [
            *(self.means, "run", "--rm", "--name", self.container, "--init", "--read-only"),
            *("--tmpfs", "/tmp:mode=1777"),  # noqa: S108 (of the container)
            *("--user", str(USER), "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *(*network, *env, "--entrypoint", entrypoint, self.name, *arguments),
        ]

    @property
    def container(self) -> str:
        """Name of the container, which outlives the client that we start when that is killed."""
        return f"servegen-{self.surroundings.scratch.name}"

    def close(self) -> None:
        """Remove the container, if it still runs, and the image from the engine."""
        for argv in (["rm", "--force", self.container], ["rmi", "--force", self.name]):
            run([self.means, *argv], progress=self.surroundings.progress, env=self.surroundings.env)


def engine_available(means: str, env: Mapping[str, str]) -> str | None:
    """None when the engine's program is there and its daemon answers."""
    if not shutil.which(means, path=env.get("PATH")):
        return "not installed"
    try:
        done = subprocess.run(
            [means, "info"], env=dict(env), capture_output=True, text=True, timeout=20, check=False
        )
    except subprocess.TimeoutExpired:
        return "does not answer"
    return None if done.returncode == 0 else done.stderr.strip().partition("\n")[0][:160]


def load(means: str, image: StoredImage, surroundings: Surroundings) -> Loaded:
    """The image handed to the engine through a docker archive."""
    store = Store(image.store)
    digest = str(image.image.ref.digest)
    ref = ImageRef(registry="", repository="servegen-verify", tag=digest.removeprefix("sha256:")[:12])
    surroundings.progress.step(f"handing the image to {means} to run it")
    archive = surroundings.scratch / "image.tar"
    export_docker_archive(store, store.manifest(digest), ref, archive)
    done = run([means, "load", "--input", str(archive)], progress=surroundings.progress, env=surroundings.env)
    archive.unlink()
    if done.status:
        msg = f"{means} does not load the image: {done.stderr.strip().partition(chr(10))[0]}"
        raise SandboxError(msg, hint="is its disk full? another means: --verify-with namespace")
    name = f"localhost/{ref}" if means == "podman" else str(ref)
    return Loaded(means=means, name=name, surroundings=surroundings)
