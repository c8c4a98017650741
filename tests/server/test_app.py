import asyncio
import json
import threading
from typing import Any

import pytest

from servegen.server.app import App, Phase
from servegen.server.errors import ModelFailedError, RefusedError
from servegen.server.settings import Settings
from tests.server.asgi import BODY, TOY, Sum, ask, model_file, run, toy

INFER = json.dumps(
    {
        "inputs": [
            {"name": "a", "datatype": "FP64", "shape": [1], "data": [1.5]},
            {"name": "b", "datatype": "INT64", "shape": [1], "data": [2]},
        ]
    }
)
BOTH = [("/invocations", BODY), ("/v2/models/toy/infer", INFER)]


def test_a_prediction_is_answered_in_both_protocols():
    async def scenario() -> None:
        async with toy() as app:
            mlflow = await ask(app, "POST", "/invocations", BODY)
            assert (mlflow.status, mlflow.body) == (200, b'{"predictions": [3.5]}')
            assert mlflow.headers["content-length"] == str(len(mlflow.body))
            assert mlflow.headers["content-type"] == "application/json"
            v2 = await ask(app, "POST", "/v2/models/toy/infer", INFER)
            assert v2.json()["outputs"][0]["data"] == [3.5]

    run(scenario)


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/ping", 200, b"\n"),
        ("HEAD", "/health", 200, b""),
        ("GET", "/version", 200, b"3.17.2"),
        ("GET", "/livez", 200, b"ok"),
        ("HEAD", "/readyz", 200, b""),
        ("GET", "/v2/health/live", 200, b'{"live":true}'),
        ("GET", "/v2/health/ready", 200, b'{"ready":true}'),
        ("GET", "/v2/models/toy/ready", 200, b'{"name":"toy","ready":true}'),
        ("GET", "/v2/models/toy/versions/1/ready", 200, b'{"name":"toy","ready":true}'),
    ],
)
def test_a_ready_server_says_so(method: str, path: str, status: int, body: bytes):
    async def scenario() -> None:
        async with toy() as app:
            answer = await ask(app, method, path)
            assert (answer.status, answer.body) == (status, body)

    run(scenario)


@pytest.mark.parametrize(
    "path", ["/nope", "/ping/", "/invocations/", "/", "/v2/models/other", "/v2/models/toy/versions/9"]
)
def test_an_unknown_route_is_404_in_the_form_of_its_protocol(path: str):
    async def scenario() -> None:
        async with toy() as app:
            answer = await ask(app, "GET", path)
            assert answer.status == 404
            if path.startswith("/v2/"):
                assert list(answer.json()) == ["error"]
            else:
                assert answer.json()["error_code"] == "ENDPOINT_NOT_FOUND"

    run(scenario)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/invocations", "POST"),
        ("POST", "/ping", "GET, HEAD"),
        ("DELETE", "/v2/models/toy/infer", "POST"),
    ],
)
def test_a_wrong_method_is_405_and_says_which_are_right(method: str, path: str, allow: str):
    async def scenario() -> None:
        async with toy() as app:
            answer = await ask(app, method, path)
            assert (answer.status, answer.headers["allow"]) == (405, allow)

    run(scenario)


PHASES = [
    ("/livez", [200, 200, 200, 200]),
    ("/version", [200, 200, 200, 200]),
    ("/metrics", [200, 200, 200, 200]),
    ("/v2", [200, 200, 200, 200]),
    ("/v2/health/live", [200, 200, 200, 200]),
    ("/ping", [503, 200, 503, 503]),
    ("/readyz", [503, 200, 503, 503]),
    ("/v2/health/ready", [503, 200, 503, 503]),
    ("/v2/models/toy/ready", [503, 200, 503, 503]),
    ("/v2/models/toy", [503, 200, 200, 200]),
    ("/docs", [503, 200, 200, 200]),
    ("/openapi.json", [503, 200, 200, 200]),
]


@pytest.mark.parametrize(("path", "statuses"), PHASES)
def test_probes_follow_the_life_of_the_server(path: str, statuses: list[int]):
    async def scenario() -> None:
        async with toy() as app:
            for phase, status in zip(Phase, statuses, strict=True):
                app.enter(phase)
                assert (await ask(app, "GET", path)).status == status, phase

    run(scenario)


