"""Images with gzip layers, read by tools that know no zstd: umoci and oci-image-tool."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from servegen.oci.image import ImageConfig, Layer, assemble
from servegen.oci.layout import export_layout
from servegen.oci.store import Store
from servegen.oci.tar import Compression, Entry, write_layer
from servegen.values.image import Platform
from tests.e2e.conftest import program

pytestmark = pytest.mark.e2e

LONG = f"srv/{'d' * 150}/{'l' * 200}"
"""Fits no ustar header."""


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """An image as an OCI layout, with all kinds of names and modes."""
    store = Store(tmp_path / "store")
    content: dict[Compression, list[Entry]] = {
        "gzip": [
            Entry(path="srv/große Datei", data=bytes(3_000_000)),
            Entry(path="srv/run", data=b"#!/bin/sh\n", mode=0o755),
            Entry(path="srv/link", kind="symlink", link="run"),
        ],
        "none": [Entry(path=LONG, data=b"long"), Entry(path="srv/run", data=b"newer", mode=0o755)],
    }
    layers = []
    for name, entries in content.items():
        with store.scratch() as tmp:
            blob = write_layer(entries, tmp, name)
            store.commit(tmp, blob.digest)
        layers.append(Layer(blob=blob, name=name, key=name))
    config = ImageConfig(
        platform=Platform.parse("linux/amd64"),
        env=(("PATH", "/usr/bin"),),
        entrypoint=("/srv/run",),
        user="10001:0",
        working_dir="/srv",
        ports=(3000,),
        stop_signal="SIGTERM",
        labels=(("org.example", "x"),),
    )
    export_layout(store, assemble(store, config, layers), "v1", tmp_path / "layout")
    return tmp_path / "layout"


def test_umoci_unpacks_the_files(layout: Path, tmp_path: Path) -> None:
    argv = [program("umoci"), "unpack", "--rootless", "--image", f"{layout}:v1", str(tmp_path / "bundle")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    root = tmp_path / "bundle/rootfs"
    assert (root / "srv/große Datei").stat().st_size == 3_000_000
    assert (root / "srv/run").read_bytes() == b"newer"
    assert (root / "srv/run").stat().st_mode & 0o777 == 0o755
    assert str((root / "srv/link").readlink()) == "run"
    assert (root / LONG).read_bytes() == b"long"


def test_oci_image_tool_finds_the_image_valid(layout: Path) -> None:
    argv = [program("oci-image-tool"), "validate", "--type", "image", "--ref", "name=v1", str(layout)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
