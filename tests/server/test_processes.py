"""A model in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from servegen.server.errors import ModelFailedError, RefusedError, bad_request
from servegen.server.inputs import Arrays, Columns, Form, Whole
from servegen.server.modelfile import read
from servegen.server.predictors.processes import ProcessPredictor, load
from servegen.server.settings import Settings
from tests.server.asgi import TOY, model_file

ROOT = Path(__file__).parents[2]
CHILDISH = "tests.server.childish:Childish"
SETTINGS = Settings(model=Path("/nowhere"))


@contextmanager
def child(name: str = "toy", **variables: str) -> Iterator[ProcessPredictor]:
    model = replace(model_file(TOY), name=name)
    found = {"PYTHONPATH": str(ROOT), **variables}
    (predictor,) = load(model, SETTINGS, count=1, variables=found, factory=CHILDISH)
    try:
        yield predictor
    finally:
        predictor.close()


def said(predictor: ProcessPredictor, what: Any, params: Any = None) -> Any:
    return predictor.predict(Whole(value=what), params)


def eventually(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.01)
    return False


def alive(pid: int) -> bool:
    # A zombie has ended too; whoever inherits it has not looked yet.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def shared() -> Iterator[ProcessPredictor]:
    """One process for the tests that leave it as it was."""
    with child() as predictor:
        yield predictor


def test_input_and_answer_travel(shared: ProcessPredictor):
    assert said(shared, [1, "a", None], {"k": 1.5}) == {
        "name": "toy",
        "data": [1, "a", None],
        "params": {"k": 1.5},
    }
    array = np.arange(300_000, dtype="float32").reshape(3, -1)
    back = shared.predict(Arrays(value=array), None)["data"]
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


def test_it_is_another_process(shared: ProcessPredictor):
    assert said(shared, "pid") == shared.pid != os.getpid()


def test_errors_of_ours_arrive_whole(shared: ProcessPredictor):
    with pytest.raises(ModelFailedError) as failed:
        said(shared, "fail")
    assert (failed.value.status, failed.value.code) == (400, "BAD_REQUEST")
    with pytest.raises(RefusedError) as refused:
        said(shared, "refuse")
    error = refused.value
    assert (error.status, error.code, error.message) == (429, "RESOURCE_EXHAUSTED", "later")
    assert (error.error_class, error.retry_after) == ("C", 3)


def test_other_errors_are_ours_and_tell_nothing(shared: ProcessPredictor):
    with pytest.raises(RefusedError) as caught:
        said(shared, "secret")
    assert caught.value.status == 500
    assert "secret" not in caught.value.message


def test_a_refusal_inside_the_input_travels():
    with child() as predictor:
        form = Form(key="inputs", value="x", refusal=bad_request("column 'a', row 1: not a number"))
        assert predictor.predict(form, None)["data"] == "x"


@pytest.mark.parametrize("what", ["unsendable", "foreign"])
def test_an_answer_that_cannot_travel_has_no_json_form_either(shared: ProcessPredictor, what: str):
    with pytest.raises(RefusedError, match="no JSON form") as caught:
        said(shared, what)
    assert caught.value.status == 500
    assert said(shared, "next")["data"] == "next"


def test_a_pydantic_model_arrives_as_what_is_written(shared: ProcessPredictor):
    assert said(shared, "pydantic") == [{"word": "one"}]


def test_what_a_model_prints_disturbs_nothing(shared: ProcessPredictor):
    assert said(shared, "print") is None
    assert said(shared, "next")["data"] == "next"


def test_a_process_that_dies_fails_its_request_and_is_replaced():
    with child() as predictor:
        before = predictor.pid
        with pytest.raises(RefusedError) as caught:
            said(predictor, "die")
        assert (caught.value.status, caught.value.code) == (500, "INTERNAL_ERROR")
        assert predictor.pid != before
        assert said(predictor, "next")["data"] == "next"


def test_a_call_that_is_interrupted_costs_its_process_and_no_other_call():
    with child() as predictor:
        assert predictor.interrupt()
        first = said(predictor, "pid")
        with ThreadPoolExecutor(1) as threads:
            hung = threads.submit(said, predictor, "sleep")
            # Nothing is killed while nothing is asked.
            assert eventually(lambda: predictor.is_asked)
            assert predictor.interrupt()
            assert predictor.interrupt()
            with pytest.raises(RefusedError, match="ended while it worked"):
                hung.result(20)
        second = said(predictor, "pid")
        assert second != first
        assert not alive(first)


def test_a_process_that_died_between_requests_is_not_noticed_by_clients():
    with child() as predictor:
        before = predictor.pid
        os.kill(before, signal.SIGKILL)
        os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)
        assert said(predictor, "next")["data"] == "next"


def test_chunks_arrive_in_order_and_predictions_meanwhile(shared: ProcessPredictor, tmp_path: Path):
    closed = tmp_path / "closed"
    stream = shared.stream(Whole(value="endless"), {"closed": str(closed)})
    assert next(stream)["word"] == "one"
    assert said(shared, "meanwhile")["data"] == "meanwhile"
    assert next(stream).shape == (1000,)
    # A client that leaves stops the model.
    stream.close()  # type: ignore[attr-defined]
    assert eventually(closed.exists)


def test_a_stream_ends_where_the_model_ends_it(shared: ProcessPredictor):
    assert list(shared.stream(Whole(value="x"), {"k": 1})) == [{"word": "one", "params": {"k": 1}}]


def test_a_stream_that_fails_later_says_so_after_its_chunks(shared: ProcessPredictor):
    stream = shared.stream(Whole(value="fail"), None)
    assert next(stream)["word"] == "one"
    with pytest.raises(ModelFailedError):
        next(stream)


def test_a_process_that_dies_in_a_stream_fails_the_stream():
    with child() as predictor:
        stream = predictor.stream(Whole(value="die"), None)
        next(stream)
        with pytest.raises(RefusedError) as caught:
            next(stream)
        assert caught.value.status == 500
        assert list(predictor.stream(Whole(value="x"), None))


def test_several_load_side_by_side_and_are_several():
    model = model_file(TOY)
    found = load(model, SETTINGS, count=2, variables={"PYTHONPATH": str(ROOT)}, factory=CHILDISH)
    try:
        assert len({said(each, "pid") for each in found}) == 2
    finally:
        for each in found:
            each.close()
    assert not any(alive(each.pid) for each in found)


@pytest.mark.parametrize(
    ("name", "message"), [("broken", "ValueError: the pickle is torn"), ("deadly", "status 9")]
)
def test_a_model_that_does_not_load_says_why(name: str, message: str):
    with pytest.raises(RuntimeError, match=message), child(name):
        pass


def test_thread_pools_are_those_of_the_share():
    with child(OMP_NUM_THREADS="3") as predictor:
        assert said(predictor, "variable") == "3"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_to_the_whole_group_leave_the_end_to_the_server(number: signal.Signals):
    with child() as predictor:
        os.kill(predictor.pid, number)
        before = predictor.pid
        assert said(predictor, "next")["data"] == "next"
        assert predictor.pid == before


@pytest.mark.parametrize("what", ["x", "sleep"])
def test_no_process_survives_the_server(what: str):
    code = f"""
import os, sys, threading, time
from dataclasses import replace
from tests.server.test_processes import *
(one,) = load(model_file(TOY), SETTINGS, count=1, variables={{"PYTHONPATH": {str(ROOT)!r}}}, factory=CHILDISH)
threading.Thread(target=said, args=(one, {what!r}), daemon=True).start()
time.sleep(0.2)
print(one.pid, flush=True)
time.sleep(600)
"""
    server = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert alive(pid)
    finally:
        server.kill()
        server.communicate()
    assert eventually(lambda: not alive(pid))


def test_a_model_of_mlflow_answers_as_in_the_servers_own_process(models: Path):
    model = read(models / "linear", name=None, version=None)
    settings = Settings(model=models / "linear")
    (predictor,) = load(model, settings, count=1, variables={"SERVEGEN_MODEL": "/wrong"})
    try:
        columns = Columns(names=("x1", "x2"), dtypes=("float64", "float64"), cells=([2.0], [1.0]), rows=1)
        assert predictor.predict(columns, None) == pytest.approx([8.0])
    finally:
        predictor.close()
