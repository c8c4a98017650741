from __future__ import annotations

import json

import pytest

from servegen.errors import RegistryError
from servegen.oci.descriptor import DOCKER_MANIFEST, INDEX, LAYER_GZIP, Descriptor, canonical
from servegen.oci.image import (
    ImageConfig,
    ImageManifest,
    Layer,
    assemble,
    assemble_index,
    layers_of,
    read_image,
)
from servegen.oci.store import Store
from servegen.oci.tar import Entry
from servegen.values.image import Platform
from tests.oci.conftest import AMD64, MakeLayer

CONFIG = ImageConfig(
    platform=AMD64,
    env=(("PATH", "/bin"), ("EMPTY", "")),
    entrypoint=("/usr/bin/python3", "-m", "app"),
    user="10001:0",
    working_dir="/srv/app",
    ports=(3000,),
    stop_signal="SIGTERM",
    labels=(("org.opencontainers.image.title", "ïris"),),
)


def test_what_was_assembled_is_read_back(store: Store, make_layer: MakeLayer) -> None:
    layers = [make_layer(Entry(path=name, data=b""), name=name) for name in ("base", "model")]
    manifest, config = read_image(store, assemble(store, CONFIG, layers))
    assert layers_of(manifest, config) == tuple(layers)
    assert config.diff_ids == tuple(layer.blob.diff_id for layer in layers)
    assert config.env == CONFIG.env
    assert config.entrypoint == CONFIG.entrypoint
    assert (config.user, config.working_dir, config.ports, config.labels) == (
        "10001:0",
        "/srv/app",
        (3000,),
        CONFIG.labels,
    )
    assert manifest.annotations == CONFIG.labels


def test_equal_images_have_one_digest_and_canonical_bytes(store: Store, make_layer: MakeLayer) -> None:
    layer = make_layer(Entry(path="f", data=b""))
    one = assemble(store, CONFIG, [layer])
    assert assemble(store, CONFIG, [layer]) == one
    raw = store.read(one.digest)
    manifest = json.loads(raw)
    assert raw == canonical(manifest)
    assert b" " not in raw
    config = json.loads(store.read(manifest["config"]["digest"]))
    assert config["created"] == "1970-01-01T00:00:00Z"
    assert [entry["created"] for entry in config["history"]] == ["1970-01-01T00:00:00Z"]
    assert set(config) == {"architecture", "os", "created", "config", "rootfs", "history"}
    assert manifest["layers"][0]["annotations"] == {
        "dev.servegen.layer.key": "key-code",
        "dev.servegen.layer.name": "code",
    }


def test_an_index_lists_platforms_in_order(store: Store) -> None:
    arm64 = Platform(os="linux", architecture="arm64")
    first = Descriptor(media_type="m", digest="sha256:" + "1" * 64, size=1)
    second = Descriptor(media_type="m", digest="sha256:" + "2" * 64, size=2)
    index = assemble_index(store, {arm64: second, AMD64: first})
    assert index == assemble_index(store, {AMD64: first, arm64: second})
    assert index.media_type == INDEX
    listed = json.loads(store.read(index.digest))["manifests"]
    assert [each["platform"]["architecture"] for each in listed] == ["amd64", "arm64"]


def test_layers_of_a_docker_image_get_oci_types_and_positions_for_names(store: Store) -> None:
    config = store.add_bytes(ImageConfig(platform=AMD64, diff_ids=("sha256:" + "3" * 64,)).to_bytes([]))
    manifest = canonical(
        {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": config,
                "size": 1,
            },
            "layers": [
                {
                    "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "digest": "sha256:" + "4" * 64,
                    "size": 5,
                }
            ],
        }
    )
    store.add_bytes(manifest)
    (layer,) = layers_of(*read_image(store, Descriptor.of(manifest, DOCKER_MANIFEST)))
    assert layer.blob.media_type == LAYER_GZIP
    assert (layer.name, layer.key) == ("base:0", None)
    assert "dev.servegen.layer.key" not in dict(layer.descriptor().annotations)


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[]",
        b"{}",
        b'{"config": {}, "layers": []}',
        b'{"config": {"digest": "sha256:../..", "size": 1}, "layers": []}',
        b'{"config": {"digest": 5, "size": 1}, "layers": []}',
        b'{"config": {"digest": "sha256:' + b"0" * 64 + b'", "size": -1}, "layers": []}',
        b'{"config": {"digest": "sha256:' + b"0" * 64 + b'", "size": 1}, "layers": [3]}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_image_manifest_is_refused(manifest: bytes) -> None:
    with pytest.raises(RegistryError):
        ImageManifest.from_bytes(manifest)


def test_a_config_that_names_other_layers_is_refused(store: Store, make_layer: MakeLayer) -> None:
    layer = make_layer(Entry(path="f", data=b""))
    config = ImageConfig(platform=AMD64).to_bytes([])
    manifest = ImageManifest(
        config=Descriptor.of(config, "c"), layers=(Layer(blob=layer.blob, name="n").descriptor(),)
    ).to_bytes()
    store.add_bytes(config)
    store.add_bytes(manifest)
    with pytest.raises(RegistryError, match="has 1 layers, its config names 0"):
        read_image(store, Descriptor.of(manifest, "m"))


def test_an_index_is_not_taken_for_an_image(store: Store) -> None:
    index = assemble_index(store, {})
    with pytest.raises(RegistryError, match="image index"):
        read_image(store, index)
