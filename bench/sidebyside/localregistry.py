"""A docker-registry on loopback, and what it holds."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sidebyside.machine import free_port

_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: '{host}'}}
"""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An image in the registry."""

    digest: str
    layers: dict[str, int]
    """Digest → compressed size."""

    @property
    def size(self) -> int:
        """Bytes of all layers, as they are stored."""
        return sum(self.layers.values())

    def beyond(self, other: Stored) -> int:
        """Bytes of the layers that `other` lacks: what a push after it sends."""
        return sum(size for digest, size in self.layers.items() if digest not in other.layers)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[str]:
    """HOST:PORT of an empty registry."""
    folder.mkdir()
    host = f"127.0.0.1:{free_port()}"
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(folder=folder / "data", host=host))
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        _wait(host, server)
        yield host
    finally:
        server.terminate()
        server.wait()


def stored(reference: str) -> Stored:
    """The image that HOST/NAME:TAG or HOST/NAME@DIGEST names."""
    host, _, rest = reference.partition("/")
    name, _, version = rest.partition("@") if "@" in rest else rest.rpartition(":")
    request = urllib.request.Request(
        f"http://{host}/v2/{name}/manifests/{version}", headers={"Accept": ", ".join(_TYPES)}
    )
    with urllib.request.urlopen(request) as answer:
        layers = json.load(answer)["layers"]
        digest = answer.headers["Docker-Content-Digest"]
    return Stored(digest=digest, layers={layer["digest"]: layer["size"] for layer in layers})


def _wait(host: str, server: subprocess.Popen[bytes]) -> None:
    name, _, port = host.rpartition(":")
    for _ in range(200):
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection((name, int(port)), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("docker-registry does not listen")
