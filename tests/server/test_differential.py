"""Our server against MLflow's own, over generated models and bodies; HTTP.md lists what may differ."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.server.differential import hinted
from tests.server.differential.answering import recipes
from tests.server.differential.bodies import CSV, JSON, Request, requests
from tests.server.differential.pair import Answer, changes, deviation, pair, save
from tests.server.differential.run import compare
from tests.server.differential.signatures import SIGNATURES, columns, tensors

BODIES = 2000
"""Over all signatures, at least."""
EACH = -(-BODIES // len(SIGNATURES))
ANSWERS = 200
HINTED = 30


@pytest.fixture(scope="module", autouse=True)
def serving() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        # MLflow's server sets it, and models may read it.
        patch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", SIGNATURES)
def test_requests_are_answered_as_mlflow_answers_them(tmp_path: Path, name: str):
    with pair(save(tmp_path / "model", SIGNATURES[name])) as both:
        seen = compare(both, requests(SIGNATURES[name]), SIGNATURES[name], count=EACH, start=1)
    assert seen["answered"] > 0
    assert seen["same"] > EACH / 2


@pytest.mark.parametrize("name", hinted.MODELS)
def test_type_hints_are_checked_as_mlflow_checks_them(tmp_path: Path, name: str):
    with pair(hinted.save(tmp_path / "model", name)) as both:
        assert compare(both, hinted.requests(), None, count=HINTED, start=1)["answered"] > 0


def test_whatever_a_model_returns_is_written_as_mlflow_writes_it(tmp_path: Path):
    def asked(recipe: Any, *, as_data: bool) -> Request:
        text = json.dumps(recipe)
        return JSON, json.dumps({"inputs": {"recipe": text}} if as_data else {"prompt": text}).encode()

    with pair(save(tmp_path / "model", None, code="answering")) as both:
        bodies = st.builds(asked, recipes, as_data=st.booleans())
        seen = compare(both, bodies, None, count=ANSWERS, start=1)
    assert min(seen["answered"], seen["null-for-nan"], seen["json-errors"]) > ANSWERS / 20


GOOD = Answer(status=200, body=b'{"predictions": [1.0, "NaN"]}', seen=None)
REFUSED = Answer(status=400, body=b'{"error_code": "BAD_REQUEST", "message": ""}', seen=None)
FREE: Request = (JSON, b'{"inputs": [1]}')


@pytest.mark.parametrize(
    ("request_", "ours", "theirs"),
    [
        (FREE, REFUSED, GOOD),
        (FREE, GOOD, REFUSED),
        (FREE, Answer(status=200, body=b'{"predictions": [1, "NaN"]}', seen=None), GOOD),
        (FREE, Answer(status=200, body=b'{"predictions": [1.0, null]}', seen=None), GOOD),
        (FREE, Answer(status=400, body=b'{"error_code": "INVALID_PARAMETER_VALUE"}', seen=None), REFUSED),
        ((CSV, b"a\n1\n"), REFUSED, GOOD),
        ((None, b"{}"), REFUSED, Answer(status=500, body=b"Internal Server Error", seen=None)),
        (FREE, REFUSED, Answer(status=500, body=b"Internal Server Error", seen=None)),
    ],
)
def test_what_no_row_explains_is_found(request_: Request, ours: Answer, theirs: Answer):
    with pytest.raises(AssertionError):
        deviation(request_, None, ours, theirs)


def test_only_nan_and_infinity_may_be_null():
    theirs = Answer(
        status=200, body=b'{"predictions": [NaN, -Infinity, "NaN \\" NaN", {"NaN": Infinity}]}', seen=None
    )
    ours = Answer(status=200, body=b'{"predictions": [null, null, "NaN \\" NaN", {"NaN": null}]}', seen=None)
    assert deviation(FREE, None, ours, theirs) == "null-for-nan"


CHANGED = [
    ("a:long", "3.9", True),
    ("a:long", "3.0", False),
    ("a:long", "9007199254740993", False),
    ("a:integer", "2147483648", True),
    ("a:float", "0.1", False),
    ("a:float", "1e39", True),
    ("a:double", "1e400", True),
    ("a:double", "Infinity", False),
    ("a:boolean", '"false"', True),
    ("a:boolean", "1.0", False),
    ("a:boolean", "null", True),
    ("a:binary", '"aG*k="', True),
    ("a:binary", '"aG\\nk="', False),
    ("a:datetime", '"2021-01-31T10:20:30.1234567891"', True),
]


@pytest.mark.parametrize(("column", "cell", "changed"), CHANGED)
def test_a_change_of_a_value_is_seen_where_the_model_stands(
    tmp_path: Path, column: str, cell: str, changed: bool
):
    signature = columns(column)
    request = (JSON, b'{"dataframe_records": [{"a": %s}]}' % cell.encode())
    with pair(save(tmp_path / "model", signature)) as both:
        theirs = both.mlflow(request)
        assert theirs.status == 200
        assert changes(request, signature, theirs.seen) is changed
        assert deviation(request, signature, both.ours(request), theirs) == ("lossy-cast" if changed else "")


def test_a_change_within_a_tensor_is_seen(tmp_path: Path):
    signature = tensors((None, "uint8", (-1, 2)))
    request = (JSON, b'{"inputs": [[1, 2], [3, 4.5]]}')
    with pair(save(tmp_path / "model", signature)) as both:
        theirs = both.mlflow(request)
        assert changes(request, signature, theirs.seen)
        assert deviation(request, signature, both.ours(request), theirs) == "lossy-cast"


HALF = rb"\ud800"
HALVES = [
    ("a:string", b'{"dataframe_records": [{"a": "%s"}]}' % HALF),
    ("a:string", b'{"dataframe_split": {"columns": ["a"], "data": [["%s"]]}}' % HALF),
    ("a:string", b'{"dataframe_records": [{"a": "x", "%s": 1}]}' % HALF),
    ("a:string", b'{"inputs": {"a": ["%s"]}}' % HALF),
    ("a:string", b'{"instances": [{"a": "%s"}]}' % HALF),
    ("a:string", b'{"inputs": {"a": ["\xed\xa0\x80"]}}'),
    ("a:string", b'{"inputs": {"a": ["\\ud83d\\ude00", "\\\\ud800"]}}'),
    (None, b'{"dataframe_records": [{"%s": "%s"}]}' % (HALF, HALF)),
    (None, b'{"inputs": {"%s": ["%s"]}}' % (HALF, HALF)),
    (None, b'{"prompt": "%s"}' % HALF),
]


@pytest.mark.parametrize(("column", "body"), HALVES)
def test_half_of_a_surrogate_pair_is_answered_as_mlflow_answers_it(
    tmp_path: Path, column: str | None, body: bytes
):
    signature = columns(column) if column else None
    with pair(save(tmp_path / "model", signature)) as both:
        assert deviation((JSON, body), signature, both.ours((JSON, body)), both.mlflow((JSON, body))) == ""


def nested(before: bytes, levels: int, after: bytes) -> bytes:
    return before + b"[" * levels + b"1" + b"]" * levels + after


@pytest.mark.parametrize("column", ["a:double", "a:string", "a:any"])
@pytest.mark.parametrize(
    ("body", "row"),
    [
        (nested(b'{"inputs": {"a": [', 2000, b"]}}"), "unreadable-json"),
        (nested(b'{"x": ', 100_000, b', "inputs": {"a": [1]}}'), "unreadable-json"),
        (nested(b'{"prompt": ', 2000, b"}"), "unreadable-json"),
        (b'{"inputs": {"a": [%s]}}' % (b"1" * 5000), "unreadable-json"),
        (nested(b'{"inputs": ', 900, b"}"), ""),
        (nested(b'{"prompt": ', 900, b"}"), ""),
        (nested(b'{"dataframe_records": [{"a": ', 900, b"}]}"), ""),
    ],
)
def test_json_beyond_what_python_reads_is_refused(tmp_path: Path, column: str, body: bytes, row: str):
    signature = columns(column)
    with pair(save(tmp_path / "model", signature)) as both:
        assert deviation((JSON, body), signature, both.ours((JSON, body)), both.mlflow((JSON, body))) == row


@pytest.mark.parametrize("levels", [60, 66, 900, 2000])
def test_deep_lists_for_a_tensor_are_refused(tmp_path: Path, levels: int):
    signature = tensors((None, "float64", (-1,)))
    request = (JSON, nested(b'{"inputs": ', levels, b"}"))
    with pair(save(tmp_path / "model", signature)) as both:
        ours = both.ours(request)
        assert ours.status == 400
        assert deviation(request, signature, ours, both.mlflow(request)) in ("", "unreadable-json")
