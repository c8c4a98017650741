from __future__ import annotations

import gzip
import hashlib
import io
import os
import resource
import subprocess
import tarfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from servegen.errors import BuildError
from servegen.oci.compress import compressor, decompressed
from servegen.oci.tar import Compression, Entry, compressor_id, header, walk, write_layer
from servegen.oci.untar import TarReader

NAME = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\\x7f"), min_size=1, max_size=90
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh.") and not name.endswith(":"))
PATH = st.lists(NAME, min_size=1, max_size=5).map("/".join)


def tar_of(entries: list[Entry], folder: Path) -> bytes:
    write_layer(entries, folder / "layer", "none")
    return (folder / "layer").read_bytes()


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        return {member.name: member for member in tar}


@st.composite
def trees(draw: st.DrawFn) -> list[Entry]:
    """Files, directories and links that do not stand in each other's way."""
    out: dict[str, Entry] = {}
    folders: set[str] = set()
    for path in draw(st.lists(PATH, max_size=8, unique=True)):
        parents = {path[:i] for i, char in enumerate(path) if char == "/"}
        if path in folders or path in out or parents & out.keys():
            continue
        folders |= parents
        kind = draw(st.sampled_from(["file", "file", "symlink"]))
        if kind == "file":
            out[path] = Entry(
                path=path, data=draw(st.binary(max_size=2000)), mode=draw(st.integers(0, 0o7777))
            )
        else:
            out[path] = Entry(path=path, kind="symlink", link="/" + draw(PATH))
    return list(out.values())


@given(entries=trees(), order=st.randoms())
@settings(max_examples=60, deadline=None)
def test_python_reads_back_what_was_written_in_any_order(
    entries: list[Entry], order: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tar")
    data = tar_of(entries, folder)
    order.shuffle(entries)  # type: ignore[attr-defined] # hypothesis names no type for its random
    assert tar_of(entries, folder) == data
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        read = {m.name: m for m in tar}
        for entry in entries:
            member = read.pop(entry.path)
            assert (member.uid, member.gid, member.mtime, member.uname) == (0, 0, 0, "")
            if entry.kind == "file":
                file = tar.extractfile(member)
                assert file is not None
                assert file.read() == entry.data
                assert member.mode == (0o755 if entry.mode & 0o111 else 0o644)
            else:
                assert member.linkname == entry.link
        assert all(member.isdir() and member.mode == 0o755 for member in read.values())
    reader = TarReader([data])
    ours = {m.path.rstrip("/"): (m.kind, reader.read(), m.link) for m in reader.members()}
    assert {e.path: (e.kind, e.data or b"", e.link) for e in entries}.items() <= ours.items()


def test_gnu_tar_extracts_the_same_tree(tmp_path: Path) -> None:
    long = "/".join(["d" * 60] * 6)
    entries = [
        Entry(path="run", data=b"#!", mode=0o700),
        Entry(path=long, data=b"deep"),
        Entry(path="ü" * 70, data=b"wide"),
        Entry(path="link", kind="symlink", link=long),
        Entry(path="hard", kind="hardlink", link="run"),
    ]
    tar_of(entries, tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    done = subprocess.run(
        ["tar", "xf", tmp_path / "layer", "-C", out], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert (out / long).read_bytes() == b"deep"
    assert (out / ("ü" * 70)).read_bytes() == b"wide"
    assert (out / "link").readlink() == Path(long)
    assert (out / "hard").stat().st_ino == (out / "run").stat().st_ino
    assert os.access(out / "run", os.X_OK)


def test_parents_come_once_and_before_their_children(tmp_path: Path) -> None:
    data = tar_of(
        [Entry(path="a/b/x", data=b""), Entry(path="a/b-c", data=b""), Entry(path="a/y", data=b"")], tmp_path
    )
    assert list(members(data)) == ["a", "a/b", "a/b-c", "a/b/x", "a/y"]


def test_modes_are_two_and_set_id_bits_are_dropped(tmp_path: Path) -> None:
    data = tar_of(
        [
            Entry(path="su", data=b"", mode=0o4711),
            Entry(path="secret", data=b"", mode=0o600),
            Entry(path="tmp", kind="dir", mode=0o1777),
            Entry(path="home", kind="dir", mode=0o2700, uid=10001),
        ],
        tmp_path,
    )
    found = members(data)
    assert {name: oct(member.mode) for name, member in found.items()} == {
        "su": "0o755",
        "secret": "0o644",
        "tmp": "0o1777",
        "home": "0o755",
    }
    assert found["home"].uid == 10001


def test_a_hard_link_follows_the_file_whichever_sorts_first(tmp_path: Path) -> None:
    data = tar_of(
        [
            Entry(path="z", data=b"content"),
            Entry(path="a", kind="hardlink", link="m"),
            Entry(path="m", kind="hardlink", link="z"),
        ],
        tmp_path,
    )
    found = members(data)
    assert list(found) == ["a", "m", "z"]
    assert found["a"].isreg()
    assert found["a"].size == 7
    assert (found["m"].linkname, found["z"].linkname) == ("a", "a")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a//b",
        "a/",
        "./a",
        "a/.",
        "a\0b",
        "a\\b",
        "a\nb",
        "C:/x",
        "a/.wh.b",
        "\ud800",
    ],
)
def test_an_unsafe_name_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError):
        write_layer([Entry(path=path, data=b"")], tmp_path / "layer")
    assert not (tmp_path / "layer").exists()


