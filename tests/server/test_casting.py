import math
from typing import Any

import pytest

from servegen.server.body import Overflow
from servegen.server.casting import ARRAY_CASTS, FRAME_CASTS, CellError, UnusualCellError

INF = float("inf")

ACCEPTED = [
    ("long", [1, 3.0, "3", " 4 ", True, -(2**63), 2**63 - 1], [1, 3, 3, 4, 1, -(2**63), 2**63 - 1]),
    ("long", [9007199254740993, 1.0], [9007199254740993, 1]),
    ("integer", [2**31 - 1, 1e3], [2**31 - 1, 1000]),
    ("double", [1, 2.5, "0.5", True, INF, "-inf"], [1.0, 2.5, 0.5, 1.0, INF, -INF]),
    ("double", [2**64], [float(2**64)]),
    ("float", [3.4e38, 16777217], [3.4e38, 16777217.0]),
    ("boolean", [True, False, 0, 1, 0.0, 1.0], [True, False, False, True, False, True]),
]


@pytest.mark.parametrize(("kind", "sent", "cast"), ACCEPTED)
def test_values_that_survive_the_cast_are_accepted_one_by_one_and_together(
    kind: str, sent: list[Any], cast: list[Any]
):
    assert list(FRAME_CASTS[kind](sent)) == cast
    assert [FRAME_CASTS[kind]([value])[0] for value in sent] == cast
    assert [type(v) for v in FRAME_CASTS[kind](sent)] == [type(v) for v in cast]


@pytest.mark.parametrize("kind", ["double", "float"])
def test_missing_numbers_are_nan(kind: str):
    assert all(math.isnan(v) for v in FRAME_CASTS[kind]([None, float("nan"), "nan"]))


LOSSY = [
    ("long", [3.9, 1e19, 2**63, -0.5]),
    ("integer", [2**31, -(2**31) - 1, 2**40, 1.5]),
    ("double", [Overflow(INF), "1e400"]),
    ("float", [1e39, -1e39, Overflow(INF), 3.4028235677973366e38, "1e39"]),
    ("boolean", [2, 0.5, "false", "true", None, [], {}]),
]


@pytest.mark.parametrize(
    ("kind", "value"), [(k, v) for k, values in LOSSY for v in values], ids=lambda v: str(v)[:20]
)
def test_values_that_a_cast_would_change_are_lossy(kind: str, value: Any):
    with pytest.raises(CellError) as caught:
        FRAME_CASTS[kind]([1, value])
    assert caught.value.lossy
    assert caught.value.row == 1


REFUSED = [
    ("long", [None, float("nan"), INF, "3.9", "3.0", "x", "", 2**64]),
    ("integer", [None, "x", "2147483648"]),
    ("double", ["x", "", "0x1", 10**400]),
]


@pytest.mark.parametrize(
    ("kind", "value"), [(k, v) for k, values in REFUSED for v in values], ids=lambda v: str(v)[:20]
)
def test_values_without_a_cast_are_refused_as_mlflow_does(kind: str, value: Any):
    with pytest.raises(CellError) as caught:
        FRAME_CASTS[kind]([1, value])
    assert not caught.value.lossy


def test_numpy_refuses_the_integers_that_pandas_wraps():
    with pytest.raises(CellError) as caught:
        ARRAY_CASTS["integer"]([2**31])
    assert not caught.value.lossy


def test_text_keeps_other_values_in_frames_and_turns_them_to_text_in_arrays():
    sent = ["a", 5, True, 1e16, None]
    assert list(FRAME_CASTS["string"](sent)) == sent
    assert list(ARRAY_CASTS["string"](sent)) == ["a", "5", "True", "1e+16", "None"]


@pytest.mark.parametrize(("kind", "value"), [("long", [1]), ("double", {}), ("double", [[1.0]])])
def test_nested_values_are_left_to_mlflow(kind: str, value: Any):
    with pytest.raises(UnusualCellError):
        FRAME_CASTS[kind]([value])


def test_a_reason_never_quotes_the_value():
    with pytest.raises(CellError) as caught:
        FRAME_CASTS["long"](["secret"])
    assert "secret" not in str(caught.value)
