"""Our client, layouts and archives against docker-registry and skopeo."""

from __future__ import annotations

import json
import random
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from servegen.errors import ImageNotFoundError, RegistryError
from servegen.oci.descriptor import Descriptor
from servegen.oci.http import Network
from servegen.oci.image import ImageConfig, Layer, assemble, read_image
from servegen.oci.layout import export_docker_archive, export_layout
from servegen.oci.push import Pusher
from servegen.oci.registry import Registry, RegistryOptions
from servegen.oci.repository import Repository
from servegen.oci.store import Store
from servegen.oci.tar import Compression, Entry, write_layer
from servegen.oci.transport import Transport
from servegen.oci.upload import UploadLimits
from servegen.progress import Silent
from servegen.values.image import ImageRef, Platform
from tests.e2e.conftest import program
from tests.oci.fault_cases import Trial, cases, run
from tests.oci.fault_kinds import CURABLE
from tests.oci.faulty import faulty

pytestmark = pytest.mark.e2e

AMD64 = Platform(os="linux", architecture="amd64")
KINDS: tuple[Compression, ...] = ("zstd", "gzip", "none")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def image(store: Store) -> Descriptor:
    """An image with a layer of each compression, its content new in every test."""
    rng = random.Random(uuid.uuid4().int)
    layers = []
    for name in KINDS:
        with store.scratch() as tmp:
            content = rng.randbytes(2_000_000) + bytes(500_000)
            blob = write_layer([Entry(path=f"srv/{name}", data=content)], tmp, name)
            store.commit(tmp, blob.digest)
        layers.append(Layer(blob=blob, name=name, key=name))
    return assemble(store, ImageConfig(platform=AMD64, labels=(("org.example", "x"),)), layers)


@pytest.fixture
def client() -> Iterator[Registry]:
    with Registry(RegistryOptions(), Silent()) as registry:
        yield registry


@pytest.fixture
def ref(docker_registry: str) -> ImageRef:
    return ImageRef(registry=docker_registry, repository=f"team/iris-{uuid.uuid4().hex[:8]}", tag="1")


def skopeo(*arguments: str | Path) -> dict[str, object]:
    argv = [program("skopeo"), *map(str, arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    return result


def test_what_was_pushed_is_pulled_and_skopeo_reads_it(
    client: Registry, store: Store, image: Descriptor, ref: ImageRef, tmp_path: Path
) -> None:
    assert client.manifest_digest(ref) is None
    assert client.push(store, image, ref) == image.digest
    assert client.manifest_digest(ref) == image.digest
    assert client.push(store, image, ref) == image.digest
    other = Store(tmp_path / "other")
    assert client.pull(ref, AMD64, other) == image
    manifest, _ = read_image(other, image)
    assert all(other.has(layer.digest, layer.size) for layer in manifest.layers)
    seen = skopeo("inspect", "--tls-verify=false", f"docker://{ref}")
    assert seen["Digest"] == image.digest
    assert seen["Labels"] == {"org.example": "x"}


def test_blobs_are_mounted_from_another_repository(
    client: Registry, store: Store, image: Descriptor, ref: ImageRef
) -> None:
    client.push(store, image, ref)
    for layer in read_image(store, image)[0].layers:
        # Without its file a layer cannot be sent, only mounted.
        store.blob(layer.digest).unlink()
    target = replace(ref, repository=ref.repository + "-copy")
    with pytest.raises(ImageNotFoundError):
        client.push(store, image, target)
    assert client.push(store, image, target, mount_from=ref) == image.digest


def test_chunks_are_put_together(store: Store, image: Descriptor, ref: ImageRef) -> None:
    transport = Transport(ref.registry, RegistryOptions(), Silent())
    repository = Repository(transport, ref.repository, action="pull,push")
    limits = UploadLimits(single=1000, chunk=700_000)
    assert Pusher(repository, store, Silent(), limits=limits).push(image, "1") == image.digest
    assert repository.digest("1") == image.digest


def test_a_registry_without_tls_says_so(ref: ImageRef, tmp_path: Path) -> None:
    ca = Path("/etc/ssl/certs/ca-certificates.crt")
    network = Network(ca_file=ca, tries=1)
    with (
        Registry(RegistryOptions(network=network), Silent()) as client,
        pytest.raises(RegistryError, match="speaks plain http"),
    ):
        client.manifest_digest(ref)


def test_skopeo_reads_a_layout_and_copies_it_without_a_change(
    store: Store, image: Descriptor, ref: ImageRef, client: Registry, tmp_path: Path
) -> None:
    export_layout(store, image, "v1", tmp_path / "out")
    seen = skopeo("inspect", f"oci:{tmp_path}/out:v1")
    assert seen["Digest"] == image.digest
    skopeo(
        "copy", "--preserve-digests", "--dest-tls-verify=false", f"oci:{tmp_path}/out:v1", f"docker://{ref}"
    )
    assert client.manifest_digest(ref) == image.digest


def test_skopeo_reads_a_docker_archive(
    store: Store, image: Descriptor, ref: ImageRef, tmp_path: Path
) -> None:
    export_docker_archive(store, image, ref, tmp_path / "image.tar")
    manifest, config = read_image(store, image)
    skopeo("copy", f"docker-archive:{tmp_path}/image.tar:{ref}", f"dir:{tmp_path}/dir")
    copied = json.loads((tmp_path / "dir" / "manifest.json").read_bytes())
    assert copied["config"]["digest"] == manifest.config.digest
    assert _digests(copied["layers"]) >= {config.diff_ids[0], config.diff_ids[2]}


@pytest.mark.parametrize("operation", ["push", "push over another image", "push in pieces", "pull"])
def test_no_fault_before_a_real_registry_loses_an_image(
    operation: str, docker_registry: str, tmp_path: Path
) -> None:
    with faulty(docker_registry) as proxy:
        trial = Trial(proxy, tmp_path)
        kinds = [kind for kind in CURABLE if not kind.stalls]
        outcomes = [run(trial, case) for case in cases(trial, operation, kinds, 20, seed=2)]
    assert outcomes.count("success") >= 10


def _digests(layers: Sequence[dict[str, str]]) -> set[str]:
    return {layer["digest"] for layer in layers}
