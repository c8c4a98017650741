from __future__ import annotations

import io
import os
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servegen.errors import BuildError
from servegen.oci.untar import TarReader

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def python_tar(format_name: str, *infos: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=FORMATS[format_name]) as tar:
        for info, data in infos:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def info(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    for field, value in fields.items():
        setattr(made, field, value)
    return made


@pytest.mark.parametrize("format_name", FORMATS)
@given(cut=st.integers(1, 5000), data=st.binary(max_size=3000))
@settings(max_examples=25, deadline=None)
def test_archives_of_every_format_are_read_whatever_pieces_they_come_in(
    format_name: str, cut: int, data: bytes
) -> None:
    # ustar holds a long name only when it can be split at a '/'.
    long = "/".join(["l" * 50] * (4 if format_name == "ustar" else 8)) + "/é"
    archive = python_tar(
        format_name,
        (info("./plain", mode=0o4755, uid=5, gid=6, mtime=77), data),
        (info(long), b"long"),
        (info("dir", tarfile.DIRTYPE), b""),
        (info("sym", tarfile.SYMTYPE, linkname="x" * (90 if format_name == "ustar" else 150)), b""),
        (info("hard", tarfile.LNKTYPE, linkname="plain"), b""),
    )
    reader = TarReader(archive[i : i + cut] for i in range(0, len(archive), cut))
    found = {member.path.rstrip("/"): (member, reader.read()) for member in reader.members()}
    plain, content = found["./plain"]
    assert (plain.kind, plain.mode, plain.uid, plain.gid, plain.mtime, content) == (
        "file",
        0o4755,
        5,
        6,
        77,
        data,
    )
    assert found[long][1] == b"long"
    assert [found[name][0].kind for name in ("dir", "sym", "hard")] == ["dir", "symlink", "hardlink"]
    assert set(found["sym"][0].link) == {"x"}
    assert found["hard"][0].link == "plain"


def test_content_that_is_not_asked_for_is_passed_over() -> None:
    archive = python_tar("pax", (info("a"), os.urandom(5000)), (info("b"), b"here"))
    reader = TarReader([archive])
    assert [reader.read() for member in reader.members() if member.path == "b"] == [b"here"]


def test_devices_and_pipes_are_of_another_kind() -> None:
    archive = python_tar("gnu", (info("null", tarfile.CHRTYPE), b""), (info("pipe", tarfile.FIFOTYPE), b""))
    assert [member.kind for member in TarReader([archive]).members()] == ["other", "other"]


def test_big_owner_ids_in_gnus_own_form_are_read() -> None:
    archive = python_tar("gnu", (info("a", uid=1 << 30), b""))
    assert next(TarReader([archive]).members()).uid == 1 << 30


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:700],
        lambda data: data[:300],
        lambda data: b"x" + data[1:],
        lambda data: data[:124] + b"99999999999\0" + data[136:],
        lambda _: b"not a tar at all" * 100,
    ],
)
def test_a_damaged_archive_is_refused(damage: object) -> None:
    archive = python_tar("gnu", (info("a"), bytes(range(256)) * 4))
    reader = TarReader([damage(archive)])  # type: ignore[operator] # one of the functions above
    with pytest.raises(BuildError, match="damaged"):
        for _ in reader.members():
            reader.read()
