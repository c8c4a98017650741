"""The pyfunc predictor against MLflow's own scoring server, on the same saved models."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import invocations

from servegen.server import modelfile
from servegen.server.errors import LossyError, ModelFailedError, RefusedError
from servegen.server.invocations import Invocations
from servegen.server.predictors.pyfunc import PyfuncPredictor
from servegen.server.settings import Settings

Answer = tuple[int, str]


class Pair:
    """One model, served by us and by MLflow."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.model = modelfile.read(path, name=None, version=None)
        chosen = Settings(model=path, **settings)
        self.reader = Invocations(self.model, lenient=chosen.lenient)
        self.predictor = PyfuncPredictor(self.model, chosen)
        self.theirs = mlflow.pyfunc.load_model(str(path))

    def served(self, body: bytes, content_type: str = "application/json") -> bytes:
        call, _ = self.reader.read(content_type.encode(), body)
        return call.encode(self.predictor.predict(call.input, call.params))

    def ours(self, body: bytes, content_type: str = "application/json") -> Answer:
        try:
            return 200, self.served(body, content_type).decode()
        except LossyError:
            return 0, "lossy"
        except RefusedError as refusal:
            return refusal.status, refusal.code

    def mlflow(self, body: bytes, content_type: str = "application/json") -> Answer:
        try:
            schema = self.theirs.metadata.get_input_schema()
            answer = invocations(body, content_type, self.theirs, schema)
        except MlflowException as exc:
            return exc.get_http_status_code(), exc.error_code
        return answer.status, answer.response


@pytest.fixture(scope="module")
def pair(models: Path) -> Callable[[str], Pair]:
    made: dict[str, Pair] = {}

    def get(name: str) -> Pair:
        if name not in made:
            made[name] = Pair(models / name)
        return made[name]

    return get


ROW = {"a": 1.5, "b": 3, "c": "x", "d": True}
SAME: list[tuple[str, Any]] = [
    ("mixed", {"dataframe_records": [ROW, {**ROW, "a": None, "c": None}]}),
    ("mixed", {"dataframe_records": [{**ROW, "i": 1, "f": 0.1}, {**ROW, "i": 2}]}),
    ("mixed", {"dataframe_records": [{**ROW, "c": 5}, {**ROW, "c": None}]}),
    ("mixed", {"dataframe_records": [{**ROW, "b": "3", "a": "1e3", "d": 1}]}),
    ("mixed", {"dataframe_records": [{**ROW, "b": 2**53 + 1}, {**ROW, "b": 2}]}),
    ("mixed", {"dataframe_records": [{"a": 1.5}]}),
    ("mixed", {"dataframe_records": []}),
    ("mixed", {"dataframe_records": {"a": 1}}),
    ("mixed", {"dataframe_records": [[1, 2, "x", True]]}),
    ("mixed", {"dataframe_split": {"columns": list("dcba"), "data": [[True, "x", 3, 1]], "index": ["r"]}}),
    ("mixed", {"dataframe_split": {"columns": list("abcd"), "data": []}}),
    ("mixed", {"dataframe_split": {"columns": ["a"]}}),
    ("mixed", {"inputs": {k: [v, v] for k, v in ROW.items()}}),
    ("mixed", {"inputs": {**{k: [v] for k, v in ROW.items()}, "c": [None]}}),
    ("mixed", {"inputs": ROW}),
    ("mixed", {"inputs": {**ROW, "extra": 5}}),
    ("mixed", {"inputs": [ROW, {**ROW, "i": 1}]}),
    ("mixed", {"inputs": {"a": [1], "b": [1, 2], "c": ["x"], "d": [True]}}),
    ("mixed", {"instances": [ROW, ROW]}),
    ("mixed", {"instances": {"a": [1], "b": [1, 2], "c": ["x"], "d": [True]}}),
    ("mixed", {"inputs": 5}),
    ("nested", {"dataframe_records": [{"t": "2021-01-31", "raw": "aGk=", "ids": [1], "map": {"p": 0.5}}]}),
    ("nested", {"dataframe_records": [{"t": None, "raw": "aGk"}]}),
    ("nested", {"dataframe_records": [{"t": "2021-01-31T00:00:00Z", "raw": ""}]}),
    ("nested", {"dataframe_records": [{"t": "x", "raw": ""}]}),
    ("nested", {"inputs": {"t": ["2021-01-31"], "raw": ["aGk="]}}),
    ("tensor", {"inputs": [[1, 2.5], [None, "3"]]}),
    ("tensor", {"inputs": [[1, 2, 3]]}),
    ("tensor", {"inputs": []}),
    ("tensor", {"dataframe_split": {"data": [[1, 2]]}}),
    ("named", {"inputs": {"vec": [[1, 2]], "ids": [1, 2], "extra": [0]}}),
    ("named", {"instances": [{"ids": 1, "vec": [1, 2]}]}),
    ("named", {"dataframe_records": [{"ids": 1, "vec": [1, 2]}]}),
    ("named", {"inputs": {"ids": [1]}}),
    ("params", {"inputs": [1.5], "params": {"l": [2], "unknown": 1}}),
    ("params", {"inputs": [1.5], "params": {"k": "x"}}),
    ("params", {"dataframe_records": 5, "params": {"k": "x"}}),
    ("free", {"inputs": [{"a": 1}]}),
    ("free", {"dataframe_split": {"columns": ["a"], "data": [[1.5], ["x"]]}}),
    ("free", {"messages": [{"role": "user"}], "x": 1}),
    ("free", {"inputs": [[1], [1, 2]]}),
    ("do", {"inputs": ["fail"]}),
    ("do", {"inputs": ["PERMISSION_DENIED"]}),
    ("do", {"inputs": ["RESOURCE_EXHAUSTED"]}),
    ("linear", {"dataframe_records": [{"x1": 2.0, "x2": 1.0}]}),
]


