"""Requirements → lock with the real uv and a package index on loopback."""

import os
import re
import sys

import pytest

from servegen.builders.wheels import install
from servegen.errors import LockError
from servegen.job import indexes
from servegen.lockers.lockfile import dump
from servegen.progress import Silent
from servegen.values.lock import Lock, PlatformLock
from tests.distributions import sdist, wheel
from tests.package_index import PackageIndex, serving

HERE = f"cp{sys.version_info.major}{sys.version_info.minor}"
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


def named(lock, name):
    return next(p for p in lock.packages if p.name == name)


def whole(model, environment):
    """The servegen.lock that has this environment alone."""
    return Lock(pin=model.pin, platforms=(PlatformLock(environment=environment, base=()),))


def installed(folder, lock, tmp_path, **values):
    """Names of the modules that installing the lock gives."""
    job = folder.job(**values)
    install(lock.packages, lock, indexes(job, folder.model()), tmp_path / "tree", Silent())
    return {p.name for p in (tmp_path / "tree").glob("*.py")}


def test_requirements_become_wheels_with_hashes(folder, index, versions):
    lock = folder.lock(index_url=index.url)
    assert versions(lock)["mlflow-skinny"] == "3.17.2"
    assert "mlflow" not in versions(lock)
    assert all(p.size and re.fullmatch("[0-9a-f]{64}", p.sha256) for p in lock.packages)


def test_constraints_of_the_model_narrow_versions_without_adding_packages(folder, index, versions):
    wheel(index.folder, "six", "1.0"), wheel(index.folder, "six", "2.0"), wheel(index.folder, "other", "1.0")
    folder.write("constraints.txt", "six<2\nother==1.0\n")
    folder.write("requirements.txt", "mlflow==3.17.2\nsix\n-c constraints.txt\n")
    found = versions(folder.lock(index_url=index.url))
    assert found["six"] == "1.0"
    assert "other" not in found


def test_markers_extras_comments_hashes_and_duplicates_are_read_as_pip_reads_them(folder, index, versions):
    wheel(index.folder, "six"), wheel(index.folder, "windows_only")
    folder.write(
        "requirements.txt",
        "\ufeff# выше\nmlflow==3.17.2\nsix==1.0 ; python_version >= '3.8'  # why\n"
        f"six == 1.0 \\\n  --hash=sha256:{'a' * 64}\n"
        "windows-only; sys_platform == 'win32'\n--only-binary :all:\n\n",
    )
    found = versions(folder.lock(index_url=index.url))
    assert found["six"] == "1.0"
    assert "windows-only" not in found


def test_an_empty_file_gives_what_serving_takes(folder, index, versions):
    folder.write("requirements.txt", "")
    assert versions(folder.lock(index_url=index.url))["mlflow-skinny"] == "3.17.2"


def test_pins_that_exclude_each_other_are_both_named(folder, index):
    wheel(index.folder, "six", "1.0"), wheel(index.folder, "six", "2.0")
    folder.write("requirements.txt", "mlflow==3.17.2\nsix==1.0\nsix==2.0\n")
    with pytest.raises(LockError, match=r"six==1\.0 with six==2\.0"):
        folder.lock(index_url=index.url)


def test_a_requirement_of_a_url_is_locked_by_hash_without_the_url(folder, index, tmp_path):
    path = wheel(tmp_path / "elsewhere", "six")
    with serving(PackageIndex(folder=path.parent)) as other:
        url = other.url.replace("/simple", f"/files/{path.name}")
        folder.write("requirements.txt", f"mlflow==3.17.2\nsix @ {url}\n")
        lock = folder.lock(index_url=index.url)
        assert named(lock, "six").version == "1.0"
        assert "://" not in dump(whole(folder.model(), lock))
        assert "six.py" in installed(folder, lock, tmp_path, index_url=index.url)


# Wheels that the model brings


@pytest.mark.parametrize(
    "line",
    [
        "wheels/own-1.0-py3-none-any.whl",
        "./wheels/own-1.0-py3-none-any.whl",
        "file:wheels/own-1.0-py3-none-any.whl",
        "own @ file:wheels/own-1.0-py3-none-any.whl ; python_version >= '3'",
    ],
)
def test_a_wheel_of_the_model_is_locked_and_installed_by_its_place_in_the_model(
    folder, index, tmp_path, line
):
    wheel(folder.path / "wheels", "own", requires=["six>=1"])
    wheel(index.folder, "six")
    folder.write("requirements.txt", f"mlflow==3.17.2\n{line}\n")
    lock = folder.lock(index_url=index.url)
    assert named(lock, "own").path == "wheels/own-1.0-py3-none-any.whl"
    assert named(lock, "six").path is None
    text = dump(whole(folder.model(), lock))
    assert str(tmp_path) not in text.replace(str(folder.path), "MODEL", 2)
    assert {"own.py", "six.py"} <= installed(folder, lock, tmp_path, index_url=index.url)


