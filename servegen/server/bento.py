"""The model as a BentoML Service: `bentoml serve servegen.server.bento:service` works with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import bentoml

from servegen.server.app import App


def build(app: App, *, start: Callable[[], Awaitable[None]] | None = None) -> Any:
    """A Service with `app` mounted at its root; `start` runs when BentoML hosts it itself."""

    class ModelService:
        """Serves one MLflow model."""

        @bentoml.on_startup  # type: ignore[untyped-decorator]  # BentoML comes without types
        async def load(self) -> None:
            """Load the model where no one else does."""
            if start is not None:
                await start()

    service = bentoml.service(name="servegen")(ModelService)
    service.mount_asgi_app(app, path="/", name="servegen")
    return service


def __getattr__(name: str) -> Any:
    # BentoML looks the Service up by name, in each of its processes; the environment says what to serve.
    if name != "service":
        raise AttributeError(name)
    from servegen.server.boot import boot, make_app
    from servegen.server.lifecycle import load, start

    settings = boot()
    app = make_app(settings)
    return build(app, start=lambda: start(app, settings, lambda: load(app, settings)))