@pytest.mark.parametrize(("name", "body"), SAME, ids=[f"{n}-{json.dumps(b)[:60]}" for n, b in SAME])
def test_answers_and_refusals_are_those_of_mlflow(pair: Callable[[str], Pair], name: str, body: Any):
    text = json.dumps(body).encode()
    assert pair(name).ours(text) == pair(name).mlflow(text)


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c,d\n1.5,3,x,True\n",
        "a,b,c,d\n",
        "a,b,c,d\n1.5,3.9,x,True\n",
        "a,b\n1,2\n",
        "a,b,c,d\n1,1,007,False\n",
    ],
)
def test_csv_is_read_as_mlflow_reads_it(pair: Callable[[str], Pair], text: str):
    both = pair("mixed")
    assert both.ours(text.encode(), "text/csv") == both.mlflow(text.encode(), "text/csv")


CELLS: dict[str, list[Any]] = {
    "a": [1, 2.5, None, "3", True, "x", 1e300],
    "b": [1, 3.0, "4", True, None, 2**63 - 1, "x"],
    "c": ["x", "é", None, 5, 1.5, True],
    "d": [True, False, 0, 1.0],
    "i": [1, -2.0, 2**31 - 1],
    "f": [0.1, 16777217, None],
}


def random_body(rng: random.Random) -> Any:
    names = [n for n in CELLS if rng.random() < 0.9]
    rng.shuffle(names)
    rows = [
        {n: rng.choice(CELLS[n][:2] if rng.random() < 0.7 else CELLS[n]) for n in names}
        for _ in range(rng.randint(1, 3))
    ]
    key = rng.choice(["dataframe_split", "dataframe_records", "inputs", "instances"])
    if key == "dataframe_split":
        return {key: {"columns": names, "data": [list(r.values()) for r in rows]}}
    if key == "dataframe_records" or rng.random() < 0.5:
        return {key: rows}
    return {key: {n: [r[n] for r in rows] for n in names}}


