"""The model's own example, sent through the server before it is ready."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from servegen.server import batching
from servegen.server.app import WARM_UP, App
from servegen.server.compare import differ
from servegen.server.predictors import Predictor

_log = logging.getLogger("servegen")
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


def answers_row_by_row(app: App, predictor: Predictor, example: bytes) -> bool:
    """Whether rows of `example` are answered alike when there are more of them; True if nobody can tell."""
    call = app.lanes[b"/invocations"].read(example)
    if call is None or batching.kind(call) is None:
        return True
    rows = batching.rows(call.input)

    def ask(times: int) -> list[Any]:
        answer = predictor.predict(batching.merge([call.input] * times), call.params)
        parts = batching.split(answer, [rows] * times)
        return [json.loads(call.encode(part)) for part in parts or ()]

    try:
        for _ in range(_TIMES):
            (alone,), together = ask(1), ask(2)
            if together and not any(differ(part, alone) for part in together):
                return True
        # A model that answers at random says nothing about its rows.
        return bool(together) and differ(ask(1)[0], alone) is not None
    except Exception:  # noqa: BLE001  a model may raise anything at more rows than it has been shown
        return False


async def _ask(app: App, example: bytes) -> None:
    answer: dict[str, Any] = {"body": b""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": example, "more_body": False}

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
