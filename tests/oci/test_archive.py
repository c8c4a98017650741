from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from servegen.errors import BuildError
from servegen.oci.archive import import_docker_archive
from servegen.oci.image import ImageConfig, assemble, layers_of, read_image
from servegen.oci.layout import export_docker_archive
from servegen.oci.store import Store
from servegen.oci.tar import Compression, Entry
from servegen.values.image import ImageRef
from tests.oci.conftest import AMD64, MakeLayer

CONFIG = ImageConfig(platform=AMD64, env=(("A", "b"),), entrypoint=("/x",), user="1:0", labels=(("a", "b"),))


def saved(store: Store, make_layer: MakeLayer, file: Path, compression: Compression) -> ImageConfig:
    """An image with two layers as a docker archive; its config."""
    layers = [make_layer(Entry(path=name, data=b"x"), name=name, compression=compression) for name in "ab"]
    image = assemble(store, CONFIG, layers)
    export_docker_archive(store, image, ImageRef.parse("iris:1"), file)
    return read_image(store, image)[1]


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_saved_image_is_taken_over_with_its_layers_and_settings(
    store: Store, make_layer: MakeLayer, tmp_path: Path, compression: Compression
) -> None:
    config = saved(store, make_layer, tmp_path / "a.tar", compression)
    other = Store(tmp_path / "other")
    found, read = read_image(other, import_docker_archive(other, tmp_path / "a.tar", "zstd"))
    assert read == config
    for layer in found.layers:
        assert layer.media_type.endswith("tar+zstd")
        other.check(layer.digest)


def test_an_images_layers_are_kept_as_gzip_where_that_is_wanted(
    store: Store, make_layer: MakeLayer, tmp_path: Path
) -> None:
    saved(store, make_layer, tmp_path / "a.tar", "none")
    found, _ = read_image(store, import_docker_archive(store, tmp_path / "a.tar", "gzip"))
    assert {layer.media_type.rpartition(".")[2] for layer in found.layers} == {"tar+gzip"}


def test_a_known_layer_is_not_stored_again(store: Store, make_layer: MakeLayer, tmp_path: Path) -> None:
    saved(store, make_layer, tmp_path / "a.tar", "none")
    known = make_layer(Entry(path="a", data=b"x"), compression="gzip").blob
    image = import_docker_archive(store, tmp_path / "a.tar", "zstd", [known])
    assert layers_of(*read_image(store, image))[0].blob == known


def test_a_layer_that_is_not_what_the_config_says_is_refused(
    store: Store, make_layer: MakeLayer, tmp_path: Path
) -> None:
    saved(store, make_layer, tmp_path / "a.tar", "none")
    with tarfile.open(tmp_path / "a.tar") as tar:
        biggest = max(tar.getmembers(), key=lambda member: member.size)
    data = bytearray((tmp_path / "a.tar").read_bytes())
    data[biggest.offset_data + 600] ^= 1
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(BuildError, match="cannot be read: layer"):
        import_docker_archive(Store(tmp_path / "other"), tmp_path / "a.tar", "zstd")


def test_a_file_that_is_no_saved_image_is_said(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"nothing")
    with pytest.raises(BuildError, match="the saved image cannot be read"):
        import_docker_archive(store, tmp_path / "a.tar", "zstd")