def test_random_tables_are_answered_as_mlflow_answers_them(pair: Callable[[str], Pair]):
    rng = random.Random(7)
    good = 0
    for _ in range(200):
        text = json.dumps(random_body(rng)).encode()
        ours = pair("mixed").ours(text)
        if ours[1] != "lossy":
            assert ours == pair("mixed").mlflow(text), text
            good += ours[0] == 200
    assert good > 50


def test_a_large_integer_beside_a_float_stays_what_it_is(pair: Callable[[str], Pair]):
    text = json.dumps({"dataframe_records": [{**ROW, "b": 2**53 + 1}, {**ROW, "b": 2.0}]}).encode()
    assert str(2**53 + 1) in pair("mixed").ours(text)[1]
    assert str(2**53 + 1) not in pair("mixed").mlflow(text)[1]


def test_lenient_casts_as_mlflow_does(models: Path):
    lenient = Pair(models / "mixed", lenient=True)
    text = json.dumps({"dataframe_records": [{**ROW, "b": 3.9, "d": "false"}]}).encode()
    assert lenient.ours(text) == lenient.mlflow(text)
    assert lenient.ours(text)[0] == 200


def test_a_lossy_form_is_refused_only_if_mlflow_would_answer(pair: Callable[[str], Pair]):
    lossy = {"t": "2021-01-01", "raw": "aG*k="}
    with pytest.raises(LossyError):
        pair("nested").served(json.dumps({"dataframe_records": [lossy]}).encode())
    assert pair("nested").ours(json.dumps({"dataframe_records": [{"raw": "aG*k="}]}).encode()) == (
        400,
        "INVALID_PARAMETER_VALUE",
    )


def test_messages_of_the_model_pass_and_those_that_quote_the_input_do_not(pair: Callable[[str], Pair]):
    with pytest.raises(RefusedError, match="refused: PERMISSION_DENIED") as own:
        pair("do").served(b'{"inputs": ["PERMISSION_DENIED"]}')
    assert own.value.status == 403
    for name, body in (
        ("do", b'{"inputs": ["fail"]}'),
        ("nested", b'{"dataframe_records": [{"secret": 1}]}'),
    ):
        with pytest.raises(RefusedError) as caught:
            pair(name).served(body)
        assert "secret" not in caught.value.message
        assert caught.value.stack_trace == ""


@pytest.mark.parametrize("what", ["exit", "interrupt", "cancel"])
def test_what_would_end_a_program_is_a_failure_of_the_model(pair: Callable[[str], Pair], what: str):
    with pytest.raises(ModelFailedError):
        pair("do").served(f'{{"inputs": ["{what}"]}}'.encode())


def test_debugging_shows_what_mlflow_shows(models: Path):
    with pytest.raises(RefusedError) as caught:
        Pair(models / "do", debug_errors=True).served(b'{"inputs": ["fail"]}')
    assert "secret of the model" in caught.value.message
    assert "Traceback" in caught.value.stack_trace


def test_a_stream_yields_until_the_model_fails(pair: Callable[[str], Pair]):
    call, streamed = pair("free").reader.read(b"application/json", b'{"prompt": "x", "stream": true}')
    assert streamed
    chunks = pair("free").predictor.stream(call.input, call.params)
    assert next(chunks) == {"word": "one"}
    with pytest.raises(ModelFailedError):
        next(chunks)


def test_a_stream_of_no_row_or_several_is_the_clients_fault(pair: Callable[[str], Pair]):
    for rows in ("[]", '["x", "y"]'):
        body = f'{{"instances": {rows}, "stream": true}}'.encode()
        call, _ = pair("free").reader.read(b"application/json", body)
        with pytest.raises(RefusedError) as caught:
            list(pair("free").predictor.stream(call.input, call.params))
        assert caught.value.status == 400
