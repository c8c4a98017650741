from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from servegen.errors import BuildError, ImageNotFoundError, RegistryError
from servegen.oci.descriptor import Descriptor, digest_of
from servegen.oci.store import Store
from servegen.oci.tar import Entry
from tests.oci.conftest import MakeLayer

SOME = Descriptor(media_type="m", digest="sha256:" + "1" * 64, size=1)
OTHER = Descriptor(media_type="m", digest="sha256:" + "2" * 64, size=2, annotations=(("k", "v"),))


def test_bytes_are_found_under_their_digest(store: Store) -> None:
    assert store.read(store.add_bytes(b"two")) == b"two"
    assert store.has(digest_of(b"two"), 3)
    assert not store.has(digest_of(b"two"), 4)
    assert not store.has(digest_of(b"three"))


def test_nobody_else_may_look_into_the_store(store: Store) -> None:
    assert store.path.stat().st_mode & 0o777 == 0o700


def test_a_blob_that_changed_on_disk_is_refused(store: Store) -> None:
    digest = store.add_bytes(b"content")
    store.blob(digest).write_bytes(b"changed")
    with pytest.raises(BuildError, match="damaged"):
        store.read(digest)


def test_an_absent_blob_is_said_to_be_absent(store: Store) -> None:
    with pytest.raises(ImageNotFoundError):
        store.read(digest_of(b"x"))


@pytest.mark.parametrize("digest", ["sha256:../../../etc/passwd", "md5:0", "", "sha256:" + "g" * 64])
def test_what_is_no_digest_never_becomes_a_path(digest: str, store: Store) -> None:
    with pytest.raises(RegistryError, match="not a sha256 digest"):
        store.blob(digest)


def test_a_scratch_file_that_is_not_committed_is_gone(store: Store) -> None:
    with store.scratch() as tmp:
        tmp.write_bytes(b"x")
    assert list((store.path / "tmp").iterdir()) == []
    assert list((store.path / "blobs" / "sha256").iterdir()) == []


def test_a_tag_names_the_image_it_was_last_given_to(store: Store) -> None:
    store.tag("r/a:1", SOME)
    store.tag("r/b:1", OTHER)
    store.tag("r/a:1", OTHER)
    assert store.resolve("r/a:1") == OTHER
    assert store.resolve("r/b:1") == OTHER
    assert store.resolve("r/c:1") is None
    assert len(json.loads((store.path / "index.json").read_bytes())["manifests"]) == 2


def _tag_many(path: Path, name: str) -> None:
    store = Store(path)
    for number in range(15):
        store.tag(f"{name}:{number}", SOME)


def test_processes_that_tag_at_once_lose_nothing(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_tag_many, args=(store.path, name)) for name in ("a", "b", "c")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(store.resolve(f"{name}:{number}") == SOME for name in ("a", "b", "c") for number in range(15))


def test_a_key_finds_its_layer_in_a_later_process(store: Store, make_layer: MakeLayer) -> None:
    layer = make_layer(Entry(path="f", data=b"x"))
    store.record_layer("sha256:abc", layer.blob)
    assert Store(store.path).layer("sha256:abc") == layer.blob
    assert store.layer("sha256:other") is None


def test_a_layer_whose_blob_is_gone_or_cut_short_was_never_made(store: Store, make_layer: MakeLayer) -> None:
    layer = make_layer(Entry(path="f", data=b"x"))
    store.record_layer("k", layer.blob)
    store.blob(layer.blob.digest).write_bytes(b"short")
    assert store.layer("k") is None
    store.blob(layer.blob.digest).unlink()
    assert store.layer("k") is None


@pytest.mark.parametrize(
    "record", [b"", b"{", b"[]", b'{"digest": 1}', b'{"digest":"x","diff_id":"x","size":"y"}']
)
def test_a_record_that_cannot_be_read_is_none(record: bytes, store: Store) -> None:
    (store.path / "layers" / "k.json").write_bytes(record)
    assert store.layer("k") is None


def test_a_key_cannot_leave_the_folder(store: Store) -> None:
    with pytest.raises(BuildError, match="layer key"):
        store.layer("../k")


def test_a_damaged_blob_is_removed_so_that_it_can_be_made_again(store: Store, make_layer: MakeLayer) -> None:
    layer = make_layer(Entry(path="f", data=b"x")).blob
    store.record_layer("k", layer)
    data = bytearray(store.read(layer.digest))
    data[-1] ^= 1
    store.blob(layer.digest).write_bytes(data)
    assert store.layer("k") == layer
    with pytest.raises(BuildError, match="damaged") as caught:
        store.check(layer.digest)
    assert "run the command again" in caught.value.hint
    assert store.layer("k") is None


@pytest.mark.parametrize("text", [b"garbage", b'{"manifests": [3]}', b"[" * 100_000])
def test_a_damaged_index_names_the_file_to_delete(store: Store, text: bytes) -> None:
    (store.path / "index.json").write_bytes(text)
    for use in (lambda: store.resolve("a"), lambda: store.tag("a", SOME)):
        with pytest.raises(BuildError, match=r"index\.json is damaged") as caught:
            use()
        assert "delete it" in caught.value.hint
