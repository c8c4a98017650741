"""The protocol over gRPC, on servers that are processes of their own."""

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from servegen.server.inference_grpc import messages
from tests.server.grpc_client import Client, infer
from tests.server.test_process import BODY, RUNTIMES, Server, free_port, started


@pytest.fixture(scope="module", params=RUNTIMES)
def served(
    request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Client]]:
    port = free_port()
    settings = {"runtime": request.param, "grpc_port": port, "max_body_bytes": 4096}
    with started(models / "linear", tmp_path_factory.mktemp("log"), **settings) as server:
        server.reach("/readyz", 200)
        with Client(port) as client:
            yield server, client


def test_server_and_model_describe_themselves(served: tuple[Server, Client]):
    _, client = served
    assert client("ServerLive").live
    assert client("ServerReady").ready
    assert client("ServerMetadata").name == "servegen"
    assert client("ModelReady", messages.ModelReadyRequest(name="linear", version="1")).ready
    described = client("ModelMetadata", messages.ModelMetadataRequest(name="linear"))
    assert [(i.name, i.datatype, list(i.shape)) for i in described.inputs] == [
        ("x1", "FP64", [-1, 1]),
        ("x2", "FP64", [-1, 1]),
    ]
    assert list(described.versions) == ["1"]


def test_contents_are_answered_with_contents(served: tuple[Server, Client]):
    request = infer(x1=[2.0, 0.0], x2=[1.0, 0.0])
    request.id = "r1"
    answer = served[1]("ModelInfer", request)
    (output,) = answer.outputs
    assert (answer.id, answer.model_name, answer.model_version) == ("r1", "linear", "1")
    assert (output.name, output.datatype, list(output.shape)) == ("output-0", "FP64", [2])
    assert list(output.contents.fp64_contents) == pytest.approx([8.0, 1.0])
    assert not answer.raw_output_contents


def test_raw_bytes_are_answered_with_raw_bytes(served: tuple[Server, Client]):
    request = messages.ModelInferRequest(model_name="linear")
    for name, values in (("x1", (2.0, 0.0)), ("x2", (1.0, 0.0))):
        request.inputs.add(name=name, datatype="FP64", shape=[2, 1])
        request.raw_input_contents.append(struct.pack("<2d", *values))
    answer = served[1]("ModelInfer", request)
    (raw,) = answer.raw_output_contents
    assert struct.unpack("<2d", raw) == pytest.approx((8.0, 1.0))
    assert not answer.outputs[0].HasField("contents")


@pytest.mark.parametrize(
    ("method", "request_", "status"),
    [
        ("ModelInfer", infer(x1=[1.0]), "INVALID_ARGUMENT"),
        ("ModelInfer", infer("other", x1=[1.0], x2=[1.0]), "NOT_FOUND"),
        ("ModelInfer", infer(x1=[1.0] * 1000, x2=[1.0] * 1000), "RESOURCE_EXHAUSTED"),
        ("ModelReady", messages.ModelReadyRequest(name="linear", version="9"), "NOT_FOUND"),
        ("ModelMetadata", messages.ModelMetadataRequest(name="other"), "NOT_FOUND"),
    ],
    ids=["missing column", "other model", "too large", "other version", "other model's metadata"],
)
def test_what_cannot_be_answered_has_the_status_of_its_reason(
    served: tuple[Server, Client], method: str, request_: Any, status: str
):
    assert served[1].refused(method, request_)[0] == status


def test_an_error_names_the_column_and_no_value(served: tuple[Server, Client]):
    request = infer(x1=[1.0])
    request.inputs.add(name="x2", datatype="BYTES", shape=[1, 1]).contents.bytes_contents.append(b"secret")
    status, message = served[1].refused("ModelInfer", request)
    assert status == "INVALID_ARGUMENT"
    assert "x2" in message
    assert "secret" not in message


def test_the_health_of_another_service_is_not_known(served: tuple[Server, Client]):
    client = served[1]
    assert client.check(messages.SERVICE) == 1
    assert next(client.watch("other.Service")) == 3
    with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
        client.check("other.Service")


def test_calls_are_counted_and_logged_like_requests(served: tuple[Server, Client]):
    server, client = served
    client("ModelInfer", infer(x1=[2.0], x2=[1.0]))
    client.refused("ModelInfer", infer(x1=[1.0]))
    scraped = server.ask("GET", "/metrics")[1]
    route = 'route="inference.GRPCInferenceService/ModelInfer"'
    assert f'servegen_requests_total{{method="POST",{route},status="200"}}' in scraped
    assert f'servegen_requests_total{{method="POST",{route},status="400"}}' in scraped


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_calls_follow_the_servers_life(models: Path, tmp_path: Path, runtime: str):
    port = free_port()
    settings = {"runtime": runtime, "grpc_port": port, "drain_delay": 1}
    with started(models / "linear", tmp_path, **settings) as server, Client(port) as client:
        server.reach("/livez", 200)
        assert client("ServerLive").live
        watched = client.watch(messages.SERVICE)
        assert (client("ServerReady").ready, client.check(), next(watched)) == (False, 2, 2)
        assert client.refused("ModelInfer", infer(x1=[2.0], x2=[1.0]))[0] == "UNAVAILABLE"
        server.reach("/readyz", 200)
        assert (client("ServerReady").ready, client.check(), next(watched)) == (True, 1, 1)
        answered = 0
        server.process.send_signal(signal.SIGTERM)
        server.reach("/readyz", 503)
        assert (client("ServerReady").ready, client.check(), next(watched)) == (False, 2, 2)
        while True:
            try:
                client("ModelInfer", infer(x1=[2.0], x2=[1.0]))
            except grpc.RpcError as exc:
                assert exc.code() is grpc.StatusCode.UNAVAILABLE
                break
            answered += 1
        assert server.end(within=10) == 0
        assert answered > 0
        with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
            next(watched)
        assert server.log.read_text().count("GRPCInferenceService/ModelInfer 200") == answered


def test_both_protocols_are_answered_by_processes(models: Path, tmp_path: Path):
    port = free_port()
    with (
        started(models / "linear", tmp_path, runtime="uvicorn", grpc_port=port, processes=2) as server,
        Client(port) as client,
    ):
        server.reach("/readyz", 200)
        answer = client("ModelInfer", infer(x1=[2.0], x2=[1.0]))
        assert list(answer.outputs[0].contents.fp64_contents) == pytest.approx([8.0])
        assert json.loads(server.ask("POST", "/invocations", BODY)[1])["predictions"] == pytest.approx([8.0])


def test_a_port_that_is_taken_fails_the_start(models: Path, tmp_path: Path):
    with started(models / "linear", tmp_path, runtime="uvicorn") as server:
        server.reach("/livez", 200)
        other = tmp_path / "other"
        other.mkdir()
        with started(models / "linear", other, runtime="uvicorn", grpc_port=server.port) as second:
            assert second.end(within=30) == 2
            assert f"cannot listen on 127.0.0.1:{server.port} for gRPC" in second.log.read_text()


def test_a_port_without_grpcio_is_one_line(models: Path, tmp_path: Path):
    # What Python does where a package is not installed.
    code = (
        "import sys; sys.modules['grpc'] = None; from servegen.server.__main__ import main; sys.exit(main())"
    )
    settings = {"MODEL": str(models / "linear"), "RUNTIME": "uvicorn", "PORT": "0", "GRPC_PORT": "9000"}
    env = {**os.environ, **{f"SERVEGEN_{name}": value for name, value in settings.items()}}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == (
        "servegen: SERVEGEN_GRPC_PORT is set, but grpc is not installed; pip install 'servegen[grpc]'\n"
    )
