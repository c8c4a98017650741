"""The server as a process of its own, on both runtimes."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

RUNTIMES = ["uvicorn", "bentoml"]
WARM_UPS = 2
BODY = json.dumps({"dataframe_records": [{"x1": 2.0, "x2": 1.0}]})


class Server:
    """One server process and its log."""

    def __init__(self, model: Path, log: Path, **settings: Any) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = log
        variables = {f"SERVEGEN_{name.upper()}": str(value) for name, value in settings.items()}
        self.env = {**os.environ, "SERVEGEN_HOST": "127.0.0.1", **variables}
        self.env |= {"SERVEGEN_MODEL": str(model), "SERVEGEN_PORT": str(self.port)}
        with log.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "servegen.server"], env=self.env, stdout=sink, stderr=sink
            )

    def ask(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def reach(self, path: str, status: int) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            with suppress(OSError):
                if self.ask("GET", path)[0] == status:
                    return
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def end(self, *, within: float) -> int:
        return self.process.wait(within)


@contextmanager
def started(model: Path, tmp_path: Path, **settings: Any) -> Iterator[Server]:
    server = Server(model, tmp_path / "log", **settings)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_model_is_served_from_start_to_end(models: Path, tmp_path: Path, runtime: str):
    with started(models / "linear", tmp_path, runtime=runtime, drain_delay=0.5) as server:
        # The port opens before the model is loaded.
        server.reach("/livez", 200)
        assert server.ask("GET", "/readyz")[0] == 503
        server.reach("/readyz", 200)
        assert server.ask("POST", "/invocations", BODY) == (200, '{"predictions": [8.0]}')
        assert server.ask("GET", "/nope")[0] == 404
        scraped = server.ask("GET", "/metrics")[1]
        # The example was sent twice before the first client.
        assert 'servegen_requests_total{method="POST",route="/invocations",status="200"} 3.0' in scraped
        if runtime == "bentoml":
            assert "servegen" in server.ask("GET", "/schema.json")[1]
        server.process.send_signal(signal.SIGTERM)
        server.reach("/readyz", 503)
        assert server.ask("POST", "/invocations", BODY)[0] == 200
        assert server.end(within=10) == 0


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_no_accepted_request_is_lost_when_the_server_leaves(models: Path, tmp_path: Path, runtime: str):
    with started(models / "linear", tmp_path, runtime=runtime, drain_delay=0.5) as server:
        server.reach("/readyz", 200)
        seen: list[int] = []
        unheard: list[float] = []

        def client() -> None:
            # Until nothing listens any more. A connection that the server never looked at is reset then.
            while True:
                try:
                    seen.append(server.ask("POST", "/invocations", BODY)[0])
                except ConnectionRefusedError:
                    return
                except ConnectionError:
                    unheard.append(time.monotonic())

        clients = [threading.Thread(target=client) for _ in range(4)]
        for thread in clients:
            thread.start()
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        signalled = time.monotonic()
        assert server.end(within=10) == 0
        for thread in clients:
            thread.join(10)
        assert set(seen) <= {200, 503}
        answered = server.log.read_text().count("POST /invocations 200") - WARM_UPS
        assert seen.count(200) == answered > 10
        assert all(at > signalled + 0.5 for at in unheard)
        assert len(unheard) <= len(clients)


def test_a_second_signal_ends_the_server_at_once(models: Path, tmp_path: Path):
    with started(models / "linear", tmp_path, runtime="uvicorn", drain_delay=60) as server:
        server.reach("/readyz", 200)
        server.process.send_signal(signal.SIGTERM)
        server.reach("/readyz", 503)
        server.process.send_signal(signal.SIGTERM)
        assert server.end(within=2) == 128 + signal.SIGTERM


def test_a_signal_while_loading_ends_the_server(models: Path, tmp_path: Path):
    with started(models / "linear", tmp_path, runtime="uvicorn", drain_delay=60) as server:
        server.reach("/livez", 200)
        server.process.send_signal(signal.SIGTERM)
        assert server.end(within=5) == 0


def test_a_model_that_does_not_load_fails_the_start_with_the_reason(models: Path, tmp_path: Path):
    broken = tmp_path / "broken"
    broken.mkdir()
    text = (models / "linear" / "MLmodel").read_text().replace("mlflow.sklearn", "no_such_module")
    (broken / "MLmodel").write_text(text)
    with started(broken, tmp_path, runtime="uvicorn") as server:
        assert server.end(within=60) == 1
        assert "no_such_module" in server.log.read_text()


@pytest.mark.parametrize(("warmup", "serves"), [("require", False), ("skip", True)])
def test_an_example_that_fails_also_fails_the_start(models: Path, tmp_path: Path, warmup: str, serves: bool):
    model = tmp_path / "model"
    model.symlink_to(models / "do")
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in (models / "do").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "serving_input_example.json").write_text('{"inputs": ["fail"]}')
    with started(folder, tmp_path, runtime="uvicorn", warmup=warmup) as server:
        if serves:
            server.reach("/readyz", 200)
        else:
            assert server.end(within=60) == 1
            assert "serving_input_example.json is answered with 400" in server.log.read_text()


def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path):
    with started(tmp_path, tmp_path, queue_size="many") as server:
        assert server.end(within=30) == 2
        assert "SERVEGEN_QUEUE_SIZE" in server.log.read_text()


def check(model: Path, *arguments: str, port: int, **settings: str) -> tuple[int, dict[str, Any], str]:
    env = {**os.environ, "SERVEGEN_MODEL": str(model), "SERVEGEN_PORT": str(port), **settings}
    done = subprocess.run(
        [sys.executable, "-m", "servegen.server.check", *arguments],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = done.stdout.splitlines()
    return done.returncode, json.loads(line), done.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_check_compares_a_server_of_its_own_with_the_model(models: Path):
    status, report, log = check(models / "linear", "--spawn", port=free_port(), SERVEGEN_RUNTIME="uvicorn")
    assert (status, report["ok"], report["replayed"]) == (0, True, True), log
    assert report["load_seconds"] > 0
    assert report["peak_memory_bytes"] > 50_000_000
    assert 0 < report["p50_seconds"] < 1
    assert report["difference"] is None


def test_the_check_says_why_a_server_did_not_start(models: Path, tmp_path: Path):
    text = (models / "linear" / "MLmodel").read_text().replace("mlflow.sklearn", "no_such_module")
    (tmp_path / "MLmodel").write_text(text)
    status, report, _ = check(tmp_path, "--spawn", port=free_port(), SERVEGEN_RUNTIME="uvicorn")
    assert (status, report["ok"]) == (1, False)
    assert "status 1" in report["error"]
    assert any("no_such_module" in line for line in report["log_tail"])


def test_the_check_asks_a_server_that_runs_elsewhere(models: Path, tmp_path: Path):
    with started(models / "linear", tmp_path, runtime="uvicorn") as server:
        status, report, _ = check(models / "linear", "--url", f"http://127.0.0.1:{server.port}/", port=1)
        assert (status, report["ok"], report["replayed"]) == (0, True, True)
    status, report, _ = check(
        models / "linear", "--url", f"http://127.0.0.1:{server.port}", "--timeout", "0.2", port=1
    )
    assert (status, report["ok"]) == (1, False)
    assert "not ready" in report["error"]


def test_mlflows_own_client_can_talk_to_the_server(models: Path, tmp_path: Path):
    import mlflow
    import pandas as pd
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    with started(models / "linear", tmp_path, runtime="uvicorn") as server:
        client = ScoringServerClient("127.0.0.1", server.port)
        client.wait_server_ready(timeout=60)
        assert client.get_version() == mlflow.__version__
        answer = client.invoke(pd.DataFrame({"x1": [2.0], "x2": [1.0]}))
        assert answer.get_predictions().to_numpy().tolist() == [[8.0]]
