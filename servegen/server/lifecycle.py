"""From loading to leaving: what has to happen before a server is ready and before it ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import TypeVar

from servegen.server import capacity, environment
from servegen.server.app import App, Phase
from servegen.server.errors import RefusedError
from servegen.server.inline import Near, measured
from servegen.server.predictors import Predictor
from servegen.server.rowwise import answers_row_by_row
from servegen.server.settings import Settings, variables
from servegen.server.warmup import StartError, warm_up

_log = logging.getLogger("servegen")
_T = TypeVar("_T")
_TICK = 0.02


def load(app: App, settings: Settings) -> Sequence[Predictor]:
    """The model of `app`, loaded, once for each thread that calls it; slow, and so for a thread."""
    model = app.model
    plan = capacity.plan(
        "onnx" if model.accelerated else model.flavor,
        size=capacity.size(model.path),
        limits=capacity.Limits(cpus=environment.cpu_limit(), memory=environment.memory_limit()),
        wishes=capacity.Wishes(processes=settings.processes, threads=settings.threads or model.threads),
    )
    _log.info("the model is called by %d processes of %d threads", plan.processes, plan.threads)
    if plan.processes > 1:
        from servegen.server.predictors import processes

        pools = environment.pools(plan.pool, variables())
        factory = processes.ONNX if model.accelerated else processes.ANY
        children = processes.load(model, settings, count=plan.processes, variables=pools, factory=factory)
        app.metrics.observe_workers(lambda: [child.pid for child in children])
        return children
    # Imports numpy, whose thread pools read the environment.
    if model.accelerated:
        from servegen.server.predictors.onnx import OnnxPredictor

        return [OnnxPredictor(model, settings)] * plan.threads
    from servegen.server.predictors import deferred

    return [deferred.load(model, settings)] * plan.threads


async def start(
    app: App, settings: Settings, loading: Callable[[], Sequence[Predictor]]
) -> Sequence[Predictor]:
    """Load the model, warm it up and let `app` serve it; raises StartError when that fails."""
    began = perf_counter()
    try:
        predictors = await in_thread(loading)
    except Exception as exc:
        msg = f"cannot load the model in {app.model.path}: {type(exc).__name__}: {exc}"
        raise StartError(msg) from exc
    app.serve(predictors)
    if settings.warmup:
        await _try_out(app, predictors)
    # What is alive now lives as long as the process: no collection shall walk through it again.
    gc.collect()
    gc.freeze()
    gc.enable()
    seconds = perf_counter() - began
    app.metrics.load_seconds.set(seconds)
    app.enter(Phase.READY)
    _log.info("model %s is ready after %.2f s", app.model.name, seconds)
    return predictors


async def _try_out(app: App, predictors: Sequence[Predictor]) -> None:
    """Let the model answer its example, and find out how it is best called."""
    example = app.model.example
    if example is not None:
        await warm_up(app, len(predictors), example)
    if app.model.accelerated:
        # A process of its own is never quicker than a thread.
        if all(each is predictors[0] for each in predictors):
            await in_thread(partial(_choose_pace, app, predictors[0]))
        return
    if example is None or not app.dispatcher.merges:
        return
    if not await in_thread(partial(answers_row_by_row, app, predictors[0], example)):
        _log.warning("an answer depends on the other rows of a request: requests are not merged")
        app.dispatcher.merges = False


def _choose_pace(app: App, predictor: Predictor) -> None:
    """Let the event loop call a model that is quicker than a thread; merge only what that makes cheaper.

    A graph answers row by row; the proof has shown it.
    """
    from servegen.server.predictors.onnx import OnnxPredictor

    if not isinstance(predictor, OnnxPredictor):
        return
    try:
        call = app.lanes[b"/invocations"].read(predictor.usual())
        if call is None:
            return
        pace = measured(predictor, call)
    except RefusedError:
        _log.info("the model has no example and does not take a made-up row: threads call it")
        return
    app.dispatcher.merges &= pace.merging_pays
    if pace.rows:
        pace = replace(pace, merging_pays=app.dispatcher.merges)
        app.dispatcher.near = Near(predictor, pace, app.metrics)
        _log.info("calls of up to %d rows are made where they are read: the model is that quick", pace.rows)


async def complete(predictors: Sequence[Predictor]) -> None:
    """Load what `predictors` need for unusual requests only, while they answer the others."""
    try:
        # Those of one process are one.
        for predictor in {id(each): each for each in predictors}.values():
            await in_thread(predictor.complete)
    except Exception:  # noqa: BLE001  requests that need it try again, and fail alone
        _log.warning("a part of the model's libraries cannot be loaded", exc_info=True)
    gc.freeze()


async def drain(app: App, *, delay: float, timeout: float) -> float:
    """Let clients go elsewhere for `delay` seconds, then finish what was accepted within `timeout`.

    What is left of `timeout`, in seconds.
    """
    app.enter(Phase.LEAVING)
    _log.info("leaving: not ready any more, serving for another %g s", delay)
    await asyncio.sleep(delay)
    app.enter(Phase.CLOSED)
    end = perf_counter() + timeout
    while app.dispatcher.accepted and perf_counter() < end:
        await asyncio.sleep(_TICK)
    if app.dispatcher.accepted:
        _log.warning("%d requests were not finished in %g s", app.dispatcher.accepted, timeout)
    return max(0.0, end - perf_counter())


async def in_thread(function: Callable[[], _T]) -> _T:
    """What `function` returns, called in a thread that does not keep the process alive."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only beside an error

    def work() -> None:
        result: _T | None = None
        error: BaseException | None = None
        try:
            result = function()
        except SystemExit as exc:
            error = RuntimeError(f"it called sys.exit({exc.code})")
        except BaseException as exc:  # noqa: BLE001  handed to the coroutine
            error = exc
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name="load", daemon=True).start()
    return await future
