"""A gRPC client of the Open Inference Protocol, of grpcio and the messages that the server reads too."""

from collections.abc import Iterator
from typing import Any

import grpc

from servegen.server.inference_grpc import health, messages

HEALTH: dict[str, Any] = {
    "request_serializer": messages.HealthCheckRequest.SerializeToString,
    "response_deserializer": messages.HealthCheckResponse.FromString,
}


class Client:
    """Calls the service at an address; an error is grpc.RpcError."""

    def __init__(self, port: int) -> None:
        # Clients of one process would share a connection otherwise.
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *raised: object) -> None:
        self._channel.close()

    def __call__(self, method: str, request: Any = None, *, timeout: float = 20) -> Any:
        return self.begin(method, request, timeout=timeout).result()

    def begin(self, method: str, request: Any = None, *, timeout: float = 20) -> Any:
        """The call on its way: a grpc.Future that can be cancelled."""
        call = self._channel.unary_unary(
            f"/{messages.SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=messages.message(f"{method}Response").FromString,
        )
        wanted = request if request is not None else messages.message(f"{method}Request")()
        return call.future(wanted, timeout=timeout)

    def check(self, service: str = "") -> int:
        """The status of the standard health protocol."""
        call = self._channel.unary_unary(f"/{health.SERVICE}/Check", **HEALTH)
        return int(call(messages.HealthCheckRequest(service=service), timeout=20).status)

    def watch(self, service: str = "") -> Iterator[int]:
        """That status, now and whenever it changes."""
        call = self._channel.unary_stream(f"/{health.SERVICE}/Watch", **HEALTH)
        for answer in call(messages.HealthCheckRequest(service=service), timeout=60):
            yield answer.status

    def refused(self, method: str, request: Any = None, *, timeout: float = 20) -> tuple[str, str]:
        """Status and message of a call that is not answered."""
        try:
            self(method, request, timeout=timeout)
        except grpc.RpcError as exc:
            return exc.code().name, exc.details()
        raise AssertionError("the call was answered")


def infer(model: str = "linear", **columns: list[float]) -> Any:
    """A request with FP64 columns in `contents`."""
    request = messages.ModelInferRequest(model_name=model)
    for name, values in columns.items():
        tensor = request.inputs.add(name=name, datatype="FP64", shape=[len(values), 1])
        tensor.contents.fp64_contents.extend(values)
    return request
