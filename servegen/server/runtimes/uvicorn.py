"""The leanest runtime: uvicorn alone."""

from __future__ import annotations

from servegen.server.app import App
from servegen.server.runtimes import ASGI, Runtime
from servegen.server.settings import Settings


class Uvicorn:
    """Adds nothing to the application."""

    def __init__(self, app: App, settings: Settings) -> None: ...

    def prepare(self) -> None:
        """Nothing is slow."""

    async def rest(self) -> ASGI | None:
        """The application itself answers everything."""
        return None

    async def close(self) -> None:
        """Nothing was started."""


RUNTIME: type[Runtime] = Uvicorn
