"""The limits of a server process, over real connections."""

import json
import signal
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema

from tests.server.test_process import Server, started

SLOW = 1.5
HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    model = tmp_path / "slow"
    model.mkdir()
    signature = ModelSignature(inputs=Schema([ColSpec("double", "seconds")]))
    mlmodel = {
        "flavors": {"python_function": {"loader_module": "tests.server.slow"}},
        "signature": signature.to_dict(),
    }
    (model / "MLmodel").write_text(yaml.safe_dump(mlmodel))
    return model


def seen(model: Path) -> list[float]:
    return [float(line) for line in (model / "notes").read_text().split()]


def sleep(server: Server, seconds: float) -> tuple[int, dict[str, str], bytes]:
    body = json.dumps({"inputs": [seconds]}).encode()
    return send(server, HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def send(server: Server, *parts: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to one request on a connection of its own."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
        with connection.makefile("rb") as answer:
            status = int(answer.readline().split()[1])
            lines = iter(answer.readline, b"\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.decode().partition(":") for line in lines)}
            return status, headers, answer.read(int(headers["content-length"]))


def begun(
    server: Server, threads: ThreadPoolExecutor, model: Path
) -> Future[tuple[int, dict[str, str], bytes]]:
    """A slow request that is in the model by now."""
    first = threads.submit(sleep, server, SLOW)
    end = time.monotonic() + 20
    while not (model / "notes").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    return first


def code(body: bytes) -> str:
    return str(json.loads(body)["error_code"])


def test_a_full_queue_refuses_with_429_and_says_when_to_come_back(slow: Path, tmp_path: Path):
    with started(slow, tmp_path, runtime="uvicorn", queue_size=1) as server, ThreadPoolExecutor(2) as threads:
        server.reach("/readyz", 200)
        first = begun(server, threads, slow)
        second = threads.submit(sleep, server, 0.25)
        while "servegen_queue_depth 1.0" not in server.ask("GET", "/metrics")[1]:
            time.sleep(0.01)
        status, headers, body = sleep(server, 0.5)
        assert (status, code(body)) == (429, "RESOURCE_EXHAUSTED")
        assert int(headers["retry-after"]) >= 1
        assert first.result()[2] == b'{"predictions": [1.5]}'
        assert second.result()[2] == b'{"predictions": [0.25]}'
        assert seen(slow) == [SLOW, 0.25]
        assert 'servegen_rejected_total{reason="queue_full"} 1.0' in server.ask("GET", "/metrics")[1]


def test_a_request_that_waits_too_long_is_504_and_never_reaches_the_model(slow: Path, tmp_path: Path):
    with (
        started(slow, tmp_path, runtime="uvicorn", request_timeout=0.5) as server,
        ThreadPoolExecutor(2) as threads,
    ):
        server.reach("/readyz", 200)
        first = begun(server, threads, slow)
        status, _, body = sleep(server, 0.25)
        assert (status, code(body)) == (504, "DEADLINE_EXCEEDED")
        # The model cannot be interrupted; its client has an answer all the same.
        assert first.result()[0] == 504
        while sleep(server, 0.125)[0] != 200:
            pass
        assert set(seen(slow)) == {SLOW, 0.125}


def test_the_model_sees_each_request_once_however_the_connection_ends(slow: Path, tmp_path: Path):
    with started(slow, tmp_path, runtime="uvicorn") as server:
        server.reach("/readyz", 200)
        for seconds in (0.0, 0.001, 0.002):
            assert sleep(server, seconds)[0] == 200
        assert sleep(server, 0.003)[0] == 200
        assert seen(slow) == [0.0, 0.001, 0.002, 0.003]


@pytest.mark.parametrize("runtime", ["uvicorn", "bentoml"])
def test_a_body_that_is_too_large_is_413_before_it_is_read(slow: Path, tmp_path: Path, runtime: str):
    with started(slow, tmp_path, runtime=runtime, max_body_bytes=1000) as server:
        server.reach("/readyz", 200)
        # Nothing of the body is sent in the first case, and no end of it in the second.
        announced = send(server, HEAD + b"Content-Length: 1001\r\n\r\n")
        chunked = send(
            server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"64\r\n" + b" " * 100 + b"\r\n"] * 11
        )
        for status, headers, body in (announced, chunked):
            assert (status, code(body)) == (413, "BAD_REQUEST")
            assert headers["connection"] == "close"
        body = b'{"inputs": [0]}'.ljust(1000)
        status, headers, _ = send(server, HEAD + b"Content-Length: 1000\r\n\r\n", body)
        assert (status, headers.get("connection")) == (200, None)


def test_a_model_that_hangs_takes_the_server_out_of_service_and_ends_it(slow: Path, tmp_path: Path):
    with (
        started(slow, tmp_path, runtime="uvicorn", request_timeout=0.5) as server,
        ThreadPoolExecutor(1) as threads,
    ):
        server.reach("/readyz", 200)
        assert threads.submit(sleep, server, 60).result()[0] == 504
        server.reach("/readyz", 503)
        assert server.ask("GET", "/livez")[0] == 200
        assert "servegen_workers_stuck 1.0" in server.ask("GET", "/metrics")[1]
        assert server.end(within=20) == 1
        assert "has stopped answering" in server.log.read_text()


def test_a_model_process_that_hangs_is_replaced(slow: Path, tmp_path: Path):
    with (
        started(slow, tmp_path, runtime="uvicorn", request_timeout=1, processes=2) as server,
        ThreadPoolExecutor(2) as threads,
    ):
        server.reach("/readyz", 200)
        both = [threads.submit(sleep, server, 60) for _ in range(2)]
        assert [each.result()[0] for each in both] == [504, 504]
        end = time.monotonic() + 40
        while sleep(server, 0.0)[0] != 200:
            assert time.monotonic() < end
        assert server.ask("GET", "/readyz")[0] == 200
        assert "its process is killed" in server.log.read_text()


def test_draining_takes_its_timeout_once(slow: Path, tmp_path: Path):
    with (
        started(slow, tmp_path, runtime="uvicorn", drain_delay=0, drain_timeout=2) as server,
        ThreadPoolExecutor(1) as threads,
    ):
        server.reach("/readyz", 200)
        threads.submit(sleep, server, 60).add_done_callback(lambda done: done.exception())
        end = time.monotonic() + 20
        while not (slow / "notes").exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.end(within=20) == 0
        # Not a measurement: twice the timeout would be four seconds and the goodbye on top.
        assert time.monotonic() - began < 4


def test_a_client_that_reads_nothing_of_its_stream_loses_it(tmp_path: Path):
    model = tmp_path / "chatty"
    model.mkdir()
    flavor = {"loader_module": "tests.server.chatty", "streamable": True}
    (model / "MLmodel").write_text(yaml.safe_dump({"flavors": {"python_function": flavor}}))
    body = b'{"prompt": "x", "stream": true}'
    with started(model, tmp_path, runtime="uvicorn", request_timeout=0.5) as server:
        server.reach("/readyz", 200)
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            end = time.monotonic() + 20
            while "took nothing of its stream" not in server.log.read_text():
                assert time.monotonic() < end
                time.sleep(0.05)
        while "servegen_requests_in_flight 0.0" not in server.ask("GET", "/metrics")[1]:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_large_request_whose_client_leaves_never_reaches_the_model(slow: Path, tmp_path: Path):
    with started(slow, tmp_path, runtime="uvicorn") as server, ThreadPoolExecutor(1) as threads:
        server.reach("/readyz", 200)
        first = begun(server, threads, slow)
        body = b'{"inputs": [0.5]}'.ljust(20_000)
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            while "servegen_queue_depth 1.0" not in server.ask("GET", "/metrics")[1]:
                time.sleep(0.01)
        assert first.result()[0] == 200
        assert sleep(server, 0.25)[0] == 200
        assert seen(slow) == [SLOW, 0.25]
