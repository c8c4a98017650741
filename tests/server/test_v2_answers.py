import datetime
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from servegen.server.errors import RefusedError
from servegen.server.v2 import OpenInference
from tests.server.asgi import TOY, model_file

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


def test_integers_beyond_64_bit_are_written_all_the_same():
    assert answer([2**70])["outputs"][0]["data"] == [2**70]


def test_what_has_no_tensor_form_is_an_internal_error():
    with pytest.raises(RefusedError) as caught:
        answer([1j])
    assert caught.value.status == 500
