from __future__ import annotations

import platform
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from servegen.oci.elf import is_shared, offered_versions, read_elf
from tests.oci.elf_files import elf


def test_a_real_extension_module_is_read_from_a_path_and_from_bytes() -> None:
    path = next(Path(zstandard.__file__).parent.glob("backend_c*.so"))
    found = read_elf(path)
    assert found is not None
    assert found.machine == platform.machine()
    assert "libc.so.6" in found.needed
    assert (2, 0) < found.version("GLIBC") < (3, 0)
    assert read_elf(path.read_bytes()) == found


def test_needs_soname_and_versions_are_read() -> None:
    found = read_elf(
        elf(
            "libm.so.6",
            "libgomp.so.1",
            soname="libx.so.2",
            versions=(
                "GLIBC_2.4",
                "GCC_3.0",
                "GLIBC_2.28",
                "GLIBCXX_3.4.9",
                "GLIBCXX_3.4.21",
                "GLIBC_PRIVATE",
            ),
            runpath="$ORIGIN/../x.libs:/opt/x",
        )
    )
    assert found is not None
    assert (found.needed, found.soname) == (("libm.so.6", "libgomp.so.1"), "libx.so.2")
    assert found.versions == (("GLIBC", (2, 28)), ("GLIBCXX", (3, 4, 21)))
    assert found.runpath == ("$ORIGIN/../x.libs", "/opt/x")


def test_an_object_without_dynamic_section_needs_nothing() -> None:
    found = read_elf(elf("libx.so.1", dynamic=False))
    assert found is not None
    assert found.needed == ()


@given(cut=st.integers(0, 600), data=st.binary(max_size=40))
def test_damaged_objects_never_raise(cut: int, data: bytes) -> None:
    whole = elf("libm.so.6", soname="x", versions=("GLIBC_2.28",))
    read_elf(whole[:cut] + data + whole[cut + len(data) :])
    read_elf(whole[:cut])


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("libc.so.6", True),
        ("a/_x.cpython-311-x86_64-linux-gnu.so", True),
        ("libgomp-e985bcbb.so.1.0.0", True),
        ("libssl-81259c47.so.1.1.1k", True),
        ("ld-linux-x86-64.so.2", True),
        ("a.so/readme.txt", False),
        ("x.so.py", False),
        ("libx.so.conf", False),
    ],
)
def test_shared_objects_are_known_by_name(name: str, shared: bool) -> None:
    assert is_shared(name) == shared


def test_a_runtime_library_offers_the_newest_versions_that_it_mentions() -> None:
    data = elf(soname="libc.so.6") + b"GLIBC_2.4\0GLIBC_2.36\0GLIBC_2.17\0GLIBC_PRIVATE\0GLIBCXX_3.4.30\0"
    assert offered_versions(data) == {"GLIBC": (2, 36), "GLIBCXX": (3, 4, 30)}