@pytest.mark.parametrize("link", ["../x", "a/../../x", "/..", ""])
def test_a_link_out_of_the_image_is_refused(link: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="leaves the image"):
        write_layer([Entry(path="l", kind="symlink", link=link)], tmp_path / "layer")


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([Entry(path="a", data=b""), Entry(path="a", data=b"")], "twice"),
        ([Entry(path="a", data=b""), Entry(path="a/b", data=b"")], "below a, which is a file"),
        ([Entry(path="a", kind="hardlink", link="b")], "no file in its layer"),
        (
            [Entry(path="a", kind="hardlink", link="b"), Entry(path="b", kind="hardlink", link="a")],
            "no file in its layer",
        ),
        ([Entry(path="a")], "either data or a source"),
        ([Entry(path="a", data=b"", uid=-1)], "owner"),
        ([Entry(path="a", data=b"", gid=1 << 21)], "owner"),
    ],
)
def test_a_contradiction_is_refused(entries: list[Entry], said: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=said):
        write_layer(entries, tmp_path / "layer")


def test_a_file_that_grows_or_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    # /proc/self/stat has size 0 by stat and content when read: a file that grows after it was looked at.
    with pytest.raises(BuildError, match="changed while it was read"):
        write_layer([Entry(path="a", source=Path("/proc/self/stat"))], tmp_path / "layer")
    assert not (tmp_path / "layer").exists()


def test_a_pipe_or_a_missing_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BuildError, match="not a regular file"):
        write_layer([Entry(path="a", source=tmp_path / "pipe")], tmp_path / "layer")
    with pytest.raises(BuildError, match="cannot be read"):
        write_layer([Entry(path="a", source=tmp_path / "absent")], tmp_path / "layer")


