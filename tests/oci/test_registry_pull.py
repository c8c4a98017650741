from __future__ import annotations

from pathlib import Path

import pytest

from servegen.errors import ImageNotFoundError, RegistryError
from servegen.oci.descriptor import DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST, canonical
from servegen.oci.image import Descriptor, ImageManifest, assemble_index, read_image
from servegen.oci.registry import Registry
from servegen.oci.store import Store
from servegen.values.image import ImageRef, Platform
from tests.oci.conftest import AMD64, MakeImage, Recorder
from tests.oci.fake_registry import FakeRegistry, Fault

ARM64 = Platform(os="linux", architecture="arm64")


@pytest.fixture
def pushed(
    fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> tuple[ImageRef, Descriptor]:
    """An image of three layers under a tag."""
    image = make_image(3_000_000, 2000, 10)
    ref = ImageRef(registry=fake.host, repository="team/iris", tag="1")
    client.push(store, image, ref)
    fake.log.clear()
    return ref, image


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """The store of another machine."""
    return Store(tmp_path / "other")


def blobs_of(store: Store, image: Descriptor) -> list[bytes]:
    manifest, _ = read_image(store, image)
    return [store.read(each.digest) for each in (manifest.config, *manifest.layers)]


def test_a_pulled_image_is_the_one_that_was_pushed(
    pushed: tuple[ImageRef, Descriptor], client: Registry, store: Store, other: Store, recorder: Recorder
) -> None:
    ref, image = pushed
    recorder.counts.clear()
    assert client.pull(ref, AMD64, other) == image
    assert blobs_of(other, image) == blobs_of(store, image)
    total = sum(layer.size for layer in read_image(store, image)[0].layers)
    assert max(recorder.counts) == (total, total)


def test_layers_are_left_out_on_request_and_come_one_by_one(
    pushed: tuple[ImageRef, Descriptor], client: Registry, other: Store, fake: FakeRegistry
) -> None:
    ref, image = pushed
    client.pull(ref, AMD64, other, layers=False)
    manifest, config = read_image(other, image)
    assert len(config.diff_ids) == 3
    assert not any(other.has(layer.digest) for layer in manifest.layers)
    assert fake.count("GET", "/blobs/") == 1
    client.fetch_blob(ref, manifest.layers[1], other)
    assert other.has(manifest.layers[1].digest)


def test_what_is_here_is_not_fetched_again(
    pushed: tuple[ImageRef, Descriptor], client: Registry, other: Store, fake: FakeRegistry
) -> None:
    ref, _ = pushed
    client.pull(ref, AMD64, other)
    fake.log.clear()
    client.pull(ref, AMD64, other)
    assert fake.log == [("GET", "/v2/team/iris/manifests/1")]


def test_a_download_goes_on_where_it_broke(
    pushed: tuple[ImageRef, Descriptor], client: Registry, store: Store, other: Store, fake: FakeRegistry
) -> None:
    ref, image = pushed
    big = read_image(store, image)[0].layers[0]
    fake.faults += [Fault("GET", big.digest, send=1_500_000), Fault("GET", big.digest, send=700_000)]
    client.pull(ref, AMD64, other)
    assert blobs_of(other, image) == blobs_of(store, image)
    assert fake.count("GET", big.digest) == 3


def test_damaged_blobs_are_refused_and_not_kept(
    pushed: tuple[ImageRef, Descriptor], client: Registry, store: Store, other: Store, fake: FakeRegistry
) -> None:
    ref, image = pushed
    layer = read_image(store, image)[0].layers[1]
    good = fake.blobs["team/iris"][layer.digest]
    for bad, said in (
        (b"x" + good[1:], "other bytes"),
        (good + b"x", "longer than"),
        (good[:-1], "broke off"),
    ):
        fake.blobs["team/iris"][layer.digest] = bad
        with pytest.raises(RegistryError, match=said):
            client.pull(ref, AMD64, other)
        assert not other.has(layer.digest)
        assert not other.has(image.digest), "a manifest in the store means that the pull came to its end"
    assert list((other.path / "tmp").iterdir()) == []


def test_a_manifest_with_another_digest_than_asked_for_is_refused(
    pushed: tuple[ImageRef, Descriptor], client: Registry, fake: FakeRegistry
) -> None:
    ref, image = pushed
    manifests = fake.manifests["team/iris"]
    manifests[image.digest] = (MANIFEST, manifests["1"][1] + b" ")
    fake.behaviour.tells_digest = False
    with pytest.raises(RegistryError, match="sent a manifest with digest"):
        client.resolve(ref.at(image.digest), AMD64)


@pytest.mark.parametrize("media_type", [INDEX, DOCKER_INDEX])
def test_an_index_is_resolved_to_the_platforms_image(
    media_type: str, fake: FakeRegistry, client: Registry, store: Store, make_image: MakeImage
) -> None:
    amd64, arm64 = make_image(10, seed=1), make_image(10, seed=2)
    raw = store.read(assemble_index(store, {AMD64: amd64, ARM64: arm64}).digest).replace(
        INDEX.encode(), media_type.encode()
    )
    fake.put_image("x", "1", raw, media_type)
    ref = ImageRef(registry=fake.host, repository="x", tag="1")
    assert client.resolve(ref, ARM64) == arm64
    assert client.resolve(ref, AMD64) == amd64
    assert client.images(ref) == {AMD64: amd64, ARM64: arm64}
    assert client.images(ref.at(client.push(store, amd64, ref))) == {}


def test_a_platform_that_is_not_there_is_an_error_that_lists_those_that_are(
    fake: FakeRegistry, client: Registry
) -> None:
    entries = [
        {"digest": "sha256:" + "1" * 64, "size": 1, "platform": {"os": os, "architecture": architecture}}
        for os, architecture in (("linux", "s390x"), ("unknown", "unknown"))
    ]
    fake.put_image("x", "1", canonical({"mediaType": INDEX, "manifests": entries}), INDEX)
    with pytest.raises(ImageNotFoundError, match=r"no image for linux/amd64 \(only linux/s390x\)"):
        client.resolve(ImageRef(registry=fake.host, repository="x", tag="1"), AMD64)


def test_an_image_of_another_platform_is_refused(
    pushed: tuple[ImageRef, Descriptor], client: Registry, other: Store
) -> None:
    with pytest.raises(ImageNotFoundError, match="built for linux/amd64, not for linux/arm64"):
        client.pull(pushed[0], ARM64, other)


def test_a_docker_image_is_pulled_as_it_is(
    fake: FakeRegistry, client: Registry, store: Store, other: Store, make_image: MakeImage
) -> None:
    image = make_image(50)
    raw = store.read(image.digest).replace(MANIFEST.encode(), DOCKER_MANIFEST.encode())
    digest = fake.put_image("x", "1", raw, DOCKER_MANIFEST, *blobs_of(store, image))
    pulled = client.pull(ImageRef(registry=fake.host, repository="x", tag="1"), AMD64, other)
    assert (pulled.digest, pulled.media_type) == (digest, DOCKER_MANIFEST)
    assert ImageManifest.from_bytes(other.read(digest)).layers == read_image(store, image)[0].layers


def test_what_is_not_there_is_said_in_its_own_class(
    fake: FakeRegistry, client: Registry, store: Store
) -> None:
    ref = ImageRef(registry=fake.host, repository="x", tag="1")
    assert client.manifest_digest(ref) is None
    with pytest.raises(ImageNotFoundError, match="x:1 is not in the registry"):
        client.resolve(ref, AMD64)
    with pytest.raises(ImageNotFoundError, match="x:1 is not in the registry"):
        client.pull(ref, AMD64, store)


@pytest.mark.parametrize(
    "media_type", ["application/vnd.docker.distribution.manifest.v1+json", "application/pdf"]
)
def test_what_is_no_image_is_refused(media_type: str, fake: FakeRegistry, client: Registry) -> None:
    fake.behaviour.needs_accept = False
    fake.put_image("x", "1", b'{"fsLayers": []}', media_type)
    with pytest.raises(RegistryError, match="not an image"):
        client.resolve(ImageRef(registry=fake.host, repository="x", tag="1"), AMD64)


def test_the_digest_is_had_from_registries_that_do_not_tell_it(
    pushed: tuple[ImageRef, Descriptor], client: Registry, fake: FakeRegistry
) -> None:
    fake.behaviour.tells_digest = False
    assert client.manifest_digest(pushed[0]) == pushed[1].digest


def test_a_failed_layer_stops_the_others(
    pushed: tuple[ImageRef, Descriptor], client: Registry, store: Store, other: Store, fake: FakeRegistry
) -> None:
    ref, image = pushed
    small = read_image(store, image)[0].layers[2]
    fake.faults.append(Fault("GET", small.digest, status=404))
    with pytest.raises(ImageNotFoundError):
        client.pull(ref, AMD64, other)
    assert not other.has(image.digest)
