from __future__ import annotations

from servegen.oci.closure import BaseLibraries, WheelObject, check_closure
from servegen.oci.elf import read_elf
from tests.oci.elf_files import AARCH64, X86_64, elf

BASE = BaseLibraries(
    names=frozenset({"libc.so.6", "libm.so.6", "libstdc++.so.6"}),
    elsewhere=frozenset({"/opt/x/libx.so.1"}),
    versions={"GLIBC": (2, 36), "GLIBCXX": (3, 4, 30), "CXXABI": (1, 3, 13)},
)


def wheel(path: str, *needed: str, package: str | None = None, **facts: object) -> WheelObject:
    """A shared object of the wheel that its path begins with."""
    read = read_elf(elf(*needed, **facts))  # type: ignore[arg-type]  # keywords of the test
    assert read is not None
    return WheelObject(path=path, package=package or path.partition("/")[0], elf=read)


def missing(*objects: WheelObject, without: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    report = check_closure(objects, BASE, "x86_64", without=without)
    assert (report.foreign, report.too_new) == ((), ())
    return [(each.soname, each.needed_by) for each in report.missing]


def test_a_closed_set_of_wheels_has_nothing_missing() -> None:
    assert not missing(
        wheel("a/a.so", "libc.so.6", "libhashed-12.so.1", versions=("GLIBC_2.28",)),
        wheel("b.libs/other.so", "libc.so.6", soname="libhashed-12.so.1"),
    )


def test_a_library_that_nobody_has_is_named_with_the_first_that_needs_it() -> None:
    objects = (wheel("b/b.so", "libnobody.so.1"), wheel("a/a.so", "libnobody.so.1"))
    assert missing(*objects) == [("libnobody.so.1", "a/a.so")]
    assert not missing(*objects, without=("libnobody.so.1",))


def test_a_library_outside_the_loaders_folders_counts_for_those_who_name_its_folder() -> None:
    assert missing(wheel("a/a.so", "libx.so.1")) == [("libx.so.1", "a/a.so")]
    assert not missing(wheel("a/a.so", "libx.so.1", runpath="$ORIGIN:/opt/x/"))
    assert not missing(wheel("a/a.so", "/opt/x/libx.so.1"))


def test_the_graphics_drivers_libraries_come_with_the_node() -> None:
    assert not missing(wheel("torch/lib/libcaffe2_nvrtc.so", "libcuda.so.1", "libnvidia-ml.so.1"))
    assert missing(wheel("a/a.so", "libcudart.so.12"))


def test_a_plugin_whose_owner_does_without_it_may_lack_its_library() -> None:
    plugin = "opt/site-packages/numba/np/ufunc/tbbpool.cpython-311-x86_64-linux-gnu.so"
    assert not missing(wheel(plugin, "libtbb.so.12"))


def test_a_runtime_library_that_is_too_old_is_named_by_family() -> None:
    objects = (
        wheel("a/a.so", "libc.so.6", versions=("GLIBC_2.37",)),
        wheel("b/b.so", "libc.so.6", "libstdc++.so.6", versions=("GLIBC_2.38", "GLIBCXX_3.4.31")),
    )
    found = check_closure(objects, BASE, "x86_64").too_new
    assert [(each.family, each.path, each.asked) for each in found] == [
        ("GLIBC", "b/b.so", (2, 38)),
        ("GLIBCXX", "b/b.so", (3, 4, 31)),
    ]
    own = wheel("c.libs/libstdc++.so.6", soname="libstdc++.so.6")
    assert [each.family for each in check_closure((*objects, own), BASE, "x86_64").too_new] == ["GLIBC"]


def test_a_wheel_for_another_machine_is_found_and_a_helper_for_one_is_not() -> None:
    alien = wheel("alien/a.so", "libnobody.so.1", machine=AARCH64)
    objects = (alien, wheel("tools/x.so", machine=X86_64), wheel("tools/y.so", machine=AARCH64))
    report = check_closure(objects, BASE, "x86_64")
    assert report.foreign == (alien,)
    assert report.missing == ()
