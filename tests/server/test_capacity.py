from pathlib import Path

import pytest

from servegen.server.capacity import Capacity, Limits, Wishes, plan, size

MIB, GIB = 2**20, 2**30


def planned(
    flavor: str = "sklearn",
    cpus: float | None = 4.0,
    memory: int | None = None,
    size: int = MIB,
    **wishes: int,
) -> Capacity:
    return plan(flavor, size=size, limits=Limits(cpus=cpus, memory=memory), wishes=Wishes(**wishes))


def test_without_a_cpu_limit_there_is_one_process_whatever_the_node_has():
    assert planned(cpus=None) == Capacity(processes=1, threads=1, pool=1)


@pytest.mark.parametrize(("cpus", "processes"), [(0.5, 1), (1.0, 1), (1.9, 1), (2.0, 2), (3.7, 3)])
def test_a_library_that_holds_the_lock_gets_a_process_a_cpu(cpus: float, processes: int):
    assert planned(cpus=cpus) == Capacity(processes=processes, threads=1, pool=1)


@pytest.mark.parametrize("flavor", ["onnx", "xgboost", "lightgbm", "catboost", "pytorch", "tensorflow"])
def test_a_library_that_lets_go_of_it_gets_one_process_and_a_pool(flavor: str):
    assert planned(flavor, cpus=4.5) == Capacity(processes=1, threads=1, pool=4)


@pytest.mark.parametrize("flavor", ["sklearn", "python_function", "spacy", "statsmodels", "h2o"])
def test_a_flavor_without_an_entry_is_taken_to_hold_the_lock(flavor: str):
    assert planned(flavor).processes == 4


def test_copies_of_the_model_stay_within_the_memory_limit():
    assert planned(memory=GIB).processes == 2
    assert planned(memory=GIB, size=300 * MIB).processes == 1
    assert planned(memory=64 * GIB).processes == 4
    assert planned(memory=64 * GIB, size=8 * GIB).processes == 3


def test_not_even_one_process_fits_but_there_is_one():
    assert planned(memory=128 * MIB).processes == 1


def test_a_number_that_was_asked_for_is_taken():
    assert planned(processes=3, cpus=None, memory=MIB) == Capacity(processes=3, threads=1, pool=1)
    assert planned("onnx", processes=2, cpus=8.0) == Capacity(processes=2, threads=1, pool=4)
    assert planned(processes=1) == Capacity(processes=1, threads=1, pool=4)


def test_a_model_that_takes_several_calls_at_a_time_needs_no_processes():
    assert planned(threads=2, cpus=8.0) == Capacity(processes=1, threads=2, pool=4)


def test_a_process_answers_one_call_at_a_time():
    assert planned(processes=2, threads=8) == Capacity(processes=2, threads=1, pool=2)


def test_the_size_of_a_model_is_that_of_all_its_files(tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "MLmodel").write_bytes(b"12")
    (tmp_path / "data" / "model.pkl").write_bytes(b"345")
    assert size(tmp_path) == 5
