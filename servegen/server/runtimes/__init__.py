"""What hosts the application; one file a runtime."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Protocol, cast

from servegen.server.app import App
from servegen.server.http import Receive, Scope, Send
from servegen.server.settings import Settings

ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]


class Runtime(Protocol):
    """A framework around the application."""

    def __init__(self, app: App, settings: Settings) -> None: ...

    def prepare(self) -> None:
        """Import what is slow; runs in the thread that loads the model."""

    async def rest(self) -> ASGI | None:
        """The application that answers what is not one of our routes, started; None without one."""

    async def close(self) -> None:
        """End what `rest` started."""


def find(name: str) -> type[Runtime]:
    """The runtime in the file `name`."""
    return cast("type[Runtime]", import_module(f"servegen.server.runtimes.{name}").RUNTIME)