def test_a_changed_wheel_of_the_model_makes_another_lock(folder, index):
    wheel(folder.path / "wheels", "own")
    folder.write("requirements.txt", "wheels/own-1.0-py3-none-any.whl\n")
    first = folder.lock(index_url=index.url)
    wheel(folder.path / "wheels", "own", files={"own.py": "changed = 1"})
    second = folder.lock(index_url=index.url)
    assert first.inputs != second.inputs
    assert named(first, "own").sha256 != named(second, "own").sha256


@pytest.mark.parametrize("member", ["../evil.py", "/etc/evil", "a\\b.py", "C:/x.py", "own-1.0.data/etc/x"])
def test_a_wheel_of_the_model_that_reaches_outside_is_refused(folder, index, member):
    wheel(folder.path / "wheels", "own", files={member: ""})
    folder.write("requirements.txt", "wheels/own-1.0-py3-none-any.whl\n")
    with pytest.raises(LockError, match="which no wheel may"):
        folder.lock(index_url=index.url)


def test_a_wheel_of_the_model_that_is_none_is_refused(folder, index):
    folder.write("wheels/own-1.0-py3-none-any.whl", "no zip")
    folder.write("requirements.txt", "wheels/own-1.0-py3-none-any.whl\n")
    with pytest.raises(LockError, match="is no wheel"):
        folder.lock(index_url=index.url)


def test_a_wheel_of_the_model_under_anothers_name_is_refused(folder, index):
    wheel(folder.path / "wheels", "own").rename(folder.path / "wheels/numpy-2.0-py3-none-any.whl")
    folder.write("requirements.txt", "wheels/numpy-2.0-py3-none-any.whl\n")
    with pytest.raises(LockError, match=r"holds no numpy-2\.0\.dist-info/METADATA"):
        folder.lock(index_url=index.url)


def test_a_wheel_of_the_model_for_another_machine_is_refused(folder, index):
    wheel(folder.path / "wheels", "own", tag="cp311-cp311-macosx_11_0_arm64")
    folder.write("requirements.txt", "wheels/own-1.0-cp311-cp311-macosx_11_0_arm64.whl\n")
    with pytest.raises(LockError, match=r"own-1\.0-cp311-cp311-macosx_11_0_arm64\.whl") as caught:
        folder.lock(index_url=index.url)
    assert "\n" not in str(caught.value)


def test_a_wheel_of_the_model_may_ask_for_the_glibc_of_the_base(folder, index, tmp_path):
    file = wheel(folder.path / "wheels", "own", tag="cp311-abi3-manylinux_2_34_x86_64").name
    folder.write("requirements.txt", f"wheels/{file}\n")
    lock = folder.lock(index_url=index.url)
    assert named(lock, "own").file == file
    assert "own.py" in installed(folder, lock, tmp_path, index_url=index.url)
    with pytest.raises(LockError, match=r"own 1\.0 has no wheel for x86_64-manylinux_2_28"):
        folder.lock(index_url=index.url, base="registry.example/python:3.11")


def test_a_folder_of_wheels_in_the_model_is_looked_into(folder, index, tmp_path):
    wheel(folder.path / "vendored", "own")
    folder.write("requirements.txt", "--find-links vendored\nmlflow==3.17.2\nown==1.0\n")
    lock = folder.lock(index_url=index.url)
    assert named(lock, "own").path == "vendored/own-1.0-py3-none-any.whl"
    assert "own.py" in installed(folder, lock, tmp_path, index_url=index.url)


def test_another_wheel_in_that_folder_makes_another_lock(folder, index):
    wheel(folder.path / "vendored", "own")
    folder.write("requirements.txt", "--find-links vendored\nmlflow==3.17.2\nown==1.0\n")
    first = folder.lock(index_url=index.url)
    wheel(folder.path / "vendored", "own", files={"own.py": "changed = 1"})
    assert folder.lock(index_url=index.url).inputs != first.inputs


# Folders of distributions, and source distributions


def test_folders_of_wheels_replace_the_index(folder, distributions, tmp_path, versions):
    six = wheel(tmp_path / "more", "six")
    folder.write("requirements.txt", "mlflow==3.17.2\nsix\n")
    houses = {"wheelhouses": (str(distributions), str(six.parent))}
    lock = folder.lock({"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple"}, **houses)
    assert versions(lock)["six"] == "1.0"
    assert named(lock, "six").size == six.stat().st_size
    assert "six.py" in installed(folder, lock, tmp_path, **houses)


