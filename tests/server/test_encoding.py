import datetime
import decimal
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servegen.server.encoding import dumps, predictions
from servegen.server.errors import RefusedError

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
KEYS = st.text() | st.integers() | st.booleans() | st.none()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)


def without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (list, tuple)):
        return [without_nan(v) for v in value]
    if isinstance(value, dict):
        return {k: without_nan(v) for k, v in value.items()}
    return value


@given(VALUES)
def test_bytes_are_those_of_json_dumps_with_null_for_nan(value: Any):
    assert dumps(value) == json.dumps(without_nan(value)).encode()


@given(st.lists(st.floats(width=32)))
def test_arrays_are_written_as_their_lists(values: list[float]):
    expected = json.dumps(without_nan(np.array(values, dtype="float32").tolist()))
    assert dumps(np.array(values, dtype="float32")).decode() == expected


class Point(pydantic.BaseModel):
    x: int


TABLE = [
    (pd.DataFrame({"x": [1, 2], "y": ["a", None]}), '[{"x": 1, "y": "a"}, {"x": 2, "y": null}]'),
    (pd.DataFrame({"x": []}), "[]"),
    (pd.DataFrame([[1, 2.5]]), '[{"0": 1, "1": 2.5}]'),
    (pd.DataFrame({"x": [1.5]}, index=["r"]), '[{"x": 1.5}]'),
    (pd.DataFrame({"x": pd.array([1, None], dtype="Int64")}), '[{"x": 1}, {"x": null}]'),
    (
        pd.DataFrame({"t": pd.to_datetime(["2021-01-01", None])}),
        '[{"t": "2021-01-01T00:00:00"}, {"t": "NaT"}]',
    ),
    (pd.DataFrame({"b": [b"abc"]}), '[{"b": "YWJj\\n"}]'),
    (pd.Series([1.5, float("nan")]), '[{"0": 1.5}, {"0": null}]'),
    (pd.Series([1], name="p"), '[{"p": 1}]'),
    (np.arange(4).reshape(2, 2), "[[0, 1], [2, 3]]"),
    (np.array(3), "3"),
    (np.array([1.1], dtype="float32"), "[1.100000023841858]"),
    (np.array([2**64 - 1], dtype="uint64"), "[18446744073709551615]"),
    (np.array(["a", "é"]), '["a", "\\u00e9"]'),
    (np.array([b"abc"]), '["YWJj\\n"]'),
    (np.array(["2021-01-01"], dtype="datetime64[ns]"), "[1609459200000000000]"),
    (np.array(["2021-01-01"], dtype="datetime64[D]"), '["2021-01-01"]'),
    (np.array([np.array([1, 2]), "x"], dtype=object), '[[1, 2], "x"]'),
    (np.array([np.inf, -np.inf]), "[null, null]"),
    # MLflow iterates over the object of such an array.
    ({"a": np.array({"k": 1}, dtype=object)}, '{"a": ["k"]}'),
    (
        {"a": np.array([1.0, np.nan]), "b": np.float32(0.5), "c": np.bool_(True)},
        '{"a": [1.0, null], "b": 0.5, "c": true}',
    ),
    ({1: "b", None: "c"}, '{"1": "b", "null": "c"}'),
    ({"k": {"deep": [float("nan"), {"x": np.float64("inf")}]}}, '{"k": {"deep": [null, {"x": null}]}}'),
    (b"x" * 60, json.dumps("eHh4" * 19 + "\n" + "eHh4" + "\n")),
    ([datetime.date(2020, 1, 1), datetime.time(1, 2, 3)], '["2020-01-01", "01:02:03"]'),
    ([pd.Timestamp("2020-01-01", tz="UTC")], '["2020-01-01T00:00:00+00:00"]'),
    (Point(x=1), '{"x": 1}'),
    ([1e-07, 1e16, -0.0], "[1e-07, 1e+16, -0.0]"),
]


@pytest.mark.parametrize(("value", "text"), TABLE, ids=[text for _, text in TABLE])
def test_values_are_written_as_mlflow_writes_them(value: Any, text: str):
    assert dumps(value).decode() == text
    assert predictions(value).decode() == f'{{"predictions": {text}}}'


@pytest.mark.parametrize(
    "value",
    [
        [decimal.Decimal("1.5")],
        {1},
        1j,
        (i for i in range(2)),
        {"a": pd.DataFrame({"x": [1]})},
        {(1, 2): 3},
        np.array([1j]),
        object(),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_has_no_json_form_is_an_internal_error(value: Any):
    with pytest.raises(RefusedError) as caught:
        dumps(value)
    assert (caught.value.status, caught.value.code) == (500, "INTERNAL_ERROR")


def test_a_value_that_holds_itself_is_an_internal_error():
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(RefusedError):
        dumps(endless)
