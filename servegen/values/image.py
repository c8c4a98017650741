"""Image references, plans and built images."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

PORT = 3000
"""Port of the server in every image."""
USER = 10001
MODEL = "srv/model"
"""Where an image of ours has the model, seen from its root."""
LABEL = "dev.servegen."
"""Prefix of our image labels; facts under it are all that rendering needs to know of an image."""

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?P<registry>{_DOMAIN})/)??(?P<repository>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True, kw_only=True)
class ImageRef:
    """`registry/repository:tag@digest` as the distribution specification writes it.

    `registry` is empty for a name that only the local store knows.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> ImageRef:
        """The reference that `text` writes; raises ValueError when it writes none."""
        head, _, _ = text.partition("/")
        # As in docker: the first part is a host only when it looks like one.
        is_host = "/" in text and ("." in head or ":" in head or head == "localhost")
        registry, rest = (head, text[len(head) + 1 :]) if is_host else ("", text)
        match = _REFERENCE.fullmatch(rest)
        if not match or match["registry"] or (registry and not re.fullmatch(_DOMAIN, registry)):
            msg = f"{text!r} is not an image reference"
            raise ValueError(msg)
        port = re.search(r":([0-9]+)\Z", registry)
        if port and not 0 < int(port[1][:6]) < 1 << 16:
            msg = f"{text!r} names port {port[1]}, which no registry has"
            raise ValueError(msg)
        return cls(
            registry=registry, repository=match["repository"], tag=match["tag"], digest=match["digest"]
        )

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}" if self.registry else self.repository

    @property
    def pinned(self) -> str:
        """`name@sha256:…`: what a manifest names; raises ValueError when the digest is not known."""
        if not self.digest:
            msg = f"{self} has no digest"
            raise ValueError(msg)
        return f"{self.name}@{self.digest}"

    def at(self, digest: str) -> ImageRef:
        """The same reference, pinned to `digest`."""
        return replace(self, digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What an image is built for, as in an OCI image index."""

    os: str
    architecture: str

    @classmethod
    def parse(cls, text: str) -> Platform:
        """`linux/amd64` or `linux/arm64`; raises ValueError for another one."""
        os, _, architecture = text.partition("/")
        if os != "linux" or architecture not in ("amd64", "arm64"):
            msg = f"{text!r} is not linux/amd64 or linux/arm64"
            raise ValueError(msg)
        return cls(os=os, architecture=architecture)

    @property
    def machine(self) -> str:
        """The architecture in the words of ELF and wheel tags."""
        return {"amd64": "x86_64", "arm64": "aarch64"}[self.architecture]

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"


@dataclass(frozen=True, kw_only=True)
class Image:
    """A built image: enough to render and deploy it without the model store."""

    ref: ImageRef
    """Always with a digest; the tag is the one it was packaged under."""
    platform: Platform
    labels: tuple[tuple[str, str], ...] = field(default=())
    """The labels of its OCI config, sorted by name."""
    port: int = PORT
    asked: str | None = None
    """The model URI it was packaged for, as it was typed; no label, so that an alias and the version that it
    stands for give one digest."""

    def label(self, name: str) -> str | None:
        """The fact `name` of ours (without prefix), such as `model-name`; None when the image lacks it."""
        return dict(self.labels).get(LABEL + name)


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """One layer: what goes into it, and a key that is equal exactly when its content is."""

    name: str
    """`base`, `dep:<package>`, `deps:<bucket>`, `code` or `model`."""
    key: str
    packages: tuple[str, ...] = ()
    """Canonical names of the distributions in it."""


@dataclass(frozen=True, kw_only=True)
class ImagePlan:
    """What is in an image and how it starts; says nothing about how it is built."""

    platform: Platform
    python: str
    """Major and minor version of the interpreter."""
    layers: tuple[LayerPlan, ...]
    env: tuple[tuple[str, str], ...]
    entrypoint: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    untested: tuple[str, ...] = ()
    """Canonical names of the distributions whose tests it does without."""
    user: str = f"{USER}:0"
    working_dir: str = "/srv/app"
    port: int = PORT


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What running the image showed."""

    means: str
    """How it was run: `namespace`, `chroot` or `docker`."""
    load_seconds: float
    """Process start to `/readyz`."""
    peak_memory_bytes: int
    p50_seconds: float
    """Median of 20 calls with the model's example."""
    replayed: bool
    """False when the model has no example to replay."""


@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """A built image in a content store on this machine."""

    image: Image
    store: Path
    """OCI image layout that holds its blobs."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """What an image stands on: an operating system with one Python."""

    name: str
    """`debian:bookworm`, or the reference of a registry image."""
    digest: str
    """Of the image manifest, or of the list of Debian packages."""
    interpreter: str
    """Path of Python in the image."""
    python: str
    """Major and minor version of that Python."""
    build: str
    """What bytecode depends on: the interpreter's exact version."""
    layers: tuple[str, ...]
    """Keys under which the store holds its layers, lowest first."""
    env: tuple[tuple[str, str], ...] = ()
    """Environment variables that programs in it rely on."""
    glibc: tuple[int, ...] = ()
    """Version of its C library; () where that is not known."""
    extra: tuple[str, ...] = ()
    """Debian packages that the built-in base has beside its own, by name."""
