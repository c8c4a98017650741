from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servegen.errors import BuildError, ImageNotFoundError
from servegen.oci.descriptor import LAYER, digest_of
from servegen.oci.image import Descriptor, ImageConfig, Layer, assemble
from servegen.oci.rootfs import UnpackLimits, unpack
from servegen.oci.store import Store
from servegen.oci.tar import Compression, Entry, LayerBlob
from tests.oci.conftest import AMD64, MakeLayer

Info = tuple[tarfile.TarInfo, bytes]
Foreign = Callable[..., Layer]


def info(
    name: str, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, link: str = ""
) -> Info:
    made = tarfile.TarInfo(name)
    made.type, made.mode, made.linkname, made.size = kind, mode, link, len(data)
    made.mtime = 1000
    return made, data


def folder(name: str, mode: int = 0o755) -> Info:
    return info(name, kind=tarfile.DIRTYPE, mode=mode)


def link(name: str, target: str) -> Info:
    return info(name, kind=tarfile.SYMTYPE, link=target)


@pytest.fixture
def foreign(store: Store) -> Foreign:
    """A layer as any tool may write it, harmless or not."""

    def make(*members: Info) -> Layer:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for made, data in members:
                tar.addfile(made, io.BytesIO(data))
        digest = store.add_bytes(out.getvalue())
        return Layer(
            blob=LayerBlob(digest=digest, diff_id=digest, size=len(out.getvalue()), media_type=LAYER),
            name="x",
        )

    return make


def image_of(store: Store, *layers: Layer) -> Descriptor:
    return assemble(store, ImageConfig(platform=AMD64, user="1"), layers)


def tree(root: Path) -> dict[str, str]:
    """Every path with its content, link target, or `/` for a directory."""
    out = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        out[name] = (
            f"-> {path.readlink()}" if path.is_symlink() else "/" if path.is_dir() else path.read_text()
        )
    return out


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_an_image_of_ours_is_unpacked_as_it_was_written(
    compression: Compression, store: Store, make_layer: MakeLayer, tmp_path: Path
) -> None:
    layers = [
        make_layer(
            Entry(path="usr/bin/run", data=b"run", mode=0o755),
            Entry(path="bin", kind="symlink", link="usr/bin"),
            Entry(path="usr/bin/same", kind="hardlink", link="usr/bin/run"),
            Entry(path="tmp", kind="dir", mode=0o1777),
            compression=compression,
        ),
        make_layer(Entry(path="srv/model/weights", data=b"w" * 3_000_000), compression=compression),
    ]
    root = tmp_path / "root"
    config = unpack(store, image_of(store, *layers), root)
    assert config.user == "1"
    assert (root / "usr/bin/run").read_bytes() == b"run"
    assert os.access(root / "usr/bin/run", os.X_OK)
    assert (root / "usr/bin/run").stat().st_ino == (root / "usr/bin/same").stat().st_ino
    assert (root / "bin").readlink() == Path("usr/bin")
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
    assert (root / "srv/model/weights").stat().st_size == 3_000_000
    assert (root / "srv/model/weights").stat().st_mtime == 0


def test_later_layers_win_and_change_kinds(store: Store, foreign: Foreign, tmp_path: Path) -> None:
    below = foreign(
        info("file", b"old"), folder("dir"), info("dir/x", b"x"), link("link", "file"), info("was", b"file")
    )
    above = foreign(info("file", b"new"), info("dir", b"now a file"), info("link", b"now too"), folder("was"))
    unpack(store, image_of(store, below, above), tmp_path / "root")
    assert tree(tmp_path / "root") == {"dir": "now a file", "file": "new", "link": "now too", "was": "/"}


def test_whiteouts_remove_what_is_below_but_not_what_is_beside(
    store: Store, foreign: Foreign, tmp_path: Path
) -> None:
    below = foreign(
        info("a/gone", b""),
        info("a/kept", b"k"),
        info("b/x/y", b""),
        info("c/one", b""),
        info("c/two/z", b""),
    )
    above = foreign(
        info("a/.wh.gone"),
        info(".wh.b"),
        info("c/new", b"n"),
        info("c/two/new", b"n"),
        info("c/.wh..wh..opq"),
        info("a/.wh..wh.plnk"),
        info(".wh.absent"),
    )
    unpack(store, image_of(store, below, above), tmp_path / "root")
    assert tree(tmp_path / "root") == {
        "a": "/",
        "a/kept": "k",
        "c": "/",
        "c/new": "n",
        "c/two": "/",
        "c/two/new": "n",
    }


