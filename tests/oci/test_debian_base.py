from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pysequoia
import pytest

from servegen.errors import BaseImageError
from servegen.oci.debian import BaseLock, Source, base_entries, mirror_sources, resolve_base, suite_for
from servegen.oci.debian.deb import read_deb
from servegen.oci.debian.index import keep
from servegen.oci.tar import write_layer
from tests.oci.conftest import AMD64, FAST, Recorder
from tests.oci.fake_mirror import FakeMirror, ar, member, whole


@pytest.fixture
def mirror(tmp_path: Path) -> FakeMirror:
    return whole(tmp_path / "mirror")


def resolve(
    mirror: FakeMirror, *extra: str, progress: Recorder | None = None, cache: Path | None = None
) -> BaseLock:
    return resolve_base(
        "3.11",
        AMD64,
        [Source(uri=mirror.uri, suite="bookworm")],
        network=FAST,
        progress=progress or Recorder(),
        extra=extra,
        keyring=mirror.keyring(),
        cache_dir=cache,
    )


def entries_of(lock: BaseLock, cache: Path, mirrors: Sequence[FakeMirror]) -> dict[str, object]:
    sources = [Source(uri=each.uri, suite="bookworm") for each in mirrors]
    found = base_entries(lock, cache, sources, network=FAST, progress=Recorder())
    return {entry.path: entry for entry in found}


def test_a_base_has_the_files_and_what_scripts_would_have_made(mirror: FakeMirror, tmp_path: Path) -> None:
    sources = [Source(uri=mirror.uri, suite="bookworm")]
    found = base_entries(resolve(mirror), tmp_path / "debs", sources, network=FAST, progress=Recorder())
    files = {entry.path: entry for entry in found}
    assert files["usr/lib/x86_64-linux-gnu/libc.so.6"].data == b"libc"
    assert files["usr/lib64/ld.so"].link == "/lib/x86_64-linux-gnu/libc.so.6"
    assert {name: files[name].link for name in ("bin", "sbin", "lib", "lib64")} == {
        "bin": "usr/bin",
        "sbin": "usr/sbin",
        "lib": "usr/lib",
        "lib64": "usr/lib64",
    }
    assert files["etc/ssl/certs/ca-certificates.crt"].data == b"AAA\nBBB\n"
    assert files["usr/bin/python3"].link == "python3.11"
    assert b"serve:x:10001:0:" in (files["etc/passwd"].data or b"")
    assert files["home/serve"].uid == 10001
    assert files["var/lib/dpkg/status.d/libc6"].data == b"Package: libc6\n"
    assert files["usr/share/doc/libc6/copyright"].data == b"free"
    assert not {"usr/share/doc/libc6/changelog.gz", "usr/share/man/man1/x.1", "usr/bin/bin"} & files.keys()


def test_a_base_is_a_layer_that_is_the_same_twice(mirror: FakeMirror, tmp_path: Path) -> None:
    lock = resolve(mirror)
    sources = [Source(uri=mirror.uri, suite="bookworm")]
    layers = []
    for name in ("one", "two"):
        found = base_entries(lock, tmp_path / name, sources, network=FAST, progress=Recorder())
        layers.append(write_layer(found, tmp_path / f"{name}.layer"))
    assert layers[0] == layers[1]
    write_layer(found, tmp_path / "plain", "none")
    with tarfile.open(tmp_path / "plain") as tar:
        assert tar.getmember("usr/bin/su").mode == 0o755
        assert tar.getmember("usr/bin/su2").linkname == "usr/bin/su"
        assert tar.getmember("tmp").mode == 0o1777


def test_a_lock_survives_json_and_names_no_host(mirror: FakeMirror) -> None:
    lock = resolve(mirror)
    text = json.dumps(lock.to_json())
    assert BaseLock.from_json(json.loads(text)) == lock
    assert str(mirror.root) not in text
    assert [package.name for package in lock.packages] == sorted(package.name for package in lock.packages)


def test_the_digest_of_a_lock_is_that_of_its_packages(mirror: FakeMirror) -> None:
    lock = resolve(mirror)
    assert resolve(mirror).digest == lock.digest
    mirror.add("tzdata", version="1.0-2")
    mirror.publish()
    assert resolve(mirror).digest != lock.digest


@pytest.mark.parametrize(
    "value", [None, {}, [], {"suite": 1}, {"suite": "", "arch": "", "python": "", "packages": [{}]}]
)
def test_what_is_no_lock_is_refused(value: object) -> None:
    with pytest.raises(BaseImageError, match="no lock of a Debian base"):
        BaseLock.from_json(value)


