"""Calls of the model that outlast the deadline: who ends them, and what the server shows of them."""

import asyncio
from typing import Any

import pytest

from servegen.server.errors import RefusedError
from tests.server.asgi import run
from tests.server.test_dispatch import Gate, call, dispatcher


class Hanging(Gate):
    """A model whose call ends when it is interrupted, if it can be."""

    def __init__(self, *, stoppable: bool) -> None:
        super().__init__()
        self.stoppable = stoppable
        self.interrupts = 0

    def interrupt(self) -> bool:
        self.interrupts += 1
        if self.stoppable:
            self.open.set()
        return self.stoppable


def test_a_call_that_nobody_waits_for_any_more_is_interrupted():
    async def scenario() -> None:
        model = Hanging(stoppable=True)
        made = dispatcher(model, timeout=0.05)
        with pytest.raises(RefusedError):
            await made.run(call(0))
        while not model.interrupts:
            await asyncio.sleep(0.001)
        assert await made.run(call(1)) == b"1"
        assert not made.is_stuck
        assert not made.lost.is_set()

    run(scenario)


def test_a_model_that_nothing_can_stop_is_seen_and_given_up_in_the_end():
    async def scenario() -> None:
        model = Hanging(stoppable=False)
        made = dispatcher(model, timeout=0.05)
        assert not made.is_stuck
        with pytest.raises(RefusedError):
            await made.run(call(0))
        while not made.is_stuck:
            await asyncio.sleep(0.001)
        assert made.stuck == 1
        assert not made.lost.is_set()
        await asyncio.wait_for(made.lost.wait(), 10)
        model.open.set()

    run(scenario)


def test_a_model_with_another_thread_that_answers_is_not_given_up():
    async def scenario() -> None:
        class Half(Hanging):
            def predict(self, data: Any, params: Any) -> Any:
                return super().predict(data, params) if data.value == "hang" else data.value

        model = Half(stoppable=False)
        made = dispatcher(model, timeout=0.05, threads=2)
        with pytest.raises(RefusedError):
            await made.run(call("hang"))
        while model.interrupts < 8:
            assert await made.run(call("x")) == b"x"
        assert (made.stuck, made.is_stuck, made.lost.is_set()) == (1, False, False)
        model.open.set()

    run(scenario)


def test_a_call_whose_client_has_left_is_interrupted_too():
    async def scenario() -> None:
        model = Hanging(stoppable=True)
        made = dispatcher(model, timeout=0.05)
        left = asyncio.ensure_future(made.run(call(0)))
        while not model.seen:
            await asyncio.sleep(0.001)
        left.cancel()
        while not model.interrupts:
            await asyncio.sleep(0.001)
        assert await made.run(call(1)) == b"1"

    run(scenario)
