"""The model as a BentoML Service.

`bentoml serve servegen.server.bento:service` works with it, and so does `bentoml build` in a folder that
`servegen bento` wrote. There BentoML's middleware is before every route, and its own `/metrics`, `/livez` and
`/readyz` answer; they say what ours would.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bentoml

from servegen.server.app import App
from servegen.server.settings import Settings

if TYPE_CHECKING:
    from servegen.server.inference_grpc.service import InferenceService

_log = logging.getLogger("servegen")
SETTINGS = "settings.json"
"""In a folder to build a Bento from: `variables` of the server and `resources` of the Service."""
MODEL = "model"
"""In such a folder: the MLflow model."""
_GRACE = 5.0
"""Seconds by which BentoML's deadline is longer than ours, so that ours answers, with its own error body."""


def build(
    app: App,
    settings: Settings,
    *,
    resources: Mapping[str, str] | None = None,
    life: _Life | None = None,
) -> Any:
    """A Service with `app` mounted at its root; `life` is there when BentoML hosts it itself."""

    class ModelService:
        """Serves one MLflow model with servegen."""

        @bentoml.on_startup  # type: ignore[untyped-decorator]  # BentoML comes without types
        async def load(self) -> None:
            """Load the model where no one else does."""
            if life is not None:
                await life.begin()

        @bentoml.on_shutdown  # type: ignore[untyped-decorator]
        async def leave(self) -> None:
            """Finish what BentoML does not know of."""
            if life is not None:
                await life.end()

        async def __is_ready__(self) -> bool:
            return app.is_healthy

        async def __metrics__(self, own: str) -> str:
            return own + app.metrics.render().decode()

    service = bentoml.service(
        name=_tag(app.model.name),
        resources=dict(resources or {}),
        traffic={
            "timeout": settings.request_timeout + _GRACE,
            # Ours refuses first, and says when to come back.
            "max_concurrency": 2 * settings.queue_size + settings.batch_max_rows,
        },
        # What `bentoml serve` takes without --host and --port.
        **({"http": {"host": settings.host, "port": settings.port}} if life is not None else {}),
    )(ModelService)
    service.mount_asgi_app(app, path="/", name="servegen")
    return service


def from_folder(folder: Path) -> Any:
    """The Service of a folder that `servegen bento` wrote; the environment overrides its settings."""
    said = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    variables = {**said["variables"], "SERVEGEN_MODEL": str(folder / MODEL)}
    return _hosted_by_bentoml(variables, said["resources"])


class _Life:
    """What happens in a worker process of BentoML before it serves and when it leaves."""

    def __init__(self, app: App, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._inference: InferenceService | None = None
        self._completing: asyncio.Future[None] | None = None
        self._watching: asyncio.Future[None] | None = None

    async def begin(self) -> None:
        """Load the model; raises StartError when that fails, OSError when a port cannot be had."""
        from servegen.server.lifecycle import complete, load, start

        app, settings = self._app, self._settings
        if settings.grpc_port is not None:
            from servegen.server.inference_grpc.service import InferenceService

            self._inference = InferenceService(app, settings)
            await self._inference.start()
        predictors = await start(app, settings, lambda: load(app, settings))
        self._completing = asyncio.ensure_future(complete(predictors))
        self._watching = asyncio.ensure_future(self._end_when_lost())

    async def _end_when_lost(self) -> None:
        await self._app.dispatcher.lost.wait()
        _log.error("the model has stopped answering; this process ends, so that BentoML starts another one")
        os._exit(1)

    async def end(self) -> None:
        """Answer what was accepted over gRPC, and write what is left of the access log."""
        from servegen.server.lifecycle import drain

        if self._inference is not None:
            remaining = await drain(self._app, delay=0, timeout=self._settings.drain_timeout)
            await self._inference.stop(remaining)
        self._app.close()


def _hosted_by_bentoml(variables: Mapping[str, str], resources: Mapping[str, str]) -> Any:
    from servegen.server.boot import boot, make_app

    settings = boot(variables)
    # BentoML shows its own metrics; twice the same name would be refused by Prometheus.
    settings = replace(
        settings, metrics_compat=tuple(name for name in settings.metrics_compat if name != "bentoml")
    )
    app = make_app(settings)
    return build(app, settings, resources=resources, life=_Life(app, settings))


def _tag(name: str) -> str:
    """`name` as BentoML wants the names of Services and Bentos."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:63].strip("-") or "model"


def __getattr__(name: str) -> Any:
    # BentoML looks the Service up by name, in each of its processes; the environment says what to serve.
    if name != "service":
        raise AttributeError(name)
    return _hosted_by_bentoml({}, {})