def test_a_file_of_8_gib_gets_a_pax_size() -> None:
    data = header(Entry(path="big", data=b""), 9 << 30)
    with tarfile.open(fileobj=io.BytesIO(data + bytes(1024)), mode="r:", ignore_zeros=True) as tar:
        member = tar.next()
    assert member is not None
    assert member.size == 9 << 30


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_both_digests_and_the_size_are_those_of_the_file(compression: Compression, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(os.urandom(3 << 20) + bytes(1 << 20))
    entries = [Entry(path="big", source=big), Entry(path="small", data=b"x" * 700)]
    blob = write_layer(entries, tmp_path / "layer", compression)
    raw = (tmp_path / "layer").read_bytes()
    plain = {
        "zstd": lambda: zstandard.ZstdDecompressor().decompressobj().decompress(raw),
        "gzip": lambda: gzip.decompress(raw),
        "none": lambda: raw,
    }[compression]()
    assert blob.digest == "sha256:" + hashlib.sha256(raw).hexdigest()
    assert blob.diff_id == "sha256:" + hashlib.sha256(plain).hexdigest()
    assert blob.size == len(raw)
    assert blob.media_type.endswith({"zstd": "tar+zstd", "gzip": "tar+gzip", "none": "tar"}[compression])
    assert members(plain)["big"].size == 4 << 20
    with (tmp_path / "layer").open("rb") as file:
        assert b"".join(decompressed(file, compression)) == plain


def test_data_and_source_give_the_same_layer(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"content" * 300_000)
    one = write_layer([Entry(path="f", source=tmp_path / "f")], tmp_path / "1")
    two = write_layer([Entry(path="f", data=b"content" * 300_000)], tmp_path / "2")
    assert one == two


@given(data=st.binary(max_size=400_000), cuts=st.lists(st.integers(1, 100_000), max_size=20))
@settings(max_examples=20, deadline=None)
def test_zstd_gives_the_same_bytes_however_the_input_is_cut(data: bytes, cuts: list[int]) -> None:
    whole, pieces = compressor("zstd"), compressor("zstd")
    out = b""
    at = 0
    for cut in cuts:
        out += pieces.compress(data[at : at + cut])
        at += cut
    out += pieces.compress(data[at:]) + pieces.flush()
    assert out == whole.compress(data) + whole.flush()


def test_a_gzip_header_tells_nothing_of_time_and_system(tmp_path: Path) -> None:
    write_layer([Entry(path="a", data=b"")], tmp_path / "layer", "gzip")
    assert (tmp_path / "layer").read_bytes()[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


def test_compressor_ids_name_library_version_and_level() -> None:
    version = ".".join(map(str, zstandard.ZSTD_VERSION))
    assert compressor_id("zstd") == f"zstd-{version}-l6"
    assert compressor_id("gzip").startswith("zlib-")
    assert compressor_id("none") == "none"


def test_a_layer_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(BuildError, match=r"layer cannot be written: File too large"):
            write_layer([Entry(path="a", data=os.urandom(1 << 20))], tmp_path / "layer", "none")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "layer").exists()


def test_walk_copies_files_behind_inner_links_and_keeps_empty_folders(tmp_path: Path) -> None:
    root = tmp_path / "model"
    (root / "sub" / "empty").mkdir(parents=True)
    (root / "sub" / "run.sh").write_text("x")
    (root / "sub" / "run.sh").chmod(0o750)
    (root / "link").symlink_to("sub/run.sh")
    found = {entry.path: entry for entry in walk(root, "srv/model/")}
    assert set(found) == {"srv/model/sub", "srv/model/sub/empty", "srv/model/sub/run.sh", "srv/model/link"}
    assert found["srv/model/link"].kind == "file"
    assert found["srv/model/link"].source == root.resolve() / "sub" / "run.sh"
    data = tar_of(list(found.values()), tmp_path)
    assert members(data)["srv/model/link"].mode == 0o755


@pytest.mark.parametrize("target", ["../outside", "/etc/hostname", "folder", "absent", "loop"])
def test_walk_refuses_links_to_anything_but_files_of_the_tree(target: str, tmp_path: Path) -> None:
    root = tmp_path / "model"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "outside").write_text("secret")
    (root / "loop").symlink_to(target)
    with pytest.raises(BuildError, match="not a file of the same folder"):
        walk(root, "srv/model")


def test_walk_refuses_pipes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BuildError, match="device, pipe or socket"):
        walk(tmp_path, "x")
