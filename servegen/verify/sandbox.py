"""A place to run an image: the first means that this machine offers."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol, cast

from servegen.errors import SandboxError
from servegen.oci.image import ImageConfig
from servegen.progress import Progress
from servegen.scratch import scratch_folder
from servegen.values.image import StoredImage

Network = Literal["none", "host"]
MEANS = ("namespace", "chroot", "docker", "podman")
"""In the order they are tried: the first needs least and isolates most."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A program to run inside an image."""

    program: Sequence[str]
    env: Mapping[str, str]
    network: Network = "none"
    port: int = 3000
    """The port the program listens on; published on loopback when the network is the host's."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a means may use on this machine."""

    scratch: Path
    """An empty folder, removed with the sandbox."""
    kept: Path
    """A folder in which an unpacked image may stay for the next run."""
    reuse: bool
    """Whether an image that stayed there will do, or has to be unpacked from its layers."""
    env: Mapping[str, str]
    progress: Progress


class Sandbox(Protocol):
    """An image made ready to run by one means; `close` removes what that took."""

    means: str
    isolated: bool
    """Whether a program in it has a network of its own, so that any port is free."""

    def argv(self, command: Command) -> list[str]:
        """What to start on this machine so that `command` runs in the image."""

    def close(self) -> None:
        """Remove everything the sandbox made."""


class Means(Protocol):
    """A module of this package that makes sandboxes by one means."""

    def available(self, env: Mapping[str, str]) -> str | None:
        """None when it works here, else why not."""

    def prepare(self, image: StoredImage, config: ImageConfig, surroundings: Surroundings) -> Sandbox:
        """Make the image ready to run."""


@contextlib.contextmanager
def open_sandbox(
    image: StoredImage,
    config: ImageConfig,
    *,
    scratch: Path,
    env: Mapping[str, str],
    progress: Progress,
    means: str | None = None,
    reuse: bool = False,
) -> Iterator[Sandbox]:
    """A sandbox for `image`, removed at the end; SandboxError says why each means fails here.

    With `reuse`, files that were unpacked for an earlier run of the same image will do.
    """
    module = _choose(means, env)
    with scratch_folder(scratch, "run-") as folder:
        # Programs in the image have another user id, which must reach the files below.
        folder.chmod(0o755)
        around = Surroundings(
            scratch=folder, kept=scratch.with_name("kept"), reuse=reuse, env=env, progress=progress
        )
        sandbox = module.prepare(image, config, around)
        try:
            yield sandbox
        finally:
            sandbox.close()


def free_port() -> int:
    """A port of loopback that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _choose(wanted: str | None, env: Mapping[str, str]) -> Means:
    if wanted not in (None, *MEANS):
        msg = f"there is no means {wanted!r} to run an image"
        raise SandboxError(msg, hint=f"one of: {', '.join(MEANS)}")
    reasons = []
    for name in (wanted,) if wanted else MEANS:
        module = cast("Means", import_module(f"servegen.verify.{name}"))
        reason = module.available(env)
        if reason is None:
            return module
        reasons.append(f"{name}: {reason}")
    msg = "this machine offers no means to run an image"
    raise SandboxError(
        msg,
        hint="allow user namespaces, run as root, or install docker or podman; --no-verify goes without",
        details="\n".join(reasons),
    )
