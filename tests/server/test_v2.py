import json
from typing import Any

import numpy as np
import pytest

from servegen.server.errors import RefusedError
from servegen.server.inputs import Arrays, Columns, Form, Whole
from servegen.server.v2 import OpenInference
from tests.server.asgi import TOY, columns, model_file


def tensor(dtype: str, *shape: int, name: str | None = None) -> dict[str, Any]:
    spec = {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}}
    return spec if name is None else {**spec, "name": name}


def given(
    name: str, datatype: str, data: list[Any], shape: list[int] | None = None, **extra: Any
) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape or [len(data), 1], "data": data, **extra}


def read(*inputs: Any, signature: str | None = TOY, params: str | None = None, **request: Any) -> Any:
    body = json.dumps({"inputs": list(inputs), **request})
    return OpenInference(model_file(signature, params=params)).read(body.encode())


A, B = given("a", "FP64", [1.0, 2.0]), given("b", "INT64", [3, 4])


def test_tabular_inputs_become_columns_in_the_signatures_order():
    data = read(B, A, given("unknown", "BYTES", ["x", "y"])).input
    assert isinstance(data, Columns)
    assert (data.names, data.rows) == (("a", "b"), 2)
    assert [list(c) for c in data.cells] == [[1.0, 2.0], [3, 4]]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (given("a", "FP64", [1.0, 2.0], [2]), given("b", "INT64", [3, 4], [2])),
        (given("a", "FP64", [[1.0], [2.0]], [2, 1]), given("b", "INT32", [3, 4])),
        (given("a", "INT8", [1, 2]), given("b", "FP64", [3.0, 4.0])),
    ],
)
def test_shapes_and_datatypes_may_vary_where_no_value_changes(a: Any, b: Any):
    data = read(a, b).input
    assert [list(c) for c in data.cells] == [[1.0, 2.0], [3, 4]]


@pytest.mark.parametrize(
    "inputs",
    [
        [A],
        [A, B, B],
        [A, given("b", "FP64", [3.5, 4.0])],
        [A, given("b", "INT64", [None, 4])],
        [A, given("b", "INT8", [300, 4])],
        [A, given("b", "INT64", [3])],
        [A, given("b", "INT64", [3, 4], [3, 1])],
        [A, given("b", "INT64", [3, 4], [1, 2])],
        [A, given("b", "INT64", ["3", 4])],
        [A, given("b", "BYTES", [3, 4])],
        [A, given("b", "INT128", [3, 4])],
        [A, given("b", "INT64", [[3], 4])],
        [A, {"name": "b", "datatype": "INT64", "data": [3, 4]}],
        [A, {"name": "b", "datatype": "INT64", "shape": [2]}],
        [A, "b"],
        [],
    ],
)
def test_a_request_that_contradicts_itself_or_the_signature_is_refused(inputs: list[Any]):
    with pytest.raises(RefusedError) as caught:
        read(*inputs)
    assert caught.value.status == 400


@pytest.mark.parametrize("body", [b"[1]", b"{", b"{}", b'{"inputs": {"a": 1}}', b'{"inputs": 5}'])
def test_a_body_without_a_list_of_inputs_is_refused(body: bytes):
    with pytest.raises(RefusedError):
        OpenInference(model_file(TOY)).read(body)


def test_parameters_that_are_not_reserved_are_params_of_the_model():
    schema = json.dumps([{"name": "k", "type": "double", "default": 1.0, "shape": None}])
    call = read(A, B, params=schema, parameters={"k": 2, "priority": 1, "triton_x": 1, "zz": 0})
    assert call.params == {"k": 2.0}
    with pytest.raises(RefusedError):
        read(A, B, parameters=[1])


def test_a_parameter_of_null_is_not_given():
    schema = json.dumps([{"name": "k", "type": "double", "default": 1.0, "shape": None}])
    assert read(A, B, params=schema, parameters={"k": None}).params == {"k": 1.0}


def test_a_content_type_that_the_signature_contradicts_is_refused():
    named = json.dumps([tensor("int64", -1, name="ids"), tensor("int64", -1, name="more")])
    for inputs, signature in (([A, B], TOY), ([A], TOY), ([given("ids", "INT64", [1], [1])], named)):
        with pytest.raises(RefusedError) as caught:
            read(*inputs, signature=signature, parameters={"content_type": "np"})
        assert caught.value.status == 400
    with pytest.raises(RefusedError):
        read(A, B, parameters={"content_type": "other"})
    by_name = read(A, B, parameters={"content_type": "dict"}).input
    assert isinstance(by_name, Columns)


