"""Deadlines, the queue and leaving of the gRPC server, over real connections."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from servegen.server.inference_grpc import messages
from tests.server.grpc_client import Client, infer
from tests.server.test_limits import SLOW, seen, slow  # noqa: F401  a fixture
from tests.server.test_process import RUNTIMES, Server, free_port, started


@contextmanager
def serving(model: Path, folder: Path, **settings: Any) -> Iterator[tuple[Server, Client]]:
    """A server that is ready, and a client of it."""
    port = free_port()
    with started(model, folder, **{"runtime": "uvicorn", **settings}, grpc_port=port) as server:
        server.reach("/readyz", 200)
        with Client(port) as client:
            yield server, client


def sleep(seconds: float) -> Any:
    request = messages.ModelInferRequest(model_name="slow")
    tensor = request.inputs.add(name="seconds", datatype="FP64", shape=[1])
    tensor.contents.fp64_contents.append(seconds)
    return request


def begun(client: Client, model: Path) -> Any:
    """A slow call that is in the model by now."""
    first = client.begin("ModelInfer", sleep(SLOW))
    end = time.monotonic() + 20
    while not (model / "notes").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    return first


def reach_depth(server: Server, depth: int) -> None:
    end = time.monotonic() + 20
    while f"servegen_queue_depth {depth}.0" not in server.ask("GET", "/metrics")[1]:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_call_whose_client_leaves_the_queue_never_reaches_the_model(slow: Path, tmp_path: Path):  # noqa: F811
    with serving(slow, tmp_path) as (server, client):
        first = begun(client, slow)
        cancelled = client.begin("ModelInfer", sleep(0.25))
        late = client.begin("ModelInfer", sleep(0.125), timeout=0.3)
        reach_depth(server, 2)
        cancelled.cancel()
        reach_depth(server, 1)
        assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        reach_depth(server, 0)
        # Both have left while the model was busy.
        assert not first.done()
        assert list(first.result().outputs[0].contents.fp64_contents) == [SLOW]
        client("ModelInfer", sleep(0.0))
        assert seen(slow) == [SLOW, 0.0]


def test_a_call_that_waits_too_long_is_answered_and_never_reaches_the_model(slow: Path, tmp_path: Path):  # noqa: F811
    with serving(slow, tmp_path, request_timeout=0.5) as (_, client):
        first = begun(client, slow)
        assert client.refused("ModelInfer", sleep(0.25))[0] == "DEADLINE_EXCEEDED"
        # The model cannot be interrupted; its client has an answer all the same.
        assert first.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        while client.begin("ModelInfer", sleep(0.125)).code() is not grpc.StatusCode.OK:
            pass
        assert set(seen(slow)) == {SLOW, 0.125}


def test_a_full_queue_refuses_and_says_when_to_come_back(slow: Path, tmp_path: Path):  # noqa: F811
    with serving(slow, tmp_path, queue_size=1) as (server, client):
        first = begun(client, slow)
        second = client.begin("ModelInfer", sleep(0.25))
        reach_depth(server, 1)
        refused = client.begin("ModelInfer", sleep(0.5))
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        trailer = dict(refused.trailing_metadata())
        assert int(trailer["retry-after"]) >= 1
        assert trailer["x-request-id"]
        for call in (first, second):
            assert call.code() is grpc.StatusCode.OK
        assert seen(slow) == [SLOW, 0.25]
        assert 'servegen_rejected_total{reason="queue_full"} 1.0' in server.ask("GET", "/metrics")[1]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_no_accepted_call_is_lost_when_the_server_leaves(models: Path, tmp_path: Path, runtime: str):
    with serving(models / "linear", tmp_path, runtime=runtime, drain_delay=0.3) as (server, _):
        codes: list[grpc.StatusCode] = []
        # Large ones are read in a thread.
        requests = [infer(x1=[2.0] * rows, x2=[1.0] * rows) for rows in (1, 20_000)]

        def ask(number: int) -> None:
            with Client(int(port)) as client:
                while server.process.poll() is None:
                    call = client.begin("ModelInfer", requests[number % 2])
                    codes.append(call.code())

        port = server.env["SERVEGEN_GRPC_PORT"]
        clients = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in clients:
            thread.start()
        while len(codes) < 20:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        assert server.end(within=20) == 0
        for thread in clients:
            thread.join(20)
        assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
        answered = server.log.read_text().count("GRPCInferenceService/ModelInfer 200")
        assert codes.count(grpc.StatusCode.OK) == answered >= 20
