from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from servegen.oci.image import ImageConfig, assemble
from servegen.oci.tar import Entry
from servegen.values.image import LABEL, Image, ImageRef, Platform, StoredImage
from servegen.values.lock import EnvironmentLock, LockedPackage, PlatformLock
from tests.oci.conftest import client, fake, make_layer, recorder, store

__all__ = ["client", "fake", "make_layer", "recorder", "store"]

AMD64 = Platform(os="linux", architecture="amd64")
LABELS = {
    LABEL + "pin": "models:/iris/3",
    LABEL + "model-name": "iris",
    LABEL + "model-version": "3",
    LABEL + "run-id": "r1",
    LABEL + "model-digest": "sha256:" + "a" * 64,
    LABEL + "mlflow-version": "3.17.2",
    "org.opencontainers.image.title": "iris",
    "org.opencontainers.image.base.name": "debian:bookworm",
    "org.opencontainers.image.base.digest": "sha256:" + "b" * 64,
}


@pytest.fixture
def lock() -> PlatformLock:
    """Two wheels on a Debian base of two packages."""
    wheels = (
        LockedPackage(name="numpy", version="2.4.6", file="numpy-2.4.6-cp311.whl", size=9, sha256="1" * 64),
        LockedPackage(name="torch", version="2.9+cpu", file="torch-2.9.whl", size=9, sha256="2" * 64),
    )
    environment = EnvironmentLock(
        inputs="i",
        platform="linux/amd64",
        python="3.11",
        target="x86_64-manylinux_2_28",
        exclude_newer="2026-11-20T00:00:00Z",
        packages=wheels,
        left_out=("protobuf==7.1.0",),
    )
    rows = [
        {
            "name": "libcrypt1",
            "version": "1:4.4.33-2",
            "sha256": "3" * 64,
            "size": 9,
            "path": "pool/main/libx/libxcrypt/libcrypt1_4.4.33-2_amd64.deb",
        },
        {
            "name": "tzdata",
            "version": "2026f-0+deb12u1",
            "sha256": "4" * 64,
            "size": 9,
            "path": "pool/main/t/tzdata/tzdata_2026f-0+deb12u1_all.deb",
        },
    ]
    base = {"name": "debian", "suite": "bookworm", "arch": "amd64", "python": "3.11", "packages": rows}
    return PlatformLock(environment=environment, base=tuple(base.items()))


@pytest.fixture
def stored(fake, client, store, make_layer) -> StoredImage:
    """A small image of the model, pushed to the registry."""
    labels = tuple(sorted(LABELS.items()))
    layers = [make_layer(Entry(path=name, data=name.encode()), name=name) for name in ("code", "model")]
    descriptor = assemble(store, ImageConfig(platform=AMD64, labels=labels), layers)
    ref = ImageRef(registry=fake.host, repository="team/iris", tag="3")
    client.push(store, descriptor, ref)
    return StoredImage(
        image=Image(
            ref=ref.at(descriptor.digest), platform=AMD64, labels=labels, asked="models:/iris@champion"
        ),
        store=store.path,
    )


@pytest.fixture
def image(stored) -> Image:
    return stored.image


@pytest.fixture
def foreign(lock) -> PlatformLock:
    """The same on a base from a registry, whose packages nobody listed."""
    return replace(lock, base=(("name", "example.com/python:3.11"), ("digest", "sha256:" + "b" * 64)))


@pytest.fixture(scope="session")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())
