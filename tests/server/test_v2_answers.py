import datetime
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from servegen.server import encoding
from servegen.server.errors import RefusedError
from servegen.server.v2 import OpenInference
from tests.server.asgi import TOY, columns, model_file
from tests.server.differential.answering import made, recipes

FLAT = json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}])
REQUEST = {
    "inputs": [
        {"name": "a", "datatype": "FP64", "shape": [1], "data": [1]},
        {"name": "b", "datatype": "INT64", "shape": [1], "data": [1]},
    ]
}


def answer(value: Any, *, outputs: str | None = None, **request: Any) -> Any:
    call = OpenInference(model_file(TOY, outputs=outputs)).read(json.dumps(REQUEST | request).encode())
    return json.loads(call.encode(value))


TABLE = [
    ("array", np.array([1.5, np.nan]), ["output-0", "FP64", [2, 1], [1.5, None], "np"]),
    ("float32", np.array([[1, 2]], "float32"), ["output-0", "FP32", [1, 2], [1.0, 2.0], "np"]),
    ("uint8", np.array([[255]], "uint8"), ["output-0", "UINT8", [1, 1], [255], "np"]),
    ("scalar array", np.array(3), ["output-0", "INT64", [1], [3], "np"]),
    ("text array", np.array(["a"]), ["output-0", "BYTES", [1, 1], ["a"], "str"]),
    ("series", pd.Series([1, 2]), ["output-0", "INT64", [2, 1], [1, 2], "np"]),
    ("list", [1, 2], ["output-0", "INT64", [2, 1], [1, 2], "np"]),
    ("numpy list", [np.float64(1), np.float64(2)], ["output-0", "FP64", [2, 1], [1.0, 2.0], "np"]),
    ("nested list", [[1, 2], [3, 4]], ["output-0", "INT64", [2, 2], [1, 2, 3, 4], "np"]),
    ("text list", ["a", None], ["output-0", "BYTES", [2, 1], ["a", None], "str"]),
    ("bool list", [True], ["output-0", "BOOL", [1, 1], [True], "np"]),
    ("mixture", [1, "a"], ["output-0", "BYTES", [2, 1], ["1", '"a"'], "pd_json"]),
    ("dicts", [{"x": 1}], ["output-0", "BYTES", [1, 1], ['{"x": 1}'], "pd_json"]),
    ("other dict", {"x": "y"}, ["output-0", "BYTES", [1], ['{"x": "y"}'], "pd_json"]),
    ("text", "hi", ["output-0", "BYTES", [1], ["hi"], "str"]),
    ("number", 5, ["output-0", "BYTES", [1], ["5"], "pd_json"]),
    ("none", None, ["output-0", "BYTES", [1], ["null"], "pd_json"]),
    ("bytes", [b"hi"], ["output-0", "BYTES", [1, 1], ["aGk="], "base64"]),
    ("dates", [datetime.date(2020, 1, 1)], ["output-0", "BYTES", [1, 1], ["2020-01-01"], "datetime"]),
]


@pytest.mark.parametrize(("value", "output"), [t[1:] for t in TABLE], ids=[t[0] for t in TABLE])
def test_a_value_becomes_one_output(value: Any, output: list[Any]):
    (made,) = answer(value)["outputs"]
    content = made["parameters"]["content_type"]
    assert [made["name"], made["datatype"], made["shape"], made["data"], content] == output


def test_a_frame_becomes_one_output_a_column():
    frame = pd.DataFrame(
        {"s": [1.5], "t": ["x"], "n": [1], "when": pd.to_datetime(["2021-01-01"]), "o": [{"a": 1}]}
    )
    made = answer(frame)
    assert made["parameters"] == {"content_type": "pd"}
    assert [(o["name"], o["datatype"], o["shape"], o["data"]) for o in made["outputs"]] == [
        ("s", "FP64", [1, 1], [1.5]),
        ("t", "BYTES", [1, 1], ["x"]),
        ("n", "INT64", [1, 1], [1]),
        ("when", "BYTES", [1, 1], ["2021-01-01T00:00:00"]),
        ("o", "BYTES", [1, 1], ['{"a": 1}']),
    ]


def test_a_dict_of_arrays_becomes_one_output_a_key():
    made = answer({"total": np.array([1.5], "float32"), "n": 2})
    assert made["parameters"] == {"content_type": "dict"}
    assert [(o["name"], o["datatype"], o["shape"]) for o in made["outputs"]] == [
        ("total", "FP32", [1]),
        ("n", "INT64", [1]),
    ]


def test_a_flat_output_tensor_keeps_its_rank():
    assert answer(np.array([1.5, 2.5]), outputs=FLAT)["outputs"][0]["shape"] == [2]


def test_the_request_chooses_and_orders_outputs():
    frame = pd.DataFrame({"x": [1], "y": [2], "z": [3]})
    made = answer(frame, outputs=None, id="r1")
    assert made["id"] == "r1"
    call = OpenInference(model_file(TOY)).read(
        json.dumps(REQUEST | {"outputs": [{"name": "z"}, {"name": "x"}]}).encode()
    )
    assert [o["name"] for o in json.loads(call.encode(frame))["outputs"]] == ["z", "x"]
    with pytest.raises(RefusedError):
        call.encode(pd.DataFrame({"x": [1]}))


