"""The built-in base: which packages it gets, and when a locked one is made anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from servegen.builders.bases import BaseOptions, prepare
from servegen.errors import BaseImageError
from servegen.oci.http import Network
from servegen.oci.known import KnownLayers
from servegen.oci.registry import Registry, RegistryOptions
from servegen.oci.store import Store
from servegen.progress import Silent
from servegen.values.image import Base, Platform
from tests.oci.fake_mirror import FakeMirror, whole

Prepare = Callable[..., tuple[Base, dict[str, Any]]]


@pytest.fixture
def mirror(tmp_path: Path) -> FakeMirror:
    mirror = whole(tmp_path / "mirror")
    for name in ("libgl1", "libglx0", "ffmpeg"):
        mirror.add(name, depends="libglx0" if name == "libgl1" else "")
    mirror.publish()
    return mirror


@pytest.fixture
def debian(mirror: FakeMirror, tmp_path: Path) -> Iterator[Prepare]:
    """Prepares the built-in base from the mirror; keywords change the options."""
    with Registry(RegistryOptions(), Silent()) as registry:
        options = BaseOptions(
            platform=Platform(os="linux", architecture="amd64"),
            python="3.11",
            store=tmp_path / "store",
            cache=tmp_path / "cache",
            debian_mirrors=(mirror.uri,),
            debian_keyring=mirror.keyring(),
            registry=registry,
            network=Network(),
            known=KnownLayers.none(Store(tmp_path / "store"), Silent()),
            compression="zstd",
        )

        def make(locked: dict[str, Any] | None = None, **changes: Any) -> tuple[Base, dict[str, Any]]:
            return prepare("debian", locked or {}, replace(options, **changes), Silent())

        yield make


def names(locked: dict[str, Any]) -> set[str]:
    return {package["name"] for package in locked["packages"]}


def test_a_base_of_another_compression_is_another_layer_and_has_the_same_lock(debian):
    (zstd, locked), (gzip, again) = debian(), debian(compression="gzip")
    assert zstd.layers != gzip.layers
    assert locked == again


def test_a_lock_without_further_packages_does_not_speak_of_them(debian):
    base, locked = debian()
    assert not {"apt", "found"} & locked.keys()
    assert (base.extra, base.glibc) == ((), (1, 0))


def test_further_packages_come_with_what_they_depend_on_and_are_another_base(debian):
    plain, _ = debian()
    base, locked = debian(apt=("libgl1",))
    assert names(locked) >= {"libgl1", "libglx0"}
    assert locked["apt"] == ["libgl1"]
    assert base.extra == ("libgl1",)
    assert base.digest != plain.digest
    assert base.layers != plain.layers
    assert base.build == plain.build


def test_a_locked_base_is_used_while_its_packages_are_the_wanted_ones(debian, mirror):
    first = debian(apt=("libgl1", "ffmpeg"))
    mirror.add("tzdata", version="1.0-2")
    mirror.publish()
    assert debian(first[1], apt=("ffmpeg", "libgl1")) == first
    assert debian({}, apt=("ffmpeg", "libgl1")) != first


@pytest.mark.parametrize("apt", [(), ("ffmpeg",), ("ffmpeg", "libgl1")])
def test_a_changed_list_makes_the_base_anew(debian, apt):
    _, locked = debian(apt=("libgl1",))
    base, again = debian(locked, apt=apt)
    assert base.extra == apt
    assert names(again) & {"libgl1", "ffmpeg"} == set(apt)


def test_packages_that_wheels_were_found_to_need_stay_in_the_lock(debian):
    plain, before = debian()
    base, locked = debian(before, found=("libgl1",))
    assert (base.extra, locked["found"]) == (("libgl1",), ["libgl1"])
    assert base.digest != plain.digest
    assert debian(locked) == (base, locked)
    assert debian(locked, apt=("ffmpeg",))[0].extra == ("ffmpeg", "libgl1")


def test_a_package_is_the_same_base_whoever_asked_for_it(debian):
    assert debian(apt=("libgl1",))[0].layers == debian(found=("libgl1",))[0].layers


def test_a_python_that_debian_does_not_have_is_an_error_that_says_which_it_has(debian):
    with pytest.raises(BaseImageError, match=r"has Python 3\.11 and 3\.13, the model wants 3\.12") as error:
        debian(python="3.12")
    assert "--base REF with Python 3.12" in error.value.hint


def test_a_package_that_does_not_exist_is_an_error(debian):
    with pytest.raises(BaseImageError, match="libnobody1 is not in Debian 12"):
        debian(apt=("libnobody1",))