def test_the_column_of_a_type_hint_goes_to_the_model_as_a_list():
    hints = json.dumps([{"type": "map", "values": {"type": "long"}, "required": True}])
    service = OpenInference(model_file(hints, type_hints=True))
    body = json.dumps({"inputs": [given("input-0", "BYTES", ['{"a": 1}', "{}"])]})
    assert service.read(body.encode()).input == Whole(value=[{"a": 1}, {}])


def test_the_declared_shape_of_a_tensor_is_kept():
    signature = json.dumps([tensor("float32", -1, 2)])
    for data in ([1, 2, 3, 4], [[1, 2], [3, 4]]):
        call = read(given("any name", "FP64", data, [2, 2]), signature=signature)
        assert isinstance(call.input, Arrays)
        np.testing.assert_array_equal(call.input.value, np.array([[1, 2], [3, 4]], "float32"))
    with pytest.raises(RefusedError):
        read(given("x", "FP32", [1, 2, 3], [1, 3]), signature=signature)
    with pytest.raises(RefusedError):
        read(given("x", "FP64", [1e39, 0], [1, 2]), signature=signature)


def test_named_tensors_are_a_dict():
    signature = json.dumps([tensor("int64", -1, name="ids"), tensor("float32", -1, 2, name="vec")])
    call = read(given("vec", "FP32", [1, 2], [1, 2]), given("ids", "INT64", [1, 2], [2]), signature=signature)
    assert {k: v.tolist() for k, v in call.input.value.items()} == {"ids": [1, 2], "vec": [[1.0, 2.0]]}


def test_without_a_signature_the_inputs_decide():
    one = read(given("x", "UINT8", [0, 255], [1, 2]), signature=None).input.value
    assert (one.dtype, one.tolist()) == ("uint8", [[0, 255]])
    table = read(given("x", "FP32", [1, 2]), given("y", "BYTES", ["p", "q"]), signature=None).input
    assert isinstance(table, Columns)
    assert table.dtypes == ("float32", "text")
    arrays = read(given("x", "FP32", [1, 2]), given("y", "BOOL", [True], [1]), signature=None).input
    assert set(arrays.value) == {"x", "y"}
    forced = read(given("x", "FP32", [1, 2]), signature=None, parameters={"content_type": "pd"}).input
    assert isinstance(forced, Columns)


def test_bytes_of_a_tensor_are_decoded_by_their_content_type():
    encoded = given("x", "BYTES", ["aGk="], [1], parameters={"content_type": "base64"})
    assert read(encoded, signature=None).input.value.tolist() == [b"hi"]
    times = given("x", "BYTES", ["2021-01-01"], [1], parameters={"content_type": "datetime"})
    assert read(times, signature=None).input.value.dtype == "datetime64[ns]"
    documents = given("x", "BYTES", ["[1, 2]"], [1], parameters={"content_type": "pd_json"})
    assert read(documents, signature=None).input.value.tolist() == [[1, 2]]


def test_nested_and_dated_columns_go_to_mlflow_as_a_split():
    call = read(
        given("t", "BYTES", ["2021-01-01"]),
        given("m", "BYTES", ['{"p": 0.5}']),
        signature=columns(t="datetime", m="map"),
    )
    assert call.input == Form(
        key="dataframe_split", value={"columns": ["t", "m"], "data": [["2021-01-01", {"p": 0.5}]]}
    )


def test_metadata_names_every_type():
    signature = columns(
        f="double", n="long", i="integer", b="boolean", s="string", raw="binary", t="datetime", o="any"
    )
    described = OpenInference(model_file(signature)).metadata()
    assert [(i["datatype"], i["parameters"]["content_type"]) for i in described["inputs"]] == [
        ("FP64", "np"),
        ("INT64", "np"),
        ("INT32", "np"),
        ("BOOL", "np"),
        ("BYTES", "str"),
        ("BYTES", "base64"),
        ("BYTES", "datetime"),
        ("BYTES", "pd_json"),
    ]
    assert described["parameters"] == {"content_type": "pd"}
    assert described["versions"] == ["1"]


def test_unnamed_tensors_get_the_names_that_answers_use():
    spec = json.dumps([tensor("float64", -1)])
    service = OpenInference(model_file(spec, outputs=spec))
    assert [o["name"] for o in service.metadata()["outputs"]] == ["output-0"]
    assert [i["name"] for i in service.metadata()["inputs"]] == ["input-0"]
    assert OpenInference(model_file()).metadata()["inputs"] == []
