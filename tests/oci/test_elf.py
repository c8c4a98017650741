from __future__ import annotations

import platform
import struct
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from servegen.errors import BuildError
from servegen.oci.elf import ElfFile, check_closure, debian_package, is_shared, read_elf

X86_64, AARCH64 = 62, 183


def elf(
    *needed: str,
    soname: str = "",
    glibc: tuple[str, ...] = (),
    machine: int = X86_64,
    bits: int = 2,
    dynamic: bool = True,
) -> bytes:
    """A shared object with nothing but what a loader reads first."""
    strings = bytearray(b"\0")

    def text(value: str) -> int:
        strings.extend(value.encode() + b"\0")
        return strings.index(value.encode() + b"\0")

    tags = [(1, text(name)) for name in needed] + ([(14, text(soname))] if soname else [])
    names = [text(version) for version in glibc]
    file = text("libc.so.6")
    base = 0x1000
    needs = struct.pack("<HHIII", 1, len(names), file, 16, 0) if names else b""
    for i, name in enumerate(names):
        needs += struct.pack("<IHHII", 0, 0, 2, name, 16 if i + 1 < len(names) else 0)
    start = 64 + 2 * 56
    strings_at = start + 16 * (len(tags) + 4)
    needs_at = strings_at + len(strings)
    tags += (
        [(5, base + strings_at)]
        + ([(0x6FFFFFFE, base + needs_at), (0x6FFFFFFF, 1)] if names else [])
        + [(0, 0)]
    )
    table = b"".join(struct.pack("<qQ", *tag) for tag in tags).ljust(strings_at - start, b"\0")
    size = needs_at + len(needs)
    headers = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 4096)
    headers += struct.pack(
        "<IIQQQQQQ", 2 if dynamic else 4, 6, start, base + start, 0, len(table), len(table), 8
    )
    ident = b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9)
    return (
        ident
        + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
        + headers
        + table
        + bytes(strings)
        + needs
    )


def files(**content: bytes) -> list[ElfFile]:
    return [
        ElfFile(path=name.replace("__", "/").replace("_so", ".so"), content=data)
        for name, data in content.items()
    ]


BASE = [
    ElfFile(
        path="usr/lib/libc.so.6", content=elf(soname="libc.so.6") + b"GLIBC_2.4\0GLIBC_2.36\0GLIBC_2.17\0"
    )
]


def test_a_real_extension_module_is_read_from_a_path_and_from_bytes() -> None:
    path = next(Path(zstandard.__file__).parent.glob("backend_c*.so"))
    found = read_elf(path)
    assert found is not None
    assert found.machine == platform.machine()
    assert "libc.so.6" in found.needed
    assert (2, 0) < found.glibc < (3, 0)
    assert read_elf(path.read_bytes()) == found


def test_needs_soname_and_versions_are_read() -> None:
    found = read_elf(
        elf("libm.so.6", "libgomp.so.1", soname="libx.so.2", glibc=("GLIBC_2.4", "GCC_3.0", "GLIBC_2.28"))
    )
    assert found is not None
    assert (found.needed, found.soname, found.glibc) == (("libm.so.6", "libgomp.so.1"), "libx.so.2", (2, 28))


def test_a_closed_set_of_wheels_has_nothing_missing() -> None:
    report = check_closure(
        files(
            sp__a_so=elf("libc.so.6", "libhashed-12.so.1", glibc=("GLIBC_2.28",)),
            sp__b_libs__other_so=elf("libc.so.6", soname="libhashed-12.so.1"),
        ),
        BASE,
        "x86_64",
    )
    assert (report.objects, report.missing, report.foreign) == (2, (), ())
    assert (report.glibc, report.glibc_path, report.base_glibc) == ((2, 28), "sp/a.so", (2, 36))
    assert report.from_base == ("libc.so.6",)
    report.require("bookworm")


def test_a_library_that_nobody_has_is_an_error_with_its_debian_package() -> None:
    report = check_closure(files(sp__b_so=elf("libgomp.so.1"), sp__a_so=elf("libgomp.so.1")), BASE, "x86_64")
    assert [(library.soname, library.needed_by) for library in report.missing] == [
        ("libgomp.so.1", ("sp/a.so", "sp/b.so"))
    ]
    with pytest.raises(
        BuildError, match=r"libgomp\.so\.1 is in no wheel and not in the base \(needed by sp/a\.so\)"
    ) as error:
        report.require("trixie")
    assert error.value.hint == "--apt libgomp1"
    with pytest.raises(BuildError) as error:
        report.require()
    assert "--apt" not in error.value.hint


def test_a_glibc_that_is_too_old_is_an_error() -> None:
    report = check_closure(files(sp__a_so=elf("libc.so.6", glibc=("GLIBC_2.38",))), BASE, "x86_64")
    with pytest.raises(BuildError, match=r"sp/a\.so needs glibc 2\.38, the base has 2\.36") as error:
        report.require("bookworm")
    assert error.value.hint == "a newer base, or --target manylinux_2_36"


def test_objects_of_another_machine_are_reported_and_their_needs_are_not() -> None:
    report = check_closure(
        files(a_so=elf("libx.so.1", machine=AARCH64), b_so=elf(bits=1), c_so=elf(machine=250)), BASE, "x86_64"
    )
    assert report.foreign == (
        ("a.so", "aarch64"),
        ("b.so", "not 64-bit little-endian"),
        ("c.so", "machine 250"),
    )
    assert report.missing == ()


def test_files_that_are_no_objects_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "empty.so").write_bytes(b"")
    wheels = [
        *files(script_so=b"INPUT(libx.so.1)\n", short_so=b"\x7fELF"),
        ElfFile(path="empty.so", content=tmp_path / "empty.so"),
        ElfFile(path="module.py", content=elf("libabsent.so.1")),
    ]
    assert check_closure(wheels, BASE, "x86_64").objects == 0


def test_an_object_without_dynamic_section_needs_nothing() -> None:
    found = read_elf(elf("libx.so.1", dynamic=False))
    assert found is not None
    assert found.needed == ()


@given(cut=st.integers(0, 600), data=st.binary(max_size=40))
def test_damaged_objects_never_raise(cut: int, data: bytes) -> None:
    whole = elf("libm.so.6", soname="x", glibc=("GLIBC_2.28",))
    read_elf(whole[:cut] + data + whole[cut + len(data) :])
    read_elf(whole[:cut])


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("libc.so.6", True),
        ("a/_x.cpython-311-x86_64-linux-gnu.so", True),
        ("libgomp-e985bcbb.so.1.0.0", True),
        ("ld-linux-x86-64.so.2", True),
        ("a.so/readme.txt", False),
        ("x.so.py", False),
        ("libx.so.conf", False),
    ],
)
def test_shared_objects_are_known_by_name(name: str, shared: bool) -> None:
    assert is_shared(name) == shared


def test_package_names_are_those_of_the_release() -> None:
    assert debian_package("libglib-2.0.so.0", "bookworm") == "libglib2.0-0"
    assert debian_package("libglib-2.0.so.0", "trixie") == "libglib2.0-0t64"
    assert debian_package("libavcodec.so.59", "trixie") is None
    assert debian_package("libnobody.so.1", "bookworm") is None
