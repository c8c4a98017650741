"""The check of a built image's libraries: what layers remember, what a base offers, what becomes of a gap."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from servegen.builders.bases.libraries import base_libraries, glibc_of
from servegen.builders.closure import (
    ClosureOptions,
    missing_packages,
    objects_of,
    recalled,
    remember,
)
from servegen.errors import BaseImageError, BuildError
from servegen.oci.known import KnownLayers
from servegen.oci.store import Store
from servegen.oci.tar import Entry, write_layer
from servegen.progress import Silent
from servegen.values.image import Base, Platform
from tests.oci.elf_files import AARCH64, elf

AMD64 = Platform(os="linux", architecture="amd64")
SITE = "opt/servegen/site-packages"
LIBC = elf(soname="libc.so.6") + b"GLIBC_2.36\0"


class Built:
    """Layers in a store: a base and wheels with one shared object each."""

    def __init__(self, folder: Path, *, base_files: dict[str, bytes] | None = None) -> None:
        self.folder = folder
        self.store = Store(folder / "store")
        files = {"usr/lib/x86_64-linux-gnu/libc.so.6": LIBC, **(base_files or {})}
        blob = self._blob([Entry(path=path, data=data) for path, data in files.items()], "none")
        self.store.record_layer("base-key", blob)
        self.wheels: list[str] = []
        self.base = Base(
            name="debian:bookworm",
            digest=blob.digest,
            interpreter="/usr/bin/python3.11",
            python="3.11",
            build="3.11.2",
            layers=("base-key",),
        )

    def wheel(self, name: str, data: bytes, *, made_here: bool = True) -> None:
        """A layer of its own for the wheel `name`."""
        source = self.folder / f"{name}.so"
        source.write_bytes(data)
        entries = [Entry(path=f"{SITE}/{name}/{name}.so", source=source)]
        blob = self._blob(entries, "zstd")
        self.store.record_layer(f"key-{name}", blob)
        self.wheels.append(f"key-{name}")
        if made_here:
            remember(self.store, f"key-{name}", objects_of({name: entries}))

    def missing(self, base: Base | None = None, *, without: tuple[str, ...] = ()) -> tuple[str, ...]:
        options = ClosureOptions(
            store=self.store.path,
            scratch=self.folder / "rootfs",
            known=KnownLayers.none(self.store, Silent()),
            without=without,
        )
        return missing_packages(self.wheels, base or self.base, AMD64, options, Silent())

    def _blob(self, entries, compression):
        with self.store.scratch() as scratch:
            blob = write_layer(entries, scratch, compression)
            self.store.commit(scratch, blob.digest)
        return blob


@pytest.fixture
def built(tmp_path: Path) -> Built:
    return Built(tmp_path)


def test_what_wheels_and_base_have_between_them_is_enough(built):
    built.wheel("a", elf("libc.so.6", "libb.so.1", versions=("GLIBC_2.28",)))
    built.wheel("b", elf("libc.so.6", soname="libb.so.1"))
    assert built.missing() == ()


def test_debian_packages_of_libraries_that_the_built_in_base_lacks_are_told(built):
    built.wheel("a", elf("libGL.so.1", "libgthread-2.0.so.0", "libglib-2.0.so.0"))
    assert built.missing() == ("libgl1", "libglib2.0-0")
    assert built.missing(replace(built.base, name="debian:trixie")) == ("libgl1", "libglib2.0-0t64")


def test_a_package_that_was_added_and_does_not_help_is_an_error(built):
    built.wheel("a", elf("libGL.so.1"))
    with pytest.raises(
        BuildError, match=r"libGL\.so\.1 is in no wheel and not in the base \(needed by .*a\.so\)"
    ):
        built.missing(replace(built.base, extra=("libgl1",)))


@pytest.mark.parametrize(
    ("soname", "name", "way"),
    [("libGL.so.1", "registry/python:3.11", "--base REF"), ("libnobody.so.1", "debian:bookworm", "--apt")],
)
def test_a_library_that_cannot_be_added_is_an_error_with_a_way_out(built, soname, name, way):
    built.wheel("a", elf(soname))
    base = replace(built.base, name=name)
    with pytest.raises(BuildError) as error:
        built.missing(base)
    assert way in error.value.hint
    assert f"--allow-missing-library {soname}" in error.value.hint
    assert built.missing(base, without=(soname,)) == ()


def test_a_glibc_that_is_too_old_is_an_error(built):
    built.wheel("a", elf("libc.so.6", versions=("GLIBC_2.38",)))
    with pytest.raises(BaseImageError, match=r"a\.so needs glibc 2\.38, the base has 2\.36"):
        built.missing()


def test_a_wheel_for_another_machine_is_an_error(built):
    built.wheel("a", elf("libc.so.6", machine=AARCH64))
    with pytest.raises(BuildError, match=r"a\.so of a is built for aarch64, the image is for linux/amd64"):
        built.missing()


def test_a_layer_that_was_made_elsewhere_is_read_when_something_is_missing(built):
    built.wheel("a", elf("libb.so.1"))
    built.wheel("b", elf(soname="libb.so.1"), made_here=False)
    assert built.missing() == ()
    kept = recalled(built.store, "key-b")
    assert kept is not None
    assert [(each.package, each.elf.soname) for each in kept] == [("b", "libb.so.1")]


def test_an_image_of_which_nothing_was_made_here_is_taken_as_it_is(built):
    built.wheel("a", elf("libnobody.so.1"), made_here=False)
    assert built.missing() == ()


def test_a_base_is_read_once(built):
    built.wheel("a", elf("libc.so.6"))
    assert built.missing() == ()
    (rootfs,) = (built.folder / "rootfs").iterdir()
    (rootfs / "usr/lib/x86_64-linux-gnu/libc.so.6").unlink()
    assert built.missing() == ()


def test_a_record_that_cannot_be_read_does_not_exist(built):
    assert recalled(built.store, "absent") is None
    remember(built.store, "key", [])
    (record,) = (built.store.path / "elf").iterdir()
    record.write_text('{"format":0}')
    assert recalled(built.store, "key") is None


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A base of a system that is not Debian: links into /usr, folders that ldconfig was told of."""
    root = tmp_path / "root"
    files = {
        "usr/lib64/libc.so.6": LIBC,
        "usr/lib64/libstdc++.so.6.0.30": b"GLIBCXX_3.4.30\0CXXABI_1.3.13\0",
        "usr/local/lib/libpython3.11.so.1.0": b"",
        "opt/driver/libdriver.so.1": b"",
        "opt/x/libx.so.1": b"",
        "etc/ld.so.conf.d/driver.conf": b"# comment\n/opt/driver/\n",
    }
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    (root / "lib64").symlink_to("usr/lib64")
    (root / "usr/lib64/libstdc++.so.6").symlink_to("/usr/lib64/libstdc++.so.6.0.30")
    (root / "usr/lib64/libdead.so.1").symlink_to("/nowhere/libdead.so.1")
    return root


def test_a_base_offers_what_its_loader_finds(rootfs):
    found = base_libraries(rootfs, {"LD_LIBRARY_PATH": "/opt/x"}, AMD64)
    assert found.names == {"libc.so.6", "libstdc++.so.6", "libstdc++.so.6.0.30", "libx.so.1"}
    assert found.elsewhere == {"/usr/local/lib/libpython3.11.so.1.0", "/opt/driver/libdriver.so.1"}
    assert found.versions == {"GLIBC": (2, 36), "GLIBCXX": (3, 4, 30), "CXXABI": (1, 3, 13)}
    assert glibc_of(rootfs, {}, AMD64) == (2, 36)


def test_folders_that_ldconfig_was_told_of_count_once_it_ran(rootfs):
    (rootfs / "etc/ld.so.cache").write_bytes(b"")
    names = base_libraries(rootfs, {}, AMD64).names
    assert {"libpython3.11.so.1.0", "libdriver.so.1"} <= names
    assert "libx.so.1" not in names
