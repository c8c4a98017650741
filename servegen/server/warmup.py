"""The model's own example, sent through the server before it is ready."""

from __future__ import annotations

import asyncio
from typing import Any

from servegen.server.app import WARM_UP, App

_TIMES = 2
"""The second run finds what the first one had to import or compile."""


class StartError(Exception):
    """The model cannot be served."""


async def warm_up(app: App, workers: int, example: bytes) -> None:
    """Let each of `workers` answer `example` twice, by the whole way of a request.

    Raises StartError when the answer is no 200.
    """
    merges, app.dispatcher.merges = app.dispatcher.merges, False
    try:
        for _ in range(_TIMES):
            # As many at once as there are workers, unmerged: each is given one.
            await asyncio.gather(*(_ask(app, example) for _ in range(workers)))
    finally:
        app.dispatcher.merges = merges


async def _ask(app: App, example: bytes) -> None:
    answer: dict[str, Any] = {"body": b""}
    bodies = [example]

    async def receive() -> dict[str, Any]:
        if not bodies:
            # Nobody leaves here.
            await asyncio.Event().wait()
        return {"type": "http.request", "body": bodies.pop(), "more_body": False}

    async def send(message: Any) -> None:
        answer["status"] = message.get("status", answer.get("status"))
        answer["body"] += message.get("body", b"")

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/invocations",
        "headers": [(b"content-type", b"application/json"), (b"x-request-id", b"warm-up")],
        WARM_UP: True,
    }
    await app(scope, receive, send)
    if answer["status"] != 200:
        msg = (
            f"the model's serving_input_example.json is answered with {answer['status']}: "
            f"{answer['body'].decode(errors='replace')[:500]} (SERVEGEN_WARMUP=skip starts without it)"
        )
        raise StartError(msg)
