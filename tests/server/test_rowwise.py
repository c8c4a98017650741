import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from servegen.server.inputs import Arrays, Columns
from servegen.server.rowwise import answers_row_by_row, changed
from servegen.server.warmup import StartError
from tests.server.asgi import Sum, model_file, run, toy

EXAMPLE = b'{"dataframe_records": [{"a": 1.5, "b": 2}, {"a": 2.5, "b": 3}]}'
ONE_ROW = b'{"dataframe_records": [{"a": 1.5, "b": 2}]}'


class Mean(Sum):
    def predict(self, data: Any, params: Any) -> Any:
        sums = super().predict(data, params)
        return [value / len(sums) for value in sums]


class Total(Sum):
    def predict(self, data: Any, params: Any) -> Any:
        return [sum(super().predict(data, params))]


class Centred(Sum):
    def predict(self, data: Any, params: Any) -> Any:
        sums = super().predict(data, params)
        return [value - sum(sums) / len(sums) for value in sums]


class Spread(Sum):
    """Doubling the rows changes neither minimum nor maximum."""

    def predict(self, data: Any, params: Any) -> Any:
        sums = super().predict(data, params)
        return [value - min(sums) for value in sums]


class Running(Sum):
    def predict(self, data: Any, params: Any) -> Any:
        sums: Sequence[float] = super().predict(data, params)
        return [sum(sums[: i + 1]) for i in range(len(sums))]


class LookingAhead(Sum):
    def predict(self, data: Any, params: Any) -> Any:
        sums: Sequence[float] = super().predict(data, params)
        return [sum(sums[i:]) for i in range(len(sums))]


class Strict(Sum):
    """Knows the values of the example only."""

    def predict(self, data: Any, params: Any) -> Any:
        if not set(data.cells[1]) <= {2, 3}:
            raise ValueError("unknown")
        return super().predict(data, params)


class StrictTotal(Strict):
    def predict(self, data: Any, params: Any) -> Any:
        return [sum(super().predict(data, params))] * data.rows


class Rounding(Sum):
    def predict(self, data: Any, params: Any) -> Any:
        return [value * (1 + data.rows * 1e-16) for value in super().predict(data, params)]


class Single(Sum):
    """Computes with float32, whose sums depend on how many there are."""

    def predict(self, data: Any, params: Any) -> Any:
        weights = np.random.default_rng(0).normal(size=(2, 512)).astype("float32")
        inputs = np.array(data.cells, dtype="float32").T
        hidden = np.tanh(inputs @ weights + np.float32(data.rows * 1e-7))
        return list((hidden @ weights.T @ weights[:, :8]).tolist())


class Chance(Sum):
    def predict(self, data: Any, params: Any) -> Any:
        return [value * random.random() for value in super().predict(data, params)]


class Picky(Sum):
    def predict(self, data: Any, params: Any) -> Any:
        if data.rows > 2:
            raise ValueError("too many")
        return super().predict(data, params)


@pytest.mark.parametrize(
    ("predictor", "row_by_row"),
    [
        (Sum(), True),
        (Rounding(), True),
        (Chance(), True),
        (Strict(), True),
        (Single(), True),
        (Mean(), False),
        (Total(), False),
        (Centred(), False),
        (Spread(), False),
        (Running(), False),
        (LookingAhead(), False),
        (StrictTotal(), False),
        (Picky(), False),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("example", [EXAMPLE, ONE_ROW], ids=["two", "one"])
def test_a_model_that_looks_at_the_whole_frame_is_found(predictor: Any, row_by_row: bool, example: bytes):
    async def scenario() -> None:
        async with toy(predictor=predictor) as app:
            assert answers_row_by_row(app, predictor, example) is row_by_row

    run(scenario)


def test_a_request_that_never_shares_a_batch_needs_no_probe():
    class Refusing(Sum):
        def predict(self, data: Any, params: Any) -> Any:
            raise AssertionError("nobody has asked")

    async def scenario() -> None:
        async with toy(model_file(None)) as app:
            assert answers_row_by_row(app, Refusing(), b'{"messages": []}')

    run(scenario)


@pytest.mark.parametrize("step", [1, -1])
def test_the_neighbours_of_the_probe_are_other_rows_of_the_same_kind(step: int):
    columns = Columns(
        names=("f", "i", "b", "t"),
        dtypes=("float64", "int32", "bool", "text"),
        cells=([1.0, float("nan")], [2**31 - 1, 3], [True, False], ["x", "y"]),
        rows=2,
    )
    other = changed(columns, step=step)
    assert isinstance(other, Columns)
    assert (other.cells[0][0] - 1) * step > 0
    # Never more than a table of that many rows would have.
    assert list(other.cells[1]) == [2**30 - 1, 1]
    assert list(other.cells[2]) == [False, True]
    for dtype in ("float32", "int8", "uint64", "bool"):
        array = np.array([[3, 1], [1, 2]], dtype=dtype)
        found = changed(Arrays(value=array), step=step)
        assert isinstance(found, Arrays)
        assert found.value.dtype == array.dtype
        assert (found.value != array).all()
        assert dtype == "float32" or (found.value <= array).all()


def test_a_model_that_breaks_on_other_rows_does_not_start():
    class Fragile(Sum):
        """As a GPU after an assertion has failed on it."""

        broken = False

        def predict(self, data: Any, params: Any) -> Any:
            self.broken |= data.rows > 2
            if self.broken:
                raise RuntimeError("device-side assert")
            return super().predict(data, params)

    async def scenario() -> None:
        fragile = Fragile()
        async with toy(predictor=fragile) as app:
            with pytest.raises(StartError, match="SERVEGEN_BATCH_MAX_ROWS=1"):
                answers_row_by_row(app, fragile, EXAMPLE)

    run(scenario)
