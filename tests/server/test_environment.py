from pathlib import Path

import pytest

from servegen.server.environment import cpu_limit, defaults, memory_limit, pools, threads


def test_the_limit_is_read_from_cgroup_v2(tmp_path: Path):
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    assert cpu_limit(tmp_path) == 2.5


def test_the_limit_is_read_from_cgroup_v1(tmp_path: Path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("50000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cpu_limit(tmp_path) == 0.5


@pytest.mark.parametrize("text", ["max 100000\n", ""])
def test_without_a_quota_there_is_no_limit(tmp_path: Path, text: str):
    if text:
        (tmp_path / "cpu.max").write_text(text)
    assert cpu_limit(tmp_path) is None


@pytest.mark.parametrize(("limit", "count"), [(None, 1), (0.2, 1), (1.0, 1), (2.5, 2), (8.0, 8)])
def test_thread_pools_follow_the_limit_and_never_the_node(limit: float | None, count: int):
    assert threads(limit) == count
    assert defaults({}, limit=limit)["OMP_NUM_THREADS"] == str(count)


def test_what_the_user_has_set_stays(tmp_path: Path):
    added = defaults({"OMP_NUM_THREADS": "7", "HOME": str(tmp_path)}, limit=2)
    assert "OMP_NUM_THREADS" not in added
    assert "HOME" not in added
    assert added["MKL_NUM_THREADS"] == "2"


@pytest.mark.parametrize("home", ["", "/", "/nonexistent", "/no/such/folder"])
def test_a_user_without_a_home_gets_a_writable_one(home: str):
    assert defaults({"HOME": home}, limit=None)["HOME"] == "/tmp"


def test_no_library_reports_home():
    added = defaults({}, limit=None)
    assert added["BENTOML_DO_NOT_TRACK"] == "True"
    assert added["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_the_memory_limit_is_read_from_either_cgroup(tmp_path: Path):
    assert memory_limit(tmp_path) is None
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("1048576\n")
    assert memory_limit(tmp_path) == 1048576
    (tmp_path / "memory.max").write_text("2097152\n")
    assert memory_limit(tmp_path) == 2097152


@pytest.mark.parametrize(
    ("file", "text"), [("memory.max", "max\n"), ("memory/memory.limit_in_bytes", "9223372036854771712\n")]
)
def test_no_memory_limit_is_written_in_two_ways(tmp_path: Path, file: str, text: str):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    assert memory_limit(tmp_path) is None


def test_processes_that_share_cpus_have_pools_of_their_share_at_most():
    found = pools(2, {"OMP_NUM_THREADS": "8,2", "MKL_NUM_THREADS": "1", "NUMEXPR_NUM_THREADS": "many"})
    assert found["OMP_NUM_THREADS"] == "2"
    assert found["MKL_NUM_THREADS"] == "1"
    assert found["NUMEXPR_NUM_THREADS"] == found["OPENBLAS_NUM_THREADS"] == "2"
