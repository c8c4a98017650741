import asyncio
import gc
import json
import math
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest

from servegen.server.dispatch import Dispatcher
from servegen.server.errors import RefusedError
from servegen.server.inputs import Call, Columns, Whole
from servegen.server.metrics import Metrics
from tests.server.asgi import model_file, run


class Gate:
    """Predicts when it is told to, and remembers what it saw."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.seen: list[Any] = []

    def predict(self, data: Any, params: Any) -> Any:
        self.seen.append(data.value)
        assert self.open.wait(10)
        if isinstance(data.value, Exception):
            raise data.value
        return data.value

    def stream(self, data: Any, params: Any) -> Any:
        yield data.value


def call(value: Any) -> Call:
    return Call(input=Whole(value=value), params=None, encode=lambda v: str(v).encode())


def dispatcher(
    predictor: Any, *, queue_size: int = 10, timeout: float = 5, threads: int = 1, batch_rows: int = 1
) -> Dispatcher:
    metrics = Metrics(model_file(), queue_limit=queue_size)
    made = Dispatcher(
        queue_size=queue_size, timeout=timeout, batch_rows=batch_rows, batch_wait=0.002, metrics=metrics
    )
    made.start([predictor] * threads)
    return made


def row(*values: Any, name: str = "a", params: Any = None) -> Call:
    """A call with one numeric column; its answer is the list of what the model made of its rows."""
    columns = Columns(names=(name,), dtypes=("float64",), cells=(list(values),), rows=len(values))
    return Call(input=columns, params=params, encode=lambda answer: json.dumps(list(answer)).encode())


class Doubling:
    """Doubles each row; the first call waits, so that the next ones gather."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.seen: list[list[Any]] = []

    def predict(self, data: Any, params: Any) -> Any:
        cells = list(data.cells[0])
        self.seen.append(cells)
        assert self.open.wait(10)
        if "bad" in cells:
            raise ValueError("bad")
        return [2 * cell for cell in cells]

    def stream(self, data: Any, params: Any) -> Any:
        raise NotImplementedError


async def gathered(made: Dispatcher, model: Doubling, *calls: Call) -> list[Any]:
    """The answers to `calls`, which all wait while the model is busy with a call before them."""
    first = asyncio.ensure_future(made.run(row(0)))
    while not model.seen:
        await asyncio.sleep(0.001)
    answers = [asyncio.ensure_future(made.run(each)) for each in calls]
    await asyncio.sleep(0.01)
    model.open.set()
    assert await first == b"[0]"
    return await asyncio.gather(*answers, return_exceptions=True)


async def reached(gate: Gate, count: int) -> None:
    while len(gate.seen) < count:
        await asyncio.sleep(0.001)


def test_calls_reach_the_model_one_at_a_time_in_order():
    async def scenario() -> None:
        gate = Gate()
        made = dispatcher(gate)
        answers = [asyncio.ensure_future(made.run(call(n))) for n in range(5)]
        await reached(gate, 1)
        await asyncio.sleep(0.01)
        assert gate.seen == [0]
        assert (made.accepted, made.waiting) == (5, 4)
        gate.open.set()
        assert await asyncio.gather(*answers) == [b"0", b"1", b"2", b"3", b"4"]
        assert gate.seen == [0, 1, 2, 3, 4]
        assert (made.accepted, made.waiting) == (0, 0)

    run(scenario)


def test_more_threads_call_the_model_side_by_side():
    async def scenario() -> None:
        gate = Gate()
        made = dispatcher(gate, threads=2)
        answers = [asyncio.ensure_future(made.run(call(n))) for n in range(2)]
        await reached(gate, 2)
        gate.open.set()
        assert await asyncio.gather(*answers) == [b"0", b"1"]

    run(scenario)


def test_a_full_queue_refuses_and_says_when_to_come_back():
    async def scenario() -> None:
        gate = Gate()
        made = dispatcher(gate, queue_size=2)
        first = asyncio.ensure_future(made.run(call(0)))
        await reached(gate, 1)
        waiting = [asyncio.ensure_future(made.run(call(n))) for n in (1, 2)]
        await asyncio.sleep(0.01)
        with pytest.raises(RefusedError) as caught:
            await made.run(call(3))
        assert (caught.value.status, caught.value.code) == (429, "RESOURCE_EXHAUSTED")
        assert caught.value.retry_after >= 1
        gate.open.set()
        assert await asyncio.gather(first, *waiting) == [b"0", b"1", b"2"]
        assert await made.run(call(4)) == b"4"

    run(scenario)


def test_a_call_that_is_too_late_never_reaches_the_model():
    async def scenario() -> None:
        gate = Gate()
        made = dispatcher(gate, timeout=0.05)
        answers = [asyncio.ensure_future(made.run(call(n))) for n in range(2)]
        for answer in answers:
            with pytest.raises(RefusedError) as caught:
                await answer
            assert (caught.value.status, caught.value.code) == (504, "DEADLINE_EXCEEDED")
        assert made.accepted == 0
        gate.open.set()
        assert await made.run(call(2)) == b"2"
        assert gate.seen == [0, 2]

    run(scenario)


