"""Layers taken over from the image that a registry has under a tag."""

from __future__ import annotations

from dataclasses import replace

import pytest

from servegen.errors import RegistryError
from servegen.oci.descriptor import MANIFEST
from servegen.oci.image import ImageConfig, assemble
from servegen.oci.known import KnownLayers
from servegen.oci.store import Store
from servegen.oci.tar import Entry
from servegen.values.image import ImageRef
from tests.oci.conftest import AMD64


@pytest.fixture
def pushed(fake, client, store, make_layer):
    """Reference of an image with the layers of `key-code` and `key-model` in the registry."""
    ref = ImageRef(registry=fake.host, repository="team/iris", tag="1")
    layers = [make_layer(Entry(path=name, data=name.encode()), name=name) for name in ("code", "model")]
    client.push(store, assemble(store, ImageConfig(platform=AMD64), layers), ref)
    return ref


@pytest.fixture
def empty(tmp_path):
    return Store(tmp_path / "empty")


def test_a_layer_is_known_by_its_key_without_being_downloaded(fake, client, pushed, empty, recorder):
    known = KnownLayers([pushed], AMD64, client, empty, recorder)
    found = known.find("key-code")
    assert found is not None
    assert not empty.has(found.digest)
    assert known.find("key-other") is None
    assert fake.count("GET", "/blobs/") == 1  # the config


def test_nothing_is_asked_while_the_store_knows(fake, client, pushed, store, make_layer, recorder):
    layer = make_layer(Entry(path="x", data=b"x"), name="x")
    store.record_layer("here", layer.blob)
    before = fake.count("GET")
    assert KnownLayers([pushed], AMD64, client, store, recorder).find("here") == layer.blob
    assert fake.count("GET") == before


def test_the_next_tag_is_looked_at_when_the_first_one_is_absent(client, pushed, empty, recorder):
    known = KnownLayers([replace(pushed, tag="2"), pushed], AMD64, client, empty, recorder)
    assert known.find("key-model") is not None


def test_a_fetched_layer_is_in_the_store_under_its_key(client, pushed, empty, recorder):
    KnownLayers([pushed], AMD64, client, empty, recorder).fetch(["key-code", "key-absent"])
    assert empty.layer("key-code") is not None
    assert empty.layer("key-model") is None


def test_a_layer_that_is_not_what_its_image_says_is_refused(fake, client, store, make_layer, empty, recorder):
    layer = make_layer(Entry(path="x", data=b"x"), name="x")
    planted = replace(layer, blob=replace(layer.blob, diff_id="sha256:" + "0" * 64))
    ref = ImageRef(registry=fake.host, repository="team/iris", tag="1")
    client.push(store, assemble(store, ImageConfig(platform=AMD64), [planted]), ref)
    with pytest.raises(RegistryError, match="holds something else"):
        KnownLayers([ref], AMD64, client, empty, recorder).fetch(["key-x"])
    assert empty.layer("key-x") is None


def test_an_image_is_pushed_though_the_layers_it_shares_are_only_there(
    fake, client, pushed, empty, make_layer, recorder
):
    known = KnownLayers([pushed], AMD64, client, empty, recorder)
    code = make_layer(Entry(path="code", data=b"code"), name="code")
    model = make_layer(Entry(path="model", data=b"another"), name="model", to=empty)
    taken = replace(code, blob=known.find("key-code"))
    ref = replace(pushed, tag="2")
    client.push(empty, assemble(empty, ImageConfig(platform=AMD64), [taken, model]), ref)
    assert client.manifest_digest(ref) is not None
    assert not empty.has(taken.blob.digest)


def test_a_damaged_image_under_the_tag_is_told_and_not_used(fake, client, empty, recorder):
    fake.put_image("team/iris", "1", b'{"schemaVersion": 2, "mediaType": "%s"}' % MANIFEST.encode(), MANIFEST)
    ref = ImageRef(registry=fake.host, repository="team/iris", tag="1")
    assert KnownLayers([ref], AMD64, client, empty, recorder).find("key-code") is None
    assert len(recorder.warnings) == 1
    assert str(ref) in recorder.warnings[0]
