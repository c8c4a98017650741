"""Answers in pieces: an iterator of the model's, stepped in a thread and context of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

from servegen.server.errors import late
from servegen.server.metrics import Metrics

_AHEAD = 16
"""Chunks that the model may be ahead of the client."""


async def chunks(
    source: Callable[[], Iterator[bytes]], *, timeout: float, metrics: Metrics
) -> AsyncGenerator[bytes, None]:
    """What the iterator of `source` yields; raises RefusedError when a chunk takes longer than `timeout`."""
    pump = _Pump(asyncio.get_running_loop(), source)
    try:
        while True:
            try:
                chunk = await asyncio.wait_for(pump.queue.get(), timeout)
            except asyncio.TimeoutError:
                metrics.rejected("deadline")
                raise late() from None
            if chunk is None:
                return
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk
            pump.room.release()
    finally:
        pump.stop()


class _Pump:
    """Iterates in one thread, because MLflow's streams reset a context variable at their end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, source: Callable[[], Iterator[Any]]) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.room = threading.Semaphore(_AHEAD)
        """Taken for each chunk; whoever has consumed one gives it back."""
        self._stopped = False
        self._loop = loop
        self._source = source
        threading.Thread(target=self._run, name="stream", daemon=True).start()

    def stop(self) -> None:
        """Let the thread end after the chunk that the model works on."""
        self._stopped = True
        # It may wait for room.
        self.room.release()

    def _run(self) -> None:
        last: Exception | None = None
        try:
            iterator = self._source()
            for chunk in iterator:
                self.room.acquire()
                if self._stopped:
                    break
                self._put(chunk)
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
        except BaseException as exc:  # noqa: BLE001  handed to the client's coroutine
            last = contained(exc)
        self._put(last)

    def _put(self, item: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.queue.put_nowait, item)


def contained(exc: BaseException) -> Exception:
    """`exc` as something that ends one request and not the event loop."""
    if isinstance(exc, Exception):
        return exc
    return RuntimeError(f"the model raised {type(exc).__name__}")