def test_a_locked_base_needs_no_mirror_once_its_archives_are_cached(
    mirror: FakeMirror, tmp_path: Path
) -> None:
    lock = resolve(mirror)
    first = entries_of(lock, tmp_path / "debs", [mirror])
    assert entries_of(lock, tmp_path / "debs", []) == first
    with pytest.raises(BaseImageError, match="no Debian mirror") as error:
        entries_of(lock, tmp_path / "empty", [])
    assert "--debian-mirror" in error.value.hint


def test_any_mirror_that_has_an_archive_will_do(mirror: FakeMirror, tmp_path: Path) -> None:
    lock = resolve(mirror)
    empty = FakeMirror(tmp_path / "empty")
    assert entries_of(lock, tmp_path / "debs", [empty, mirror])


def test_an_archive_that_differs_from_the_index_is_refused(mirror: FakeMirror, tmp_path: Path) -> None:
    lock = resolve(mirror)
    path = mirror.add("libc6", (member("./evil"), b"x"))
    assert path.exists()
    with pytest.raises(BaseImageError, match=r"libc6 1\.0-1: the archive differs"):
        entries_of(lock, tmp_path / "debs", [mirror])


def test_a_damaged_archive_in_the_cache_is_fetched_again(mirror: FakeMirror, tmp_path: Path) -> None:
    lock = resolve(mirror)
    first = entries_of(lock, tmp_path / "debs", [mirror])
    for file in (tmp_path / "debs").iterdir():
        file.write_bytes(b"cut")
    assert entries_of(lock, tmp_path / "debs", [mirror]) == first


def test_a_version_that_mirrors_dropped_is_an_error(mirror: FakeMirror, tmp_path: Path) -> None:
    lock = resolve(mirror)
    (mirror.root / "pool" / "tzdata_1.0-1.deb").unlink()
    with pytest.raises(BaseImageError, match="no mirror has tzdata"):
        entries_of(lock, tmp_path / "debs", [mirror])


def test_further_packages_bring_what_they_depend_on(mirror: FakeMirror) -> None:
    mirror.add(
        "ffmpeg", depends="libav (>= 2:1.0), absent | libx, virtual-thing, libc6 (= 1.0-1), libuuid1:any"
    )
    mirror.add("libav", version="2:1.5-1", depends="libdeep | libother")
    mirror.add("libdeep")
    mirror.add("libother")
    mirror.add("libx")
    mirror.add("provider", provides="other, virtual-thing (= 3)")
    mirror.publish()
    plain = {package.name for package in resolve(mirror).packages}
    assert {p.name for p in resolve(mirror, "ffmpeg").packages} - plain == {
        "ffmpeg",
        "libav",
        "libdeep",
        "libx",
        "provider",
    }
    # An alternative that was named by itself is taken instead of the first one.
    named = {p.name for p in resolve(mirror, "ffmpeg", "libother").packages}
    assert "libdeep" not in named


@pytest.mark.parametrize(
    ("depends", "said"),
    [("nothing", "x 1.0-1 needs nothing"), ("libc6 (>= 9)", r"x 1.0-1 needs libc6 \(>= 9\)")],
)
def test_a_dependency_that_cannot_be_met_is_an_error(depends: str, said: str, mirror: FakeMirror) -> None:
    mirror.add("x", depends=depends)
    mirror.publish()
    with pytest.raises(BaseImageError, match=said):
        resolve(mirror, "x")


def test_an_unknown_package_is_an_error(mirror: FakeMirror) -> None:
    with pytest.raises(BaseImageError, match="libzmq9 is not in Debian 12"):
        resolve(mirror, "libzmq9")


def test_the_newest_version_over_all_suites_is_taken(mirror: FakeMirror, tmp_path: Path) -> None:
    security = FakeMirror(tmp_path / "security", suite="bookworm-security", key=mirror.key)
    security.add("libssl3", version="1.0-1+deb12u2")
    security.publish()
    older = FakeMirror(tmp_path / "updates", suite="bookworm-updates", key=mirror.key)
    older.add("libssl3", version="1.0-1~rc1")
    older.publish()
    sources = [Source(uri=each.uri, suite=each.suite) for each in (older, mirror, security)]
    lock = resolve_base("3.11", AMD64, sources, network=FAST, progress=Recorder(), keyring=mirror.keyring())
    assert {p.name: p.version for p in lock.packages}["libssl3"] == "1.0-1+deb12u2"


def test_other_pythons_are_refused_with_a_way_out() -> None:
    with pytest.raises(BaseImageError, match=r"has Python 3\.11 and 3\.13, the model wants 3\.12") as error:
        suite_for("3.12")
    assert "--base REF with Python 3.12" in error.value.hint
    assert suite_for("3.13").name == "trixie"


def test_a_release_by_an_unknown_key_is_refused(mirror: FakeMirror) -> None:
    mirror.publish(signer=pysequoia.Tsk.generate(user_id="someone else"))
    with pytest.raises(BaseImageError, match="bookworm: no good signature") as error:
        resolve(mirror)
    assert "keyring" in error.value.hint