@pytest.mark.parametrize(("path", "body"), BOTH)
def test_requests_are_served_until_the_delay_is_over(path: str, body: str):
    async def scenario() -> None:
        async with toy() as app:
            app.enter(Phase.LOADING)
            loading = await ask(app, "POST", path, body)
            assert (loading.status, "connection" in loading.headers) == (503, False)
            app.enter(Phase.LEAVING)
            leaving = await ask(app, "POST", path, body)
            assert (leaving.status, leaving.headers["connection"]) == (200, "close")
            app.enter(Phase.CLOSED)
            closed = await ask(app, "POST", path, body)
            assert (closed.status, closed.headers["connection"]) == (503, "close")
            assert int(closed.headers["retry-after"]) >= 1

    run(scenario)


def test_the_id_of_a_request_comes_back_and_is_made_when_it_is_unfit():
    async def scenario() -> None:
        async with toy() as app:
            assert (await ask(app, "GET", "/ping", headers={"X-Request-Id": "abc"})).headers[
                "x-request-id"
            ] == "abc"
            made = [await ask(app, "GET", "/ping", headers={"x-request-id": "x" * 129}) for _ in range(2)]
            ids = {a.headers["x-request-id"] for a in made}
            assert len(ids) == 2
            assert all(0 < len(i) <= 128 for i in ids)

    run(scenario)


def test_a_body_may_come_in_pieces():
    async def scenario() -> None:
        async with toy() as app:
            assert (await ask(app, "POST", "/invocations", BODY, pieces=7)).status == 200

    run(scenario)


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_413_and_ends_the_connection(announced: bool):
    async def scenario() -> None:
        async with toy(max_body_bytes=20) as app:
            headers = {"content-type": "application/json"}
            if announced:
                headers["content-length"] = "21"
            answer = await ask(app, "POST", "/invocations", " " * 40, headers=headers, pieces=4)
            assert (answer.status, answer.headers["connection"]) == (413, "close")
            assert answer.json()["error_code"] == "BAD_REQUEST"

    run(scenario)


def test_the_content_type_is_checked_before_the_body_is_read():
    async def scenario() -> None:
        async with toy() as app:

            async def receive() -> Any:
                raise AssertionError

            sent: list[Any] = []

            async def send(message: Any) -> None:
                sent.append(message)

            scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": []}
            await app(scope, receive, send)
            assert sent[0]["status"] == 415

    run(scenario)


class Fails(Sum):
    def __init__(self, error: Exception) -> None:
        self.error = error

    def predict(self, data: Any, params: Any) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "mlflow", "v2"),
    [
        (ModelFailedError(), 400, 500),
        (RefusedError(403, "PERMISSION_DENIED", "no"), 403, 403),
        (RuntimeError("secret"), 500, 500),
    ],
)
def test_failures_have_the_status_of_their_protocol_and_no_details(error: Exception, mlflow: int, v2: int):
    async def scenario() -> None:
        async with toy(predictor=Fails(error)) as app:
            for (path, body), status in zip(BOTH, (mlflow, v2), strict=True):
                answer = await ask(app, "POST", path, body)
                assert answer.status == status
                assert b"secret" not in answer.body
                assert b"Traceback" not in answer.body

    run(scenario)


def test_binary_tensors_and_compressed_bodies_are_refused():
    async def scenario() -> None:
        async with toy() as app:
            path = "/v2/models/toy/infer"
            binary = await ask(app, "POST", path, INFER, headers={"Inference-Header-Content-Length": "5"})
            assert binary.status == 400
            packed = await ask(app, "POST", path, INFER, headers={"Content-Encoding": "gzip"})
            assert packed.status == 415

    run(scenario)


def test_a_client_that_leaves_drops_its_request_and_frees_the_middleware_around_it():
    class Busy(Sum):
        def __init__(self) -> None:
            self.go_on = threading.Event()

        def predict(self, data: Any, params: Any) -> Any:
            assert self.go_on.wait(10)
            return super().predict(data, params)

    async def scenario() -> None:
        busy = Busy()
        async with toy(predictor=busy) as app:
            sent: list[Any] = []
            messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": BODY.encode()}]

            async def receive() -> Any:
                return messages.pop()

            async def send(message: Any) -> None:
                sent.append(message)

            headers = [(b"content-type", b"application/json")]
            scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": headers}
            await app(scope, receive, send)
            assert sent[0]["status"] == 499
            await asyncio.sleep(0.01)
            assert app.dispatcher.accepted == 0
            busy.go_on.set()

    run(scenario)


