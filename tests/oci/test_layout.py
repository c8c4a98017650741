from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from servegen.errors import BuildError, ImageNotFoundError
from servegen.oci.descriptor import LAYER, Descriptor
from servegen.oci.image import ImageConfig, assemble, assemble_index, images_of, read_image
from servegen.oci.layout import export_docker_archive, export_layout
from servegen.oci.store import Store
from servegen.oci.tar import Entry
from servegen.values.image import ImageRef, Platform
from tests.oci.conftest import AMD64, MakeImage, MakeLayer

ARM64 = Platform(os="linux", architecture="arm64")
REF = ImageRef.parse("registry.example/team/iris:3")


def test_a_layout_holds_the_image_and_nothing_else(
    store: Store, make_image: MakeImage, tmp_path: Path
) -> None:
    make_image(5, seed=2)
    image = make_image(10, 20)
    export_layout(store, image, "v1", tmp_path / "out")
    index = json.loads((tmp_path / "out" / "index.json").read_bytes())
    assert index["manifests"][0]["digest"] == image.digest
    assert index["manifests"][0]["annotations"] == {"org.opencontainers.image.ref.name": "v1"}
    assert json.loads((tmp_path / "out" / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    blobs = list((tmp_path / "out" / "blobs" / "sha256").iterdir())
    assert len(blobs) == 4
    assert all(hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name for blob in blobs)
    assert Store(tmp_path / "out").resolve("v1") == image


def test_an_older_layout_is_replaced_but_no_other_folder(
    store: Store, make_image: MakeImage, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_layout(store, make_image(10), "v1", out)
    second = make_image(11)
    export_layout(store, second, "v2", out)
    assert len(list((out / "blobs" / "sha256").iterdir())) == 3
    precious = tmp_path / "documents"
    precious.mkdir()
    (precious / "thesis.txt").write_text("x")
    with pytest.raises(BuildError, match="not an OCI layout"):
        export_layout(store, second, "v2", precious)
    assert [path.name for path in precious.iterdir()] == ["thesis.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["documents", "out", "store"]


def test_a_layout_without_all_layers_is_not_begun(
    store: Store, make_image: MakeImage, tmp_path: Path
) -> None:
    image = make_image(10)
    store.blob(read_image(store, image)[0].layers[0].digest).unlink()
    with pytest.raises(ImageNotFoundError, match="not on this machine"):
        export_layout(store, image, "v1", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def archive_of(store: Store, image: Descriptor, out: Path) -> dict[str, bytes]:
    export_docker_archive(store, image, REF, out)
    with tarfile.open(out) as tar:
        files = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        return {name: file.read() for name, file in files.items() if file}


def test_an_archive_has_no_zstd_and_keeps_the_image_id(
    store: Store, make_layer: MakeLayer, tmp_path: Path
) -> None:
    layers = [
        make_layer(Entry(path="z", data=b"z" * 999), name="z", compression="zstd"),
        make_layer(Entry(path="g", data=b"g" * 999), name="g", compression="gzip"),
        make_layer(Entry(path="p", data=b"p" * 999), name="p", compression="none"),
    ]
    image = assemble(store, ImageConfig(platform=AMD64), layers)
    manifest, config = read_image(store, image)
    files = archive_of(store, image, tmp_path / "image.tar")
    (docker,) = json.loads(files["manifest.json"])
    assert docker["RepoTags"] == ["registry.example/team/iris:3"]
    assert docker["Config"] == "blobs/sha256/" + manifest.config.digest[7:]
    plain = [
        data if data[:2] != b"\x1f\x8b" else gzip.decompress(data)
        for data in (files[x] for x in docker["Layers"])
    ]
    assert ["sha256:" + hashlib.sha256(data).hexdigest() for data in plain] == list(config.diff_ids)
    (top,) = json.loads(files["index.json"])["manifests"]
    assert top["annotations"] == {
        "io.containerd.image.name": "registry.example/team/iris:3",
        "org.opencontainers.image.ref.name": "3",
    }
    inner = json.loads(files["blobs/sha256/" + top["digest"][7:]])
    assert [each["mediaType"].rpartition(".")[2] for each in inner["layers"]] == ["tar", "tar+gzip", "tar"]
    assert ["blobs/sha256/" + each["digest"][7:] for each in inner["layers"]] == docker["Layers"]


def test_an_archive_without_zstd_layers_keeps_the_manifest_digest(
    store: Store, make_image: MakeImage, tmp_path: Path
) -> None:
    image = make_image(100)
    files = archive_of(store, image, tmp_path / "image.tar")
    assert json.loads(files["index.json"])["manifests"][0]["digest"] == image.digest


def test_an_archive_is_the_same_twice_and_leaves_no_other_file(
    store: Store, make_layer: MakeLayer, tmp_path: Path
) -> None:
    layer = make_layer(Entry(path="z", data=b"z" * 9999))
    image = assemble(store, ImageConfig(platform=AMD64), [layer, layer])
    out = tmp_path / "out"
    archive_of(store, image, out / "1.tar")
    archive_of(store, image, out / "2.tar")
    assert (out / "1.tar").read_bytes() == (out / "2.tar").read_bytes()
    assert sorted(path.name for path in out.iterdir()) == ["1.tar", "2.tar"]


def test_a_damaged_layer_makes_no_archive(store: Store, make_layer: MakeLayer, tmp_path: Path) -> None:
    layer = make_layer(Entry(path="z", data=b"z" * 9999))
    other = make_layer(Entry(path="y", data=b"z" * 9999), name="y")
    image = assemble(store, ImageConfig(platform=AMD64), [layer])
    store.blob(layer.blob.digest).write_bytes(store.blob(other.blob.digest).read_bytes())
    assert layer.blob.size == other.blob.size, "or the size alone would tell"
    with pytest.raises(BuildError, match="damaged"):
        export_docker_archive(store, image, REF, tmp_path / "image.tar")
    assert not (tmp_path / "image.tar").exists()


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_damaged_layer_is_not_exported(
    compression: str, store: Store, make_layer: MakeLayer, tmp_path: Path
) -> None:
    for export in (
        lambda image: export_layout(store, image, "v1", tmp_path / "out"),
        lambda image: export_docker_archive(store, image, REF, tmp_path / "out.tar"),
    ):
        layer = make_layer(Entry(path="f", data=b"x" * 999), compression=compression)
        image = assemble(store, ImageConfig(platform=AMD64), [layer])
        store.blob(layer.blob.digest).write_bytes(bytes(layer.blob.size))
        with pytest.raises(BuildError, match="removed from it"):
            export(image)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.fixture
def index(store: Store, make_layer: MakeLayer) -> Descriptor:
    """An index over two images that share a layer."""
    shared = make_layer(Entry(path="srv/model", data=b"model"), name="model")
    images = {
        platform: assemble(
            store,
            ImageConfig(platform=platform),
            [make_layer(Entry(path="lib.so", data=str(platform).encode()), name="base"), shared],
        )
        for platform in (ARM64, AMD64)
    }
    return assemble_index(store, images)


def test_a_layout_of_an_index_holds_all_its_images(store: Store, index: Descriptor, tmp_path: Path) -> None:
    export_layout(store, index, "v1", tmp_path / "out")
    out = Store(tmp_path / "out")
    assert out.resolve("v1") == index
    assert out.manifest(index.digest) == index
    images = images_of(out.read(index.digest))
    assert list(images) == [AMD64, ARM64]
    for image in images.values():
        assert all(out.has(layer.digest) for layer in read_image(out, image)[0].layers)
    # The index, two manifests, two configs, two layers and the one they share.
    assert len(list((tmp_path / "out" / "blobs" / "sha256").iterdir())) == 8


def test_an_archive_of_an_index_holds_all_images_and_docker_loads_the_first(
    store: Store, index: Descriptor, tmp_path: Path
) -> None:
    files = [tmp_path / "one.tar", tmp_path / "two.tar"]
    for file in files:
        export_docker_archive(store, index, REF, file)
    assert files[0].read_bytes() == files[1].read_bytes()
    with tarfile.open(files[0]) as tar:
        content = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]
    (top,) = json.loads(content["index.json"])["manifests"]
    images = images_of(content[f"blobs/sha256/{top['digest'].partition(':')[2]}"])
    assert list(images) == [AMD64, ARM64]
    for image in images.values():
        manifest = json.loads(content[f"blobs/sha256/{image.digest.partition(':')[2]}"])
        assert {each["mediaType"] for each in manifest["layers"]} == {LAYER}
        assert all(f"blobs/sha256/{each['digest'][7:]}" in content for each in manifest["layers"])
    (docker,) = json.loads(content["manifest.json"])
    assert json.loads(content[docker["Config"]])["architecture"] == "amd64"
