"""grpc.health.v1.Health: whether the server is ready, for those who ask every gRPC server alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from servegen.server.app import App
from servegen.server.inference_grpc import messages

SERVICE = "grpc.health.v1.Health"
_SERVING, _NOT_SERVING, _UNKNOWN = 1, 2, 3
_KNOWN = ("", messages.SERVICE)
_PERIOD = 0.1
"""Seconds after which a watcher learns of a change."""


def handler(app: App) -> grpc.GenericRpcHandler:
    """Check and Watch for `app`: serving as long as /readyz is 200."""

    def status(request: Any) -> int:
        if request.service not in _KNOWN:
            return _UNKNOWN
        return _SERVING if app.is_healthy else _NOT_SERVING

    async def check(request: Any, context: Any) -> Any:
        found = status(request)
        if found == _UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such service.")
        return messages.HealthCheckResponse(status=found)

    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ARG001  the type of a handler
        told = 0
        while True:
            found = status(request)
            if found != told:
                told = found
                yield messages.HealthCheckResponse(status=found)
            await asyncio.sleep(_PERIOD)

    types: dict[str, Any] = {
        "request_deserializer": messages.HealthCheckRequest.FromString,
        "response_serializer": messages.HealthCheckResponse.SerializeToString,
    }
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Check": grpc.unary_unary_rpc_method_handler(check, **types),
            "Watch": grpc.unary_stream_rpc_method_handler(watch, **types),
        },
    )
