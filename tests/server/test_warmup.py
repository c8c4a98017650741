import asyncio
import random
import threading
from typing import Any

import pytest

from servegen.server.warmup import StartError, answers_row_by_row, warm_up
from tests.server.asgi import TOY, Sum, model_file, run, toy

EXAMPLE = b'{"dataframe_records": [{"a": 1.5, "b": 2}, {"a": 2.5, "b": 3}]}'


class Mean(Sum):
    def predict(self, data: Any, params: Any) -> Any:
        sums = super().predict(data, params)
        return [value / len(sums) for value in sums]


class Total(Sum):
    def predict(self, data: Any, params: Any) -> Any:
        return [sum(super().predict(data, params))]


class Rounding(Sum):
    def predict(self, data: Any, params: Any) -> Any:
        return [value * (1 + data.rows * 1e-16) for value in super().predict(data, params)]


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
        (Mean(), False),
        (Total(), False),
        (Picky(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_model_that_looks_at_the_whole_frame_is_found(predictor: Any, row_by_row: bool):
    async def scenario() -> None:
        async with toy(predictor=predictor) as app:
            assert answers_row_by_row(app, predictor, EXAMPLE) is row_by_row

    run(scenario)


def test_a_request_that_never_shares_a_batch_needs_no_probe():
    class Refusing(Sum):
        def predict(self, data: Any, params: Any) -> Any:
            raise AssertionError("nobody has asked")

    async def scenario() -> None:
        async with toy(model_file(None)) as app:
            assert answers_row_by_row(app, Refusing(), b'{"messages": []}')

    run(scenario)


def test_every_worker_answers_the_example_twice():
    class Counted(Sum):
        def __init__(self) -> None:
            self.threads: list[int] = []
            self.meeting = threading.Barrier(2)

        def predict(self, data: Any, params: Any) -> Any:
            self.threads.append(threading.get_ident())
            self.meeting.wait(5)
            return super().predict(data, params)

    async def scenario() -> None:
        counted = Counted()
        async with toy(model_file(TOY), predictor=Sum()) as app:
            app.serve([counted, counted])
            assert app.dispatcher.merges
            await warm_up(app, 2, EXAMPLE)
            assert app.dispatcher.merges
            assert len(counted.threads) == 4
            assert len(set(counted.threads)) == 2

    run(scenario)


def test_an_example_that_is_refused_is_an_error_with_its_reason():
    async def scenario() -> None:
        async with toy() as app:
            with pytest.raises(StartError, match=r"answered with 400.*SERVEGEN_WARMUP=skip"):
                await warm_up(app, 1, b'{"dataframe_records": [{"a": "x"}]}')
            assert app.dispatcher.accepted == 0
            await asyncio.sleep(0)

    run(scenario)
