import json
from dataclasses import replace

import pytest

from servegen.errors import LockError
from servegen.lockers.lockfile import dump, read_lock, write_lock
from servegen.values.lock import EnvironmentLock, Lock, LockedPackage, PlatformLock


@pytest.fixture
def lock(model) -> Lock:
    package = LockedPackage(
        name="six", version="1.17.0", file="six-1.17.0-py2.py3-none-any.whl", size=7, sha256="a" * 64
    )
    environment = EnvironmentLock(
        inputs="i" * 64,
        platform="linux/amd64",
        python="3.11",
        target="x86_64-manylinux_2_28",
        exclude_newer="2026-11-23T00:00:00Z",
        packages=(package,),
    )
    base = (("name", "debian"), ("packages", [{"name": "libc6"}]))
    return Lock(pin=model.pin, platforms=(PlatformLock(environment=environment, base=base),))


@pytest.fixture
def both(lock) -> Lock:
    """The same for two platforms."""
    (amd64,) = lock.platforms
    arm64 = replace(amd64, environment=replace(amd64.environment, platform="linux/arm64"))
    return replace(lock, platforms=(amd64, arm64), image="sha256:" + "c" * 64)


def test_a_lock_is_read_as_it_was_written(lock, tmp_path):
    write_lock(tmp_path / "servegen.lock", lock)
    assert read_lock(tmp_path / "servegen.lock") == lock
    assert [p.name for p in tmp_path.iterdir()] == ["servegen.lock"]


def test_a_package_is_one_line_so_that_a_review_shows_what_moved(lock):
    assert sum('"six"' in line and '"1.17.0"' in line for line in dump(lock).splitlines()) == 1
    json.loads(dump(lock))


def test_a_lock_for_two_platforms_is_read_as_it_was_written(both, tmp_path):
    write_lock(tmp_path / "servegen.lock", both)
    again = read_lock(tmp_path / "servegen.lock")
    assert again == both
    assert again.of("linux/arm64").environment.platform == "linux/arm64"
    assert again.of("linux/riscv64") is None


def test_a_second_platform_leaves_the_first_one_where_it_was(lock, both):
    one, two = json.loads(dump(lock)), json.loads(dump(both))
    assert [two.pop("also")[0]["environment"]["platform"], two.pop("image")] == ["linux/arm64", both.image]
    assert {**one, "image": 0} == {**two, "image": 0}


def test_a_lock_without_packages_or_base_is_json_too(lock):
    (own,) = lock.platforms
    empty = replace(
        lock, platforms=(PlatformLock(environment=replace(own.environment, packages=()), base=()),)
    )
    assert json.loads(dump(empty))["packages"] == []


def test_no_file_is_no_lock(tmp_path):
    assert read_lock(tmp_path / "servegen.lock") is None


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"version": 99}', b'{"version": 1}', b"\xff\xfe", b"[" * 100_000]
)
def test_a_damaged_lock_is_an_error_with_a_way_out(tmp_path, data):
    (tmp_path / "servegen.lock").write_bytes(data)
    with pytest.raises(LockError) as caught:
        read_lock(tmp_path / "servegen.lock")
    # The whole path: a lock may lie in the cache.
    assert f"delete {tmp_path}/servegen.lock" in caught.value.hint


def test_a_folder_in_the_place_of_the_lock_is_said(tmp_path):
    (tmp_path / "servegen.lock").mkdir()
    with pytest.raises(LockError, match="Is a directory"):
        read_lock(tmp_path / "servegen.lock")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("base",), []),
        (("pin",), []),
        (("image",), 3),
        (("packages",), [["six"]]),
        (("packages",), {"six": 1}),
        (("also",), {}),
        (("also",), [[]]),
        (("also",), [{"environment": {}, "base": {}, "packages": []}]),
        (("packages", 0, "size"), "x"),
        (("packages", 0, "name"), None),
        (("packages", 0, "name"), "six\n--index-url http://127.0.0.1:1"),
        (("packages", 0, "version"), "1 --no-deps"),
        (("packages", 0, "sha256"), "a" * 63),
        (("packages", 0, "file"), "../six.whl"),
        (("environment", "python"), 3),
        (("environment", "target"), "--help"),
        (("environment", "exclude_newer"), "--x y"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(lock, tmp_path, place, value):
    """The file is in a repository, where others write to it; parts of it become uv's arguments."""
    whole = json.loads(dump(lock))
    parent = whole
    for step in place[:-1]:
        parent = parent[step]
    parent[place[-1]] = value
    (tmp_path / "servegen.lock").write_text(json.dumps(whole))
    with pytest.raises(LockError, match=r"servegen\.lock cannot be read"):
        read_lock(tmp_path / "servegen.lock")


def test_what_is_left_out_is_in_the_lock_and_only_where_there_is_something(lock, tmp_path):
    assert "left_out" not in dump(lock)
    (platform,) = lock.platforms
    spared = replace(platform, environment=replace(platform.environment, left_out=("protobuf==7.1.0",)))
    write_lock(tmp_path / "servegen.lock", replace(lock, platforms=(spared,)))
    assert read_lock(tmp_path / "servegen.lock").platforms == (spared,)