def test_a_lock_does_not_depend_on_where_the_folder_of_wheels_is(folder, distributions, tmp_path):
    first = folder.lock(wheelhouses=(str(distributions),))
    distributions.rename(tmp_path / "moved")
    assert folder.lock(wheelhouses=(str(tmp_path / "moved"),)).inputs == first.inputs


def test_a_package_that_the_folder_lacks_is_named(folder, distributions):
    folder.write("requirements.txt", "mlflow==3.17.2\nsix==1.0\n")
    with pytest.raises(LockError, match=r"six==1\.0 cannot be resolved"):
        folder.lock(wheelhouses=(str(distributions),))


@pytest.mark.parametrize("offline", [False, True])
def test_a_source_distribution_becomes_a_wheel_once(folder, index, tmp_path, offline):
    source = sdist(index.folder, "pure")
    where = {"wheelhouses": (str(index.folder),)} if offline else {"index_url": index.url}
    folder.write("requirements.txt", "mlflow==3.17.2\npure==1.0\n")
    lock = folder.lock(**where)
    found = named(lock, "pure")
    assert (found.version, found.file) == ("1.0", "pure-1.0-py3-none-any.whl")
    (kept,) = (folder.cache / "wheels").glob("*/*.whl")
    assert found.sdist in kept.parent.name
    source.unlink()
    assert "pure.py" in installed(folder, lock, tmp_path, **where)


def test_building_twice_gives_the_same_wheel(folder, index, tmp_path):
    sdist(index.folder, "pure")
    folder.write("requirements.txt", "mlflow==3.17.2\npure\n")
    first = folder.lock(index_url=index.url)
    folder.cache = tmp_path / "another cache"
    assert folder.lock(index_url=index.url).packages == first.packages
    folder.cache = tmp_path / "a third cache"
    assert "pure.py" in installed(folder, first, tmp_path, index_url=index.url)


def test_a_wheel_for_this_machine_is_taken_where_architecture_python_and_glibc_agree(folder, index, tmp_path):
    machine = os.uname().machine
    platform = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[machine]
    sdist(index.folder, "native", tag=f"{HERE}-{HERE}-linux_{machine}")
    folder.write("requirements.txt", "mlflow==3.17.2\nnative\n")
    values = {"index_url": index.url, "platform": platform, "python": MINOR}
    folder.write("python_env.yaml", f"python: {MINOR}.1\n")
    if MINOR in ("3.11", "3.13"):
        lock = folder.lock(**values)
        assert named(lock, "native").file.endswith(f"linux_{machine}.whl")
        assert "native.py" in installed(folder, lock, tmp_path, **values)
    other = "linux/arm64" if platform == "linux/amd64" else "linux/amd64"
    with pytest.raises(LockError, match=r"native 1\.0 has no wheel for"):
        folder.lock(**{**values, "platform": other})
    with pytest.raises(LockError, match=r"native 1\.0 has no wheel, and one built here needs glibc"):
        folder.lock(**values, base="registry.example/python:3")


def test_a_source_distribution_that_cannot_be_built_is_refused_with_a_way_out(folder, index):
    sdist(index.folder, "broken", backend="raise SystemExit('no compiler')\n")
    folder.write("requirements.txt", "mlflow==3.17.2\nbroken\n")
    with pytest.raises(
        LockError, match=r"broken 1\.0 has no wheel, and none can be built of it here"
    ) as caught:
        folder.lock(index_url=index.url)
    assert "no compiler" in caught.value.details
    assert "--wheelhouse" in caught.value.hint


# Time


def test_an_index_without_upload_times_serves(folder, index, versions):
    index.uploaded = None
    assert versions(folder.lock(index_url=index.url))["mlflow-skinny"] == "3.17.2"


def test_a_limit_in_time_needs_an_index_with_upload_times(folder, index):
    index.uploaded = None
    with pytest.raises(LockError, match="gives no upload times") as caught:
        folder.lock(index_url=index.url, exclude_newer="2026-01-01T00:00:00Z")
    assert "--exclude-newer" in caught.value.hint


def test_a_limit_in_time_is_recorded_and_followed(folder, index, tmp_path, versions):
    wheel(tmp_path / "new", "six", "1.0")
    wheel(index.folder, "six", "1.0")
    folder.write("requirements.txt", "mlflow==3.17.2\nsix\n")
    lock = folder.lock(index_url=index.url, exclude_newer="2026-01-01T00:00:00Z")
    assert lock.exclude_newer == "2026-01-01T00:00:00Z"
    index.late = {"six-2.0-py3-none-any.whl": "2026-06-01T00:00:00Z"}
    wheel(index.folder, "six", "2.0")
    fresh = {"UV_CACHE_DIR": str(tmp_path / "fresh")}
    assert versions(folder.lock(fresh, index_url=index.url))["six"] == "2.0"
    assert folder.lock(fresh, index_url=index.url, exclude_newer=lock.exclude_newer) == lock