def test_a_client_that_leaves_the_queue_frees_its_place():
    async def scenario() -> None:
        gate = Gate()
        made = dispatcher(gate, queue_size=1)
        first = asyncio.ensure_future(made.run(call(0)))
        await reached(gate, 1)
        second = asyncio.ensure_future(made.run(call(1)))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0.01)
        third = asyncio.ensure_future(made.run(call(2)))
        await asyncio.sleep(0.01)
        gate.open.set()
        assert await asyncio.gather(first, third) == [b"0", b"2"]
        assert gate.seen == [0, 2]

    run(scenario)


def test_what_was_dropped_leaves_nothing_behind():
    class Body:
        pass

    async def scenario() -> None:
        gate = Gate()
        made = dispatcher(gate, queue_size=3)
        first = asyncio.ensure_future(made.run(call(0)))
        await reached(gate, 1)
        bodies = [Body() for _ in range(5)]
        seen = [weakref.ref(body) for body in bodies]
        while bodies:
            dropped = asyncio.ensure_future(made.run(call(bodies.pop())))
            await asyncio.sleep(0.001)
            dropped.cancel()
            await asyncio.sleep(0.001)
        del dropped
        gc.collect()
        assert [reference() for reference in seen] == [None] * 5
        gate.open.set()
        assert await first == b"0"

    run(scenario)


def test_what_the_model_raises_goes_to_its_own_client():
    async def scenario() -> None:
        gate = Gate()
        gate.open.set()
        made = dispatcher(gate)
        good, bad = await asyncio.gather(
            made.run(call("x")), made.run(call(KeyError("k"))), return_exceptions=True
        )
        assert good == b"x"
        assert isinstance(bad, KeyError)

    run(scenario)


def test_even_sys_exit_ends_one_request_only():
    class Exits(Gate):
        def predict(self, data: Any, params: Any) -> Any:
            if data.value == "exit":
                raise SystemExit(3)
            return data.value

    async def scenario() -> None:
        made = dispatcher(Exits())
        with pytest.raises(RuntimeError, match="SystemExit"):
            await made.run(call("exit"))
        assert await made.run(call("x")) == b"x"

    run(scenario)


def test_a_stream_is_stepped_in_one_thread_until_its_client_leaves():
    async def scenario() -> None:
        threads: set[int] = set()
        closed = threading.Event()

        def chunks() -> Any:
            try:
                while True:
                    threads.add(threading.get_ident())
                    time.sleep(0.001)
                    yield b"x"
            finally:
                threads.add(threading.get_ident())
                closed.set()

        made = dispatcher(Gate())
        stream = made.stream(chunks)
        assert [await anext(stream) for _ in range(3)] == [b"x"] * 3
        assert made.accepted == 1
        await stream.aclose()
        assert await asyncio.to_thread(closed.wait, 5)
        assert len(threads) == 1
        assert made.accepted == 0

    run(scenario)


def test_a_stream_that_stalls_meets_the_deadline():
    async def scenario() -> None:
        stall = threading.Event()

        def chunks() -> Any:
            yield b"x"
            stall.wait(5)

        stream = dispatcher(Gate(), timeout=0.05).stream(chunks)
        assert await anext(stream) == b"x"
        with pytest.raises(RefusedError) as caught:
            await anext(stream)
        stall.set()
        assert caught.value.status == 504

    run(scenario)


def test_a_client_that_reads_nothing_stops_the_model_a_few_chunks_ahead():
    async def scenario() -> None:
        made_chunks: list[int] = []
        closed = threading.Event()

        def chunks() -> Any:
            try:
                for n in range(10_000):
                    made_chunks.append(n)
                    yield b"%d" % n
            finally:
                closed.set()

        stream = dispatcher(Gate()).stream(chunks)
        assert await anext(stream) == b"0"
        await asyncio.sleep(0.1)
        assert len(made_chunks) < 50
        assert [await anext(stream) for _ in range(200)] == [b"%d" % n for n in range(1, 201)]
        await stream.aclose()
        assert await asyncio.to_thread(closed.wait, 5)

    run(scenario)


def test_what_waits_is_merged_up_to_the_limit_and_each_client_gets_its_own_rows():
    async def scenario() -> None:
        model = Doubling()
        made = dispatcher(model, batch_rows=4)
        answers = await gathered(made, model, row(1), row(2, 3), row(4), row(5))
        assert answers == [b"[2]", b"[4, 6]", b"[8]", b"[10]"]
        assert model.seen == [[0], [1, 2, 3, 4], [5]]

    run(scenario)


