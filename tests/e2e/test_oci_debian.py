"""The Debian base from a real mirror: this machine's own apt sources say which."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from servegen.builders.bases.libraries import base_libraries
from servegen.oci.closure import WheelObject, check_closure
from servegen.oci.debian import (
    BaseLock,
    Source,
    apt_sources,
    base_entries,
    mirror_sources,
    resolve_base,
    suite_for,
)
from servegen.oci.elf import read_elf
from servegen.oci.http import Network
from servegen.oci.image import ImageConfig, Layer, assemble
from servegen.oci.rootfs import unpack
from servegen.oci.store import Store
from servegen.oci.tar import Entry, LayerBlob, write_layer
from servegen.progress import Silent
from servegen.values.image import Platform
from tests.e2e.conftest import program

pytestmark = pytest.mark.e2e

CHECK = """
import bz2, ctypes, curses, dbm.ndbm, decimal, hashlib, json, lzma, os
import readline, sqlite3, ssl, sys, uuid, zoneinfo
ctypes.CDLL("libgomp.so.1"), ctypes.CDLL("libstdc++.so.6")
zoneinfo.ZoneInfo("Europe/Berlin")
print(json.dumps({
    "python": "%d.%d" % sys.version_info[:2],
    "roots": len(ssl.create_default_context().get_ca_certs()),
    "home": os.stat("/home/serve").st_uid,
    "tmp": oct(os.stat("/tmp").st_mode & 0o7777),
    "shells": [p for p in ("/bin/sh", "/usr/bin/bash", "/usr/bin/dpkg") if os.path.exists(p)],
}))
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("debs")


def sources(suite: str) -> list[Source]:
    found = apt_sources(suite, Path("/etc/apt"))
    if found:
        return found
    # A machine of the other release: its mirrors hold every release.
    near = {source.uri for name in ("bookworm", "trixie") for source in apt_sources(name, Path("/etc/apt"))}
    if not near:
        pytest.skip("this machine has no apt sources of Debian")
    return mirror_sources(sorted(near), suite)


def base(python: str, architecture: str, cache: Path) -> tuple[BaseLock, list[Entry]]:
    suite = suite_for(python).name
    platform = Platform(os="linux", architecture=architecture)
    network, progress = Network(), Silent()
    lock = resolve_base(python, platform, sources(suite), network=network, progress=progress, cache_dir=cache)
    return lock, base_entries(lock, cache, sources(suite), network=network, progress=progress)


def layer_of(entries: list[Entry], store: Store) -> LayerBlob:
    with store.scratch() as tmp:
        blob = write_layer(entries, tmp)
        store.commit(tmp, blob.digest)
    return blob


@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_the_bases_python_runs_and_two_builds_are_one_layer(python: str, cache: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("chroot needs root")
    lock, entries = base(python, "amd64", cache)
    store = Store(tmp_path / "store")
    blob = layer_of(entries, store)
    assert layer_of(base(python, "amd64", cache)[1], Store(tmp_path / "again")) == blob
    assert blob.size < 20_000_000
    assert BaseLock.from_json(lock.to_json()) == lock
    config = ImageConfig(platform=Platform(os="linux", architecture="amd64"))
    unpack(store, assemble(store, config, [Layer(blob=blob, name="base")]), tmp_path / "root")
    argv = [program("chroot"), str(tmp_path / "root"), "/usr/bin/python3", "-c", CHECK]
    env = {"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f'"python": "{python}"' in done.stdout
    assert '"home": 10001, "tmp": "0o1777", "shells": []' in done.stdout
    assert '"roots": 0' not in done.stdout


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_every_library_of_the_base_finds_its_own(architecture: str, cache: Path, tmp_path: Path) -> None:
    _, entries = base("3.11", architecture, cache)
    store, platform = Store(tmp_path / "store"), Platform(os="linux", architecture=architecture)
    image = assemble(
        store, ImageConfig(platform=platform), [Layer(blob=layer_of(entries, store), name="base")]
    )
    unpack(store, image, tmp_path / "root")
    libraries = base_libraries(tmp_path / "root", {}, platform)
    objects = [
        WheelObject(path=entry.path, package="base", elf=elf)
        for entry in entries
        if entry.data is not None and (elf := read_elf(entry.data))
    ]
    assert len(objects) > 100
    assert {each.elf.machine for each in objects} == {platform.machine}
    report = check_closure(objects, libraries, platform.machine)
    assert (report.missing, report.foreign, report.too_new) == ((), (), ())
    assert libraries.versions["GLIBC"] == (2, 36)
