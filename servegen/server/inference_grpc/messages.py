"""The messages of the .proto files here as classes of protobuf."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool, message_factory

from servegen.server.inference_grpc.protofile import parse

# Of its own: a model may bring a client of this protocol, whose messages have the same names.
_POOL = descriptor_pool.DescriptorPool()
for _name in ("open_inference.proto", "health.proto"):
    _text = Path(__file__).with_name(_name).read_text(encoding="utf-8")
    _POOL.AddSerializedFile(parse(_text, _name).SerializeToString())
SERVICE = "inference.GRPCInferenceService"


def message(name: str, package: str = "inference") -> Any:
    """The class of the message `name`."""
    descriptor = _POOL.FindMessageTypeByName(f"{package}.{name}")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    # protobuf before 4.22
    return message_factory.MessageFactory(_POOL).GetPrototype(descriptor)


def methods() -> tuple[str, ...]:
    """The names of the service's calls."""
    return tuple(method.name for method in _POOL.FindServiceByName(SERVICE).methods)


ServerLiveResponse = message("ServerLiveResponse")
ServerReadyResponse = message("ServerReadyResponse")
ModelReadyRequest = message("ModelReadyRequest")
ModelReadyResponse = message("ModelReadyResponse")
ServerMetadataResponse = message("ServerMetadataResponse")
ModelMetadataRequest = message("ModelMetadataRequest")
ModelMetadataResponse = message("ModelMetadataResponse")
ModelInferRequest = message("ModelInferRequest")
ModelInferResponse = message("ModelInferResponse")
HealthCheckRequest = message("HealthCheckRequest", "grpc.health.v1")
HealthCheckResponse = message("HealthCheckResponse", "grpc.health.v1")