def test_a_stream_is_written_as_events():
    async def scenario() -> None:
        async with toy(model_file(streamable=True)) as app:
            answer = await ask(app, "POST", "/invocations", '{"prompt": "x", "stream": true}')
            assert answer.headers["content-type"] == "text/event-stream"
            assert answer.body == b'data: {"word": "one"}\n\ndata: {"word": "two"}\n\ndata: [DONE]\n\n'

    run(scenario)


class Breaks(Sum):
    def __init__(self, after: int) -> None:
        self.after = after

    def stream(self, data: Any, params: Any) -> Any:
        yield from [{"n": n} for n in range(self.after)]
        raise ModelFailedError


def test_a_stream_that_breaks_says_so_in_the_way_it_still_can():
    async def scenario() -> None:
        body = '{"prompt": "x", "stream": true}'
        async with toy(model_file(streamable=True), Breaks(0)) as app:
            before = await ask(app, "POST", "/invocations", body)
            assert (before.status, before.json()["error_code"]) == (400, "BAD_REQUEST")
        async with toy(model_file(streamable=True), Breaks(1)) as app:
            after = await ask(app, "POST", "/invocations", body)
            events = after.body.decode().split("\n\n")
            assert after.status == 200
            assert json.loads(events[1].removeprefix("data: ")).keys() == {"error"}
            assert events[2] == "data: [DONE]"

    run(scenario)


def test_metrics_count_what_happened_without_client_data():
    async def scenario() -> None:
        async with toy(queue_size=9) as app:
            await ask(app, "POST", "/invocations", BODY)
            await ask(app, "POST", "/invocations", "secret")
            await ask(app, "GET", "/secret-path")
            await ask(app, "SECRET", "/ping")
            text = (await ask(app, "GET", "/metrics")).body.decode()
            for line in (
                'servegen_requests_total{method="POST",route="/invocations",status="200"} 1.0',
                'servegen_requests_total{method="POST",route="/invocations",status="400"} 1.0',
                'servegen_requests_total{method="GET",route="other",status="404"} 1.0',
                'servegen_errors_total{error_code="BAD_REQUEST"} 2.0',
                'servegen_request_duration_seconds_count{route="/invocations"} 2.0',
                "servegen_predict_duration_seconds_count 1.0",
                "servegen_queue_limit 9.0",
                "servegen_requests_in_flight 0.0",
                "servegen_model_ready 1.0",
                'servegen_rejected_total{reason="queue_full"} 0.0',
            ):
                assert line in text.splitlines()
            assert (
                'servegen_model_info{flavor="sklearn",mlflow_version="3.17.2",name="toy",run_id="r1",version="1"}'
                in text
            )
            assert "secret" not in text.lower()

    run(scenario)


def test_the_gauge_of_the_autoscaler_counts_queued_and_running_calls():
    class Slow(Sum):
        gate = threading.Event()

        def predict(self, data: Any, params: Any) -> Any:
            self.gate.wait(5)
            return super().predict(data, params)

    async def scenario() -> None:
        async with toy(predictor=Slow(), batch_max_rows=1) as app:
            calls = [asyncio.ensure_future(ask(app, "POST", "/invocations", BODY)) for _ in range(3)]
            await asyncio.sleep(0.05)
            text = (await ask(app, "GET", "/metrics")).body.decode()
            assert "servegen_requests_in_flight 3.0" in text
            assert "servegen_queue_depth 2.0" in text, "one is with the model"
            Slow.gate.set()
            assert [a.status for a in await asyncio.gather(*calls)] == [200] * 3

    run(scenario)


def test_a_lifespan_is_acknowledged():
    async def scenario() -> None:
        app = App(model_file(TOY), Settings(model=model_file().path), version="0")
        events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        sent: list[Any] = []

        async def receive() -> Any:
            return events.pop(0)

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await app({"type": "lifespan"}, receive, send)
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    run(scenario)