NESTED = [
    ("ragged", [[1, 2], [3]], ["BYTES", [2, 1], ["[1, 2]", "[3]"], "pd_json"]),
    ("ragged below", [[[1], [2]], [[3, 4], 5]], ["BYTES", [2, 2], ["[1]", "[2]", "[3, 4]", "5"], "pd_json"]),
    ("ragged arrays", [np.zeros(1), np.zeros(2)], ["BYTES", [2, 1], ["[0.0]", "[0.0, 0.0]"], "pd_json"]),
    ("arrays", [np.zeros(2, "int8"), np.ones(2, "int8")], ["INT8", [2, 2], [0, 0, 1, 1], "np"]),
    ("mixture", [[1, "a"]], ["BYTES", [1, 2], ["1", '"a"'], "pd_json"]),
    ("flags beside numbers", [[True, 1]], ["BYTES", [1, 2], ["true", "1"], "pd_json"]),
    ("texts", [["a", "b"]], ["BYTES", [1, 2], ["a", "b"], "str"]),
    ("nulls", [[1.5, None]], ["FP64", [1, 2], [1.5, None], "np"]),
    ("no columns", [[], []], ["BYTES", [2, 0], [], "str"]),
    ("numpy dates", [np.datetime64("2020-01-01")], ["BYTES", [1, 1], ["2020-01-01"], "datetime"]),
    ("numpy texts", [np.str_("a"), np.str_("bc")], ["BYTES", [2, 1], ["a", "bc"], "str"]),
    ("unsigned", [2**63], ["UINT64", [1, 1], [2**63], "np"]),
    ("huge", [2**70], ["BYTES", [1, 1], [str(2**70)], "pd_json"]),
    ("huge beside a fraction", [0.5, 2**60 + 1], ["BYTES", [2, 1], ["0.5", str(2**60 + 1)], "pd_json"]),
    ("deep", json.loads("[" * 100 + "]" * 100), ["BYTES", [1] * 64, ["[" * 36 + "]" * 36], "pd_json"]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "output"), [t[1:] for t in NESTED], ids=[t[0] for t in NESTED])
def test_what_does_not_fit_a_tensor_is_json_documents(value: Any, output: list[Any]):
    (made,) = answer(value)["outputs"]
    assert [made["datatype"], made["shape"], made["data"], made["parameters"]["content_type"]] == output


@pytest.mark.parametrize(
    ("value", "document"),
    [
        ({"a": np.str_("x"), "n": 1}, {"a": "x", "n": 1}),
        ({"a": np.datetime64("2020-01-01")}, {"a": "2020-01-01"}),
        ({"a": [1, 2]}, {"a": [1, 2]}),
    ],
)
def test_a_dict_of_other_than_numbers_is_one_document(value: Any, document: Any):
    (made,) = answer(value)["outputs"]
    assert (made["shape"], json.loads(made["data"][0])) == ([1], document)


@pytest.mark.parametrize(
    ("type_", "value", "datatype"),
    [
        ("integer", [1, 2], "INT32"),
        ("integer", [2**31], "INT64"),
        ("double", [1, 2], "FP64"),
        ("double", [2**60], "INT64"),
        ("float", [0.5, 1], "FP32"),
        ("float", [1e39], "FP64"),
        ("float", [2**24 + 1], "INT64"),
        ("float", [None], "FP32"),
        ("long", [], "INT64"),
        ("long", [1, None], "BYTES"),
        ("string", ["x"], "BYTES"),
        ("boolean", [True], "BOOL"),
    ],
)
def test_python_values_have_the_declared_datatype_if_it_holds_them(type_: str, value: Any, datatype: str):
    (made,) = answer(value, outputs=columns(y=type_))["outputs"]
    assert (made["name"], made["datatype"]) == ("y", datatype)


def test_columns_without_names_are_answered_with_those_of_the_metadata():
    unnamed = json.dumps([{"type": "long", "required": True}] * 2)
    made = answer(pd.DataFrame([[1, 2]]), outputs=unnamed)["outputs"]
    assert [o["name"] for o in made] == ["output-0", "output-1"]


def test_nullable_columns_are_numbers_where_no_cell_is_missing():
    frame = pd.DataFrame({"n": pd.array([1], "UInt8"), "b": pd.array([True], "boolean")})
    assert [o["datatype"] for o in answer(frame)["outputs"]] == ["UINT8", "BOOL"]
    (holed,) = answer(pd.DataFrame({"n": pd.array([1, None], "Int64")}))["outputs"]
    assert (holed["datatype"], holed["data"]) == ("BYTES", ["1", "null"])


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(recipes)
def test_whatever_invocations_can_write_is_an_answer_here_too(recipe: Any):
    try:
        encoding.dumps(made(json.loads(json.dumps(recipe))))
    except RefusedError:
        return
    for output in answer(made(json.loads(json.dumps(recipe))))["outputs"]:
        assert len(output["data"]) == math.prod(output["shape"])
        values = [v for v in output["data"] if v is not None]
        assert all(isinstance(v, _HELD[output["datatype"]]) for v in values)


_HELD: dict[str, Any] = {"BYTES": str, "BOOL": bool} | dict.fromkeys(("FP16", "FP32", "FP64"), float)
_HELD |= {f"{sign}INT{bits}": int for sign in ("", "U") for bits in (8, 16, 32, 64)}


def test_what_has_no_tensor_form_is_an_internal_error():
    with pytest.raises(RefusedError) as caught:
        answer([1j])
    assert caught.value.status == 500
