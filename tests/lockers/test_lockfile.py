import json

import pytest

from servegen.errors import LockError
from servegen.lockers.lockfile import dump, read_lock, write_lock
from servegen.values.lock import EnvironmentLock, Lock, LockedPackage


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
    return Lock(
        pin=model.pin, environment=environment, base=(("name", "debian"), ("packages", [{"name": "libc6"}]))
    )


def test_a_lock_is_read_as_it_was_written(lock, tmp_path):
    write_lock(tmp_path / "servegen.lock", lock)
    assert read_lock(tmp_path / "servegen.lock") == lock
    assert [p.name for p in tmp_path.iterdir()] == ["servegen.lock"]


def test_a_package_is_one_line_so_that_a_review_shows_what_moved(lock):
    assert sum('"six"' in line and '"1.17.0"' in line for line in dump(lock).splitlines()) == 1
    json.loads(dump(lock))


def test_a_lock_without_packages_or_base_is_json_too(lock):
    from dataclasses import replace

    empty = replace(lock, base=(), environment=replace(lock.environment, packages=()))
    assert json.loads(dump(empty))["packages"] == []


def test_no_file_is_no_lock(tmp_path):
    assert read_lock(tmp_path / "servegen.lock") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 99}', '{"version": 1}'])
def test_a_damaged_lock_is_an_error_with_a_way_out(tmp_path, text):
    (tmp_path / "servegen.lock").write_text(text)
    with pytest.raises(LockError) as caught:
        read_lock(tmp_path / "servegen.lock")
    assert "delete servegen.lock" in caught.value.hint
