"""A BentoML Service around the application.

BentoML's middleware costs a factor of ten, so our routes are answered before it; the rest falls through.
"""

from __future__ import annotations

import asyncio

from servegen.server.app import App
from servegen.server.http import Message
from servegen.server.runtimes import ASGI, Runtime
from servegen.server.settings import Settings


class Bentoml:
    """Starts the Service's own application behind ours."""

    def __init__(self, app: App, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._behind: ASGI | None = None
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self._life: asyncio.Future[None] | None = None

    def prepare(self) -> None:
        """Import BentoML and build its application."""
        from servegen.server.bento import build

        self._behind = build(self._app, self._settings).to_asgi()

    async def rest(self) -> ASGI | None:
        """BentoML's application, started."""
        if self._behind is None:
            self.prepare()
        behind = self._behind
        if behind is not None:
            scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
            self._life = asyncio.ensure_future(behind(scope, self._events.get, self._answers.put))
            await self._tell("lifespan.startup")
        return behind

    async def close(self) -> None:
        """Shut the Service down."""
        if self._life is not None:
            await self._tell("lifespan.shutdown")
            await self._life

    async def _tell(self, event: str) -> None:
        await self._events.put({"type": event})
        answer = await self._answers.get()
        if answer["type"] != f"{event}.complete":
            msg = f"BentoML answered {event} with {answer.get('message') or answer['type']}"
            raise RuntimeError(msg)


RUNTIME: type[Runtime] = Bentoml
