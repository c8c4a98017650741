"""Talks to an ASGI application in process, and builds applications around small models."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from servegen.server.app import App, Phase
from servegen.server.inputs import Columns
from servegen.server.modelfile import ModelFile
from servegen.server.settings import Settings
from servegen.server.signature import Signature


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    app: Any,
    method: str,
    path: str,
    body: bytes | str = b"",
    headers: Mapping[str, str] | None = None,
    pieces: int = 1,
) -> Answer:
    content = body.encode() if isinstance(body, str) else body
    size = max(1, -(-len(content) // pieces))
    parts = [content[i : i + size] for i in range(0, len(content), size)] or [b""]
    if headers is None:
        headers = {"content-type": "application/json"} if method == "POST" else {}
    answer = Answer()

    async def receive() -> Any:
        if not parts:
            await asyncio.Event().wait()
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            answer.body += message["body"]

    raw = [(k.lower().encode(), v.encode()) for k, v in headers.items()]
    await app({"type": "http", "method": method, "path": path, "headers": raw}, receive, send)
    return answer


class Sum:
    """Sums the numeric columns of each row."""

    def predict(self, data: Any, params: Any) -> Any:
        assert isinstance(data, Columns)
        numbers = [c for c, t in zip(data.cells, data.dtypes, strict=True) if t != "text"]
        return [float(sum(row)) for row in zip(*numbers, strict=True)]

    def stream(self, data: Any, params: Any) -> Any:
        yield {"word": "one"}
        yield {"word": "two"}


def columns(**types: str) -> str:
    """The `inputs` text of a signature; a `?` after the type makes a column optional."""
    return json.dumps(
        [{"name": n, "type": t.rstrip("?"), "required": not t.endswith("?")} for n, t in types.items()]
    )


def model_file(
    inputs: str | None = None,
    *,
    outputs: str | None = None,
    params: str | None = None,
    streamable: bool = False,
    example: bytes | None = None,
    threads: int = 1,
    name: str = "toy",
    type_hints: bool = False,
) -> ModelFile:
    block = {"inputs": inputs, "outputs": outputs, "params": params}
    return ModelFile(
        path=Path("/nowhere/toy"),
        name=name,
        version="1",
        flavor="sklearn",
        run_id="r1",
        mlflow_version="3.17.2",
        signature=Signature.parse(block, type_hints=type_hints),
        example=example,
        streamable=streamable,
        type_hint_from_example=False,
        threads=threads,
        batchable=True,
    )


TOY = columns(a="double", b="long")
BODY = '{"dataframe_records": [{"a": 1.5, "b": 2}]}'


@asynccontextmanager
async def toy(model: ModelFile | None = None, predictor: Any = None, **settings: Any) -> AsyncIterator[App]:
    """A ready application around a predictor of the test's own."""
    chosen = Settings(model=Path("/nowhere/toy"), **settings)
    app = App(model or model_file(TOY), chosen, version="0.0")
    app.serve([predictor or Sum()])
    app.enter(Phase.READY)
    yield app


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine to its end."""

    async def limited() -> None:
        await asyncio.wait_for(scenario(), 20)

    asyncio.run(limited())
