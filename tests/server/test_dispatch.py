import asyncio
import threading
import time
from typing import Any

import pytest

from servegen.server.dispatch import Dispatcher
from servegen.server.errors import RefusedError
from servegen.server.inputs import Call, Whole
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


def dispatcher(predictor: Any, *, queue_size: int = 10, timeout: float = 5, threads: int = 1) -> Dispatcher:
    metrics = Metrics(model_file(), queue_limit=queue_size)
    made = Dispatcher(queue_size=queue_size, timeout=timeout, threads=threads, metrics=metrics)
    made.start(predictor)
    return made


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
        await asyncio.sleep(0)
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
