import json
from typing import Any

import pytest

from servegen.server.errors import LossyError, RefusedError
from servegen.server.inputs import Columns, Csv, Form, Parquet, Whole
from servegen.server.invocations import Invocations, media_type
from tests.server.asgi import TOY, columns, model_file

JSON = b"application/json"
PARAMS = json.dumps([{"name": "k", "type": "double", "default": 1.0, "shape": None}])


def read(body: Any, **model: Any) -> Any:
    inputs = model.pop("inputs", TOY)
    call, _ = Invocations(model_file(inputs, **model), lenient=False).read(JSON, json.dumps(body).encode())
    return call


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (b"application/json", "application/json"),
        (b"application/json;charset=UTF-8", "application/json"),
        (b"text/csv ; charset=utf-8", "text/csv"),
        (b"application/vnd.apache.parquet", "application/vnd.apache.parquet"),
    ],
)
def test_supported_content_types_pass(header: bytes, kind: str):
    assert media_type(header) == kind


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"*/*",
        b"Application/JSON",
        b"application/pdf",
        b"application/json; charset=utf8",
        b'application/json; charset="utf-8"',
        b"application/json; Charset=utf-8",
        b"application/json;",
        b"application/json; q=1",
    ],
)
def test_other_content_types_are_refused(header: bytes | None):
    with pytest.raises(RefusedError) as caught:
        media_type(header)
    assert caught.value.status == 415


def test_a_table_becomes_columns():
    call = read({"dataframe_records": [{"a": 1, "b": 2}], "ignored": 1})
    assert isinstance(call.input, Columns)
    assert call.encode([1]) == b'{"predictions": [1]}'


@pytest.mark.parametrize("body", [{}, {"foo": 1}, {"inputs": 1, "instances": 1}, [1], "x", 5, None])
def test_exactly_one_data_key_is_needed(body: Any):
    with pytest.raises(RefusedError) as caught:
        read(body)
    assert caught.value.code == "BAD_REQUEST"


@pytest.mark.parametrize("key", ["messages", "prompt", "input"])
def test_an_llm_request_goes_to_the_model_whole(key: str):
    call = read({key: "hi", "inputs": [1], "k": 2, "params": {"k": 5}}, params=PARAMS)
    assert call.input == Whole(value={key: "hi", "inputs": [1], "params": {"k": 5}})
    assert call.params == {"k": 2.0}
    assert call.encode({"x": 1}) == b'{"x": 1}'


def test_streams_need_a_model_that_can():
    body = json.dumps({"messages": [], "stream": True}).encode()
    call, streamed = Invocations(model_file(streamable=True), lenient=False).read(JSON, body)
    assert streamed
    assert call.input == Whole(value={"messages": []})
    call, streamed = Invocations(model_file(), lenient=False).read(JSON, body)
    assert not streamed
    assert call.input == Whole(value={"messages": [], "stream": True})


def test_without_a_signature_mlflow_reads_the_form():
    assert read({"inputs": [1]}, inputs=None).input == Form(key="inputs", value=[1])


def test_lenient_leaves_all_forms_to_mlflow():
    call, _ = Invocations(model_file(TOY), lenient=True).read(JSON, b'{"inputs": {"a": [1], "b": [2.5]}}')
    assert call.input == Form(key="inputs", value={"a": [1], "b": [2.5]})


def test_bad_params_go_before_a_lossy_value_and_after_an_odd_form():
    lossy = {"a": [1], "b": [2.5]}
    with pytest.raises(LossyError):
        read({"inputs": lossy}, params=PARAMS)
    with pytest.raises(RefusedError) as caught:
        read({"inputs": lossy, "params": {"k": "x"}}, params=PARAMS)
    assert caught.value.code == "INVALID_PARAMETER_VALUE"
    odd = read({"dataframe_records": 5, "params": {"k": "x"}}, params=PARAMS)
    assert isinstance(odd.input, Form)
    assert odd.input.refusal is not None


def test_csv_and_parquet_are_passed_on():
    reader = Invocations(model_file(columns(a="double")), lenient=False)
    assert reader.read(b"text/csv", "a\né\n".encode())[0].input == Csv(text="a\né\n")
    assert reader.read(b"application/vnd.apache.parquet", b"PAR1")[0].input == Parquet(content=b"PAR1")
    with pytest.raises(RefusedError):
        reader.read(b"text/csv", b"a\n\xff\n")
