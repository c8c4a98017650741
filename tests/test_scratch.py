import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from servegen.scratch import scratch_folder


def test_the_folder_is_gone_afterwards_with_all_that_is_in_it(tmp_path):
    with scratch_folder(tmp_path / "new", "run-") as folder:
        (folder / "a").mkdir()
        (folder / "a/file").write_text("x")
        assert folder.name.startswith("run-")
    assert list((tmp_path / "new").iterdir()) == []


def _work(parent: Path, told: Connection) -> None:
    with scratch_folder(parent, "run-") as folder:
        (folder / "big").write_text("x")
        told.send(folder.name)
        signal.pause()


def _started(parent: Path) -> tuple[multiprocessing.Process, str]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(parent, there))
    process.start()
    return process, here.recv()


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path):
    process, name = _started(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert (tmp_path / name / "big").exists()
    with scratch_folder(tmp_path, "run-") as folder:
        assert [p.name for p in tmp_path.iterdir()] == [folder.name]


def test_the_folder_of_a_living_process_stays(tmp_path):
    process, name = _started(tmp_path)
    try:
        with scratch_folder(tmp_path, "run-"):
            assert (tmp_path / name / "big").exists()
    finally:
        process.kill()
        process.join()


def test_what_has_another_name_stays(tmp_path):
    (tmp_path / "base-1").mkdir()
    (tmp_path / "run-notes").write_text("not a folder of ours")
    with scratch_folder(tmp_path, "run-"):
        pass
    assert {p.name for p in tmp_path.iterdir()} == {"base-1", "run-notes"}