def test_other_params_and_other_columns_are_not_merged():
    async def scenario() -> None:
        model = Doubling()
        made = dispatcher(model, batch_rows=64)
        model.open.set()
        # The first call of each kind is a lone one.
        for lone in (row(8, params={"k": 1}), row(9, name="b")):
            await made.run(lone)
        model.open.clear()
        model.seen.clear()
        calls = row(1), row(2, params={"k": 1}), row(3, name="b"), row(4), row(5, params={"k": 1})
        assert await gathered(made, model, *calls) == [b"[2]", b"[4]", b"[6]", b"[8]", b"[10]"]
        assert model.seen == [[0], [1, 4], [2, 5], [3]]

    run(scenario)


def test_params_that_are_only_equal_to_python_are_not_merged():
    class Signed(Doubling):
        def predict(self, data: Any, params: Any) -> Any:
            return [math.copysign(cell, params["sign"]) for cell in super().predict(data, None)]

    async def scenario() -> None:
        model = Signed()
        made = dispatcher(model, batch_rows=64)
        model.open.set()
        for sign in (0.0, -0.0):
            await made.run(row(0.25, params={"sign": sign}))
        calls = [made.run(row(1, params={"sign": sign})) for sign in (0.0, -0.0, 0.0, -0.0)]
        assert await asyncio.gather(*calls) == [b"[2.0]", b"[-2.0]", b"[2.0]", b"[-2.0]"]

    run(scenario)


def test_merging_changes_the_type_of_nobodys_answer():
    """pandas makes 1.0 of a whole number as soon as another row has a fraction."""

    class Inferring(Doubling):
        def predict(self, data: Any, params: Any) -> Any:
            return np.array(super().predict(data, params))

    def infer(value: Any) -> Call:
        return row(value)._replace(encode=lambda answer: json.dumps(answer.tolist()).encode())

    async def scenario() -> None:
        model = Inferring()
        made = dispatcher(model, batch_rows=64)
        model.open.set()
        assert await made.run(infer(1)) == b"[2]"
        model.open.clear()
        model.seen.clear()
        first = asyncio.ensure_future(made.run(infer(0)))
        while not model.seen:
            await asyncio.sleep(0.001)
        others = [asyncio.ensure_future(made.run(infer(value))) for value in (2, 0.25, 3)]
        await asyncio.sleep(0.01)
        model.open.set()
        assert await asyncio.gather(first, *others) == [b"[0]", b"[4]", b"[0.5]", b"[6]"]
        assert model.seen[1] == [2, 0.25, 3]
        # Since then it is known that a lone answer may have either type.
        model.seen.clear()
        assert await asyncio.gather(*(made.run(infer(value)) for value in (2, 3))) == [b"[4]", b"[6]"]
        assert model.seen == [[2], [3]]

    run(scenario)


def test_a_row_that_fails_fails_alone():
    async def scenario() -> None:
        model = Doubling()
        made = dispatcher(model, batch_rows=64)
        first, bad, last = await gathered(made, model, row(1), row("bad"), row(3))
        assert (first, last) == (b"[2]", b"[6]")
        assert isinstance(bad, ValueError)
        assert model.seen[1:] == [[1, "bad", 3], [1], ["bad"], [3]]
        assert made.merges

    run(scenario)


def test_a_model_that_does_not_answer_row_by_row_is_not_merged_any_more():
    class Total(Doubling):
        def predict(self, data: Any, params: Any) -> Any:
            return [sum(super().predict(data, params))]

    async def scenario() -> None:
        model = Total()
        made = dispatcher(model, batch_rows=64)
        assert await gathered(made, model, row(1), row(2, 3)) == [b"[2]", b"[10]"]
        assert not made.merges
        model.open.clear()
        model.seen.clear()
        assert await gathered(made, model, row(1), row(4)) == [b"[2]", b"[8]"]
        assert model.seen == [[0], [1], [4]]

    run(scenario)


def test_merging_can_be_turned_off():
    async def scenario() -> None:
        model = Doubling()
        made = dispatcher(model, batch_rows=1)
        assert await gathered(made, model, row(1), row(2)) == [b"[2]", b"[4]"]
        assert model.seen == [[0], [1], [2]]

    run(scenario)


def test_a_request_larger_than_a_batch_runs_whole_and_alone():
    async def scenario() -> None:
        model = Doubling()
        made = dispatcher(model, batch_rows=2)
        assert await gathered(made, model, row(1), row(2, 3, 4), row(5)) == [b"[2]", b"[4, 6, 8]", b"[10]"]
        assert model.seen == [[0], [1, 5], [2, 3, 4]]

    run(scenario)


def test_a_client_whose_answer_cannot_be_delivered_costs_the_others_nothing():
    async def scenario() -> None:
        model = Doubling()
        model.open.set()
        made = dispatcher(model, batch_rows=64)

        def broken(job: Any) -> None:
            raise OSError("gone")

        made.submit(row(1), broken)
        assert await made.run(row(2)) == b"[4]"
        assert made.accepted == 0

    run(scenario)