@pytest.mark.parametrize("name", [".wh...", "a/.wh...", ".wh.."])
def test_a_whiteout_of_a_parent_is_refused(name: str, store: Store, foreign: Foreign, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="removes no file"):
        unpack(store, image_of(store, foreign(info("a/x", b"x")), foreign(info(name))), tmp_path / "root")


@pytest.mark.parametrize("name", ["/etc/cron.d/x", "../x", "a/../../x", "a/.."])
def test_a_name_that_leaves_the_image_is_refused(
    name: str, store: Store, foreign: Foreign, tmp_path: Path
) -> None:
    with pytest.raises(BuildError, match="leaves the image"):
        unpack(store, image_of(store, foreign(info(name, b"x"))), tmp_path / "root")
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("target", ["{outside}", "../../outside", "..", "/../outside"])
def test_nothing_is_written_through_a_link_to_the_outside(
    target: str, store: Store, foreign: Foreign, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    layer = foreign(link("door", target.format(outside=outside)), info("door/file", b"x"))
    try:
        unpack(store, image_of(store, layer), tmp_path / "deep" / "root")
    except BuildError as exc:
        assert "leaves the image through a link" in str(exc)
    assert list(outside.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) in (
        ["deep", "outside", "store"],
        ["outside", "store"],
    )


def test_a_file_in_the_place_of_a_link_does_not_follow_it(
    store: Store, foreign: Foreign, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    layers = [foreign(link("f", str(victim))), foreign(info("f", b"x"))]
    unpack(store, image_of(store, *layers), tmp_path / "root")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "root" / "f").is_symlink()


def test_a_folder_that_became_a_link_gives_its_mode_to_nothing_outside(
    store: Store, foreign: Foreign, tmp_path: Path
):
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    layers = [foreign(folder("d", mode=0o644)), foreign(link("d", str(outside)))]
    unpack(store, image_of(store, *layers), tmp_path / "root")
    assert stat.S_IMODE(outside.stat().st_mode) == 0o755


def test_links_within_the_image_are_followed_within_it(
    store: Store, foreign: Foreign, tmp_path: Path
) -> None:
    below = foreign(
        folder("usr/lib"), link("lib", "usr/lib"), link("abs", "/usr/lib"), link("usr/up", "../usr")
    )
    above = foreign(info("lib/a", b"1"), info("abs/b", b"2"), info("usr/up/lib/c", b"3"))
    unpack(store, image_of(store, below, above), tmp_path / "root")
    assert {name: text for name, text in tree(tmp_path / "root").items() if text in "123"} == {
        "usr/lib/a": "1",
        "usr/lib/b": "2",
        "usr/lib/c": "3",
    }


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([link("a", "b"), link("b", "a"), info("a/x")], "circles"),
        ([info("f", b""), info("f/x", b"")], "which is a file"),
        ([info("null", kind=tarfile.CHRTYPE)], "no file, link or directory"),
        ([info("pipe", kind=tarfile.FIFOTYPE)], "no file, link or directory"),
        ([info("h", kind=tarfile.LNKTYPE, link="absent")], "which is no file"),
        ([info("h", kind=tarfile.LNKTYPE, link="../../etc/shadow")], "leaves the image"),
        ([folder("d"), info("h", kind=tarfile.LNKTYPE, link="d")], "which is no file"),
    ],
)
def test_what_no_good_image_has_is_refused(
    members: list[Info], said: str, store: Store, foreign: Foreign, tmp_path: Path
) -> None:
    with pytest.raises(BuildError, match=said):
        unpack(store, image_of(store, foreign(*members)), tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_set_id_bits_are_dropped_and_closed_folders_are_filled(
    store: Store, foreign: Foreign, tmp_path: Path
) -> None:
    layer = foreign(folder("locked", 0o500), info("locked/su", b"x", mode=0o6755))
    unpack(store, image_of(store, layer), tmp_path / "root")
    assert stat.S_IMODE((tmp_path / "root/locked/su").stat().st_mode) == 0o755


def test_a_layer_that_was_damaged_on_disk_is_refused_and_removed(
    store: Store, foreign: Foreign, make_layer: MakeLayer, tmp_path: Path
) -> None:
    other = store.read(foreign(info("a", b"2")).blob.digest)
    for layer in (foreign(info("a", b"1")), make_layer(Entry(path="a", data=b"1" * 999), compression="zstd")):
        image = image_of(store, layer)
        store.blob(layer.blob.digest).write_bytes(other[: layer.blob.size].ljust(layer.blob.size))
        with pytest.raises(BuildError, match="removed from it"):
            unpack(store, image, tmp_path / "root")
        assert not (tmp_path / "root").exists()
        assert not store.has(layer.blob.digest)


def test_a_layer_without_its_diff_id_is_refused_and_kept(
    store: Store, foreign: Foreign, tmp_path: Path
) -> None:
    layer = foreign(info("a", b"1"))
    wrong = replace(layer.blob, diff_id=digest_of(b"other"))
    with pytest.raises(BuildError, match="its content is not"):
        unpack(store, image_of(store, Layer(blob=wrong, name="x")), tmp_path / "root")
    assert store.has(layer.blob.digest)


def test_what_follows_the_archive_counts_for_the_diff_id(
    store: Store, foreign: Foreign, tmp_path: Path
) -> None:
    layer = foreign(info("a", b"1"))
    more = store.read(layer.blob.digest) + b"more"
    blob = LayerBlob(digest=store.add_bytes(more), diff_id=digest_of(more), size=len(more), media_type=LAYER)
    unpack(store, image_of(store, Layer(blob=blob, name="x")), tmp_path / "root")
    assert tree(tmp_path / "root") == {"a": "1"}


def test_a_bomb_is_stopped(store: Store, make_layer: MakeLayer, tmp_path: Path) -> None:
    layer = make_layer(Entry(path="zeros", data=bytes(70 << 20)))
    image = image_of(store, layer)
    with pytest.raises(BuildError, match="unpacks to more than"):
        unpack(store, image, tmp_path / "root")
    assert not (tmp_path / "root").exists()
    with pytest.raises(BuildError, match="unpacks to more than 1000 bytes"):
        unpack(store, image, tmp_path / "root", limits=UnpackLimits(total=1000))
    unpack(store, image, tmp_path / "root", limits=UnpackLimits(ratio=1 << 20))


def test_only_the_new_layers_are_applied_to_a_tree_with_the_others(
    store: Store, foreign: Foreign, tmp_path: Path
) -> None:
    base = foreign(info("usr/lib/a", b"a"), link("lib", "usr/lib"), info("model", b"1"), info("b/x", b"x"))
    root = tmp_path / "root"
    unpack(store, image_of(store, base), root)
    newer = foreign(info("model", b"2"), info("lib/new", b"n"), info(".wh.b"))
    store.blob(base.blob.digest).write_bytes(b"is not read again")
    unpack(store, image_of(store, base, newer), root, present=1)
    assert tree(root) == {
        "lib": "-> usr/lib",
        "model": "2",
        "usr": "/",
        "usr/lib": "/",
        "usr/lib/a": "a",
        "usr/lib/new": "n",
    }


def test_a_folder_in_use_is_left_alone(store: Store, foreign: Foreign, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis").write_text("x")
    with pytest.raises(BuildError, match="not empty"):
        unpack(store, image_of(store, foreign(info("a"))), tmp_path / "home")
    assert (tmp_path / "home" / "thesis").exists()


def test_a_layer_that_is_not_here_is_said_to_be_missing(
    store: Store, foreign: Foreign, tmp_path: Path
) -> None:
    layer = foreign(info("a"))
    image = image_of(store, layer)
    store.blob(layer.blob.digest).unlink()
    with pytest.raises(ImageNotFoundError, match="not on this machine"):
        unpack(store, image, tmp_path / "root")


PART = st.sampled_from(["a", "b", "..", ".", ".wh.a", ".wh..wh..opq", "c"])
HOSTILE = st.lists(
    st.tuples(
        st.lists(PART, min_size=1, max_size=4).map("/".join),
        st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]),
        st.sampled_from(["a", "b/c", "..", "/", "/..", "../../sentinel", "/a/b", "."]),
    ),
    max_size=8,
)


@given(layers=st.lists(HOSTILE, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_no_sequence_of_members_touches_anything_outside(
    layers: list[list[tuple[str, bytes, str]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    top = tmp_path_factory.mktemp("hostile")
    store = Store(top / "store")
    sentinel = top / "sentinel"
    sentinel.mkdir()
    (sentinel / "a").write_text("untouched")
    made = []
    for members in layers:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, kind, target in members:
                header, data = info(name, b"x" if kind == tarfile.REGTYPE else b"", kind=kind, link=target)
                tar.addfile(header, io.BytesIO(data))
        digest = store.add_bytes(out.getvalue())
        blob = LayerBlob(digest=digest, diff_id=digest, size=len(out.getvalue()), media_type=LAYER)
        made.append(Layer(blob=blob, name="x"))
    root = top / "root"
    try:
        unpack(store, image_of(store, *made), root)
    except BuildError:
        assert not root.exists()
    assert tree(sentinel) == {"a": "untouched"}
    assert {path.name for path in top.iterdir()} <= {"store", "sentinel", "root"}
