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
    data = read(B, A, given("unknown", "BYTES", ["x", "y"]), given("meta", "FP32", [1, 2, 3])).input
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


def refused(*inputs: Any, **request: Any) -> bool:
    with pytest.raises(RefusedError) as caught:
        read(*inputs, **request)
    return caught.value.status == 400


NUMBERS = json.dumps([tensor("int64", -1)])
FLOATS = json.dumps([tensor("float64", -1)])


@pytest.mark.parametrize("signature", [TOY, NUMBERS, None])
@pytest.mark.parametrize(
    "shape", [[1] * 65, [2**63], [2**70], [10**4000] * 9, [2**62, 4, 0], [-1], [True], [1.0]]
)
def test_a_shape_that_no_array_can_have_is_refused(signature: str | None, shape: list[int]):
    column = {**given("a", "INT64", [] if 0 in shape else [1]), "shape": shape}
    assert refused(column, signature=signature)


def test_a_column_without_rows_has_one_cell_a_row_all_the_same():
    assert refused(given("a", "FP64", [], [0, 5]), given("b", "INT64", [], [0, 1]))
    assert read(given("a", "FP64", [], [0]), given("b", "INT64", [], [0, 1])).input.rows == 0


def test_text_for_a_tensor_of_numbers_has_to_be_numbers():
    assert read(given("x", "BYTES", ["3", "4"], [2]), signature=NUMBERS).input.value.tolist() == [3, 4]
    assert read(given("x", "BYTES", ["0.5", "inf"], [2]), signature=FLOATS).input.value.tolist() == [
        0.5,
        float("inf"),
    ]
    for signature, text in (
        (NUMBERS, "x"),
        (NUMBERS, "3.5"),
        (NUMBERS, None),
        (FLOATS, "x"),
        (FLOATS, "1e400"),
    ):
        assert refused(given("x", "BYTES", [text], [1]), signature=signature)
    assert refused(given("x", "BYTES", ["true"], [1]), signature=json.dumps([tensor("bool", -1)]))


def test_numbers_may_be_given_for_a_tensor_of_text():
    made = read(given("x", "INT64", [3], [1]), signature=json.dumps([tensor("str", -1)])).input
    assert made.value.tolist() == ["3"]


DATES = {"content_type": "datetime"}


@pytest.mark.parametrize("text", ["2021-01-01T00:00:00.1234567891", "3000-01-01", "1600-01-01", "x"])
def test_a_datetime_that_nanoseconds_cannot_hold_is_refused(text: str):
    assert refused(given("x", "BYTES", [text], [1], parameters=DATES), signature=None)
    assert refused(given("x", "BYTES", [text], [1]), signature=json.dumps([tensor("datetime64[ns]", -1)]))
    both = [given(n, "BYTES", [text], [1], parameters=DATES) for n in "xy"]
    assert refused(*both, signature=None)


def test_columns_without_a_signature_are_decoded_by_their_content_type():
    when = given("t", "BYTES", ["2021-01-01"], parameters=DATES)
    raw = given("r", "BYTES", ["aGk="], parameters={"content_type": "base64"})
    documents = given("d", "BYTES", ["[1, 1e400]"], parameters={"content_type": "pd_json"})
    table = read(when, raw, documents, signature=None).input
    assert table.dtypes == ("datetime64[ns]", "text", "text")
    assert [list(c) for c in table.cells[1:]] == [[b"hi"], [[1, float("inf")]]]
    assert type(table.cells[2][0][1]) is float


def test_half_of_a_surrogate_pair_is_refused():
    for signature in (columns(s="string"), None, json.dumps([tensor("str", -1)])):
        assert refused(given("s", "BYTES", ["\ud800"], [1]), signature=signature)
        assert refused(given("\ud800", "BYTES", ["x"], [1]), signature=signature)
    document = given("s", "BYTES", ['"\\ud800"'], parameters={"content_type": "pd_json"})
    assert refused(document, signature=columns(s="string"))


def test_a_document_in_a_plain_column_is_left_to_mlflow():
    document = given("s", "BYTES", ["[1]"], parameters={"content_type": "pd_json"})
    assert isinstance(read(document, signature=columns(s="long")).input, Form)


@pytest.mark.parametrize("levels", [900, 2000, 100_000])
def test_data_that_is_nested_too_deep_is_refused(levels: int):
    deep = "[" * levels + "1" + "]" * levels
    for service in (OpenInference(model_file(s)) for s in (TOY, NUMBERS)):
        body = f'{{"inputs": [{{"name": "x", "datatype": "FP64", "shape": [2], "data": {deep}}}]}}'
        with pytest.raises(RefusedError) as caught:
            service.read(body.encode())
        assert caught.value.status == 400


def test_the_input_of_a_type_hint_has_to_be_there():
    hints = json.dumps([{"type": "map", "values": {"type": "long"}, "required": True}])
    with pytest.raises(RefusedError, match="missing"):
        OpenInference(model_file(hints, type_hints=True)).read(
            json.dumps({"inputs": [given("other", "BYTES", ["{}"])]}).encode()
        )


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