def test_without_a_keyring_only_debians_own_keys_count(mirror: FakeMirror) -> None:
    sources = [Source(uri=mirror.uri, suite="bookworm")]
    with pytest.raises(BaseImageError, match="no good signature"):
        resolve_base("3.11", AMD64, sources, network=FAST, progress=Recorder())


def test_a_changed_index_is_refused(mirror: FakeMirror) -> None:
    index = mirror.publish()
    index.write_bytes(index.read_bytes() + b"x")
    with pytest.raises(BaseImageError, match=r"Packages\.xz does not match InRelease"):
        resolve(mirror)


def test_an_index_can_be_had_by_its_hash_while_the_mirror_changes(mirror: FakeMirror) -> None:
    index = mirror.publish()
    by_hash = index.parent / "by-hash" / "SHA256" / hashlib.sha256(index.read_bytes()).hexdigest()
    by_hash.parent.mkdir(parents=True)
    index.rename(by_hash)
    assert resolve(mirror).packages


def test_a_cached_index_is_used_while_the_release_names_it(mirror: FakeMirror, tmp_path: Path) -> None:
    lock = resolve(mirror, cache=tmp_path / "cache")
    (mirror.root / "dists" / "bookworm" / "main" / "binary-amd64" / "Packages.xz").unlink()
    assert resolve(mirror, cache=tmp_path / "cache") == lock


def test_a_release_of_another_suite_is_refused(mirror: FakeMirror) -> None:
    mirror.publish(codename="bullseye")
    with pytest.raises(BaseImageError, match="sent bullseye as bookworm"):
        resolve(mirror)


def test_an_outdated_release_is_used_with_a_warning(mirror: FakeMirror) -> None:
    mirror.publish(more="Valid-Until: Sat, 01 Jan 2022 00:00:00 UTC\n")
    recorder = Recorder()
    resolve(mirror, progress=recorder)
    assert ["valid until Sat, 01 Jan 2022" in text for text in recorder.warnings] == [True]
    mirror.publish(more="Valid-Until: Sat, 01 Jan 2222 00:00:00 UTC\n")
    recorder = Recorder()
    resolve(mirror, progress=recorder)
    assert recorder.warnings == []


def test_a_mirror_need_not_have_every_suite_but_the_machines_own_sources_must(mirror: FakeMirror) -> None:
    lock = resolve_base(
        "3.11",
        AMD64,
        mirror_sources([mirror.uri + "/"], "bookworm"),
        network=FAST,
        progress=Recorder(),
        keyring=mirror.keyring(),
    )
    assert lock == resolve(mirror)
    own = [Source(uri=mirror.uri, suite="bookworm"), Source(uri=mirror.uri, suite="bookworm-security")]
    with pytest.raises(BaseImageError, match="no bookworm-security"):
        resolve_base("3.11", AMD64, own, network=FAST, progress=Recorder(), keyring=mirror.keyring())


def test_no_source_at_all_is_an_error() -> None:
    with pytest.raises(BaseImageError, match="no Debian mirror"):
        resolve_base("3.11", AMD64, [], network=FAST, progress=Recorder())
    with pytest.raises(BaseImageError, match="no mirror has bookworm"):
        sources = mirror_sources(["file:///nonexistent"], "bookworm")
        resolve_base("3.11", AMD64, sources, network=FAST, progress=Recorder())


def test_an_architecture_that_the_mirror_lacks_is_an_error(mirror: FakeMirror) -> None:
    with pytest.raises(BaseImageError, match="no mirror has bookworm for arm64"):
        resolve_base(
            "3.11",
            replace(AMD64, architecture="arm64"),
            [Source(uri=mirror.uri, suite="bookworm")],
            network=FAST,
            progress=Recorder(),
            keyring=mirror.keyring(),
        )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no archive",
        ar(("debian-binary", b"2.0\n")),
        ar(("control.tar.xz", b"broken")),
        ar(("control.tar.lz4", b"")),
    ],
)
def test_what_is_no_package_is_refused(data: bytes) -> None:
    with pytest.raises(BaseImageError):
        read_deb(data, "x")


def test_a_device_in_a_package_is_refused(mirror: FakeMirror, tmp_path: Path) -> None:
    mirror.add("x", (member("./dev/null", tarfile.CHRTYPE), b""))
    mirror.publish()
    with pytest.raises(BaseImageError, match="no file, link or directory"):
        entries_of(resolve(mirror, "x"), tmp_path / "debs", [mirror])


def test_a_cache_file_that_cannot_be_kept_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    # What a killed process left goes, too.
    (tmp_path / "new-1").mkdir()
    (tmp_path / "new-1/data").write_bytes(b"half")
    with pytest.raises(IsADirectoryError):
        keep(tmp_path / "file", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
