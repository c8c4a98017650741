import asyncio
import threading
from typing import Any

import pytest

from servegen.server.warmup import StartError, warm_up
from tests.server.asgi import TOY, Sum, model_file, run, toy

EXAMPLE = b'{"dataframe_records": [{"a": 1.5, "b": 2}, {"a": 2.5, "b": 3}]}'


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
