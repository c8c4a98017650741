from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from servegen.oci.descriptor import Descriptor
from servegen.oci.http import Network
from servegen.oci.image import ImageConfig, Layer, assemble
from servegen.oci.registry import Registry, RegistryOptions
from servegen.oci.store import Store
from servegen.oci.tar import Compression, Entry, write_layer
from servegen.progress import Silent
from servegen.values.image import Platform
from tests.oci.fake_registry import FakeRegistry, running

AMD64 = Platform(os="linux", architecture="amd64")
FAST = Network(pause=0.001, timeout=10)


class Recorder(Silent):
    """Remembers what was told."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.warnings: list[str] = []
        self.programs: list[list[str]] = []
        self.counts: list[tuple[int, int]] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def program(self, argv: Sequence[str]) -> None:
        self.programs.append(list(argv))

    def bytes(self, task: str, done: int, total: int) -> None:
        self.counts.append((done, total))


MakeLayer = Callable[..., Layer]
MakeImage = Callable[..., Descriptor]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def make_layer(store: Store) -> MakeLayer:
    """Writes a layer of the given entries into the store."""

    def make(
        *entries: Entry, name: str = "code", compression: Compression = "zstd", to: Store = store
    ) -> Layer:
        with to.scratch() as tmp:
            blob = write_layer(entries, tmp, compression)
            to.commit(tmp, blob.digest)
        return Layer(blob=blob, name=name, key=f"key-{name}")

    return make


@pytest.fixture
def make_image(store: Store, make_layer: MakeLayer) -> MakeImage:
    """An image in the store with random layers of the given sizes."""

    def make(*sizes: int, seed: int = 1) -> Descriptor:
        rng = random.Random(seed)
        layers = [
            make_layer(Entry(path=f"f{i}", data=rng.randbytes(size)), name=f"l{i}", compression="none")
            for i, size in enumerate(sizes)
        ]
        return assemble(store, ImageConfig(platform=AMD64, labels=(("a", "b"),)), layers)

    return make


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with running() as registry:
        yield registry


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def client(recorder: Recorder) -> Iterator[Registry]:
    with Registry(RegistryOptions(network=FAST), recorder) as registry:
        yield registry
