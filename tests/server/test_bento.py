"""The model as a BentoML Service, served and built by BentoML itself."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from servegen.server.app import App
from servegen.server.bento import build
from servegen.server.settings import Settings
from tests.server.asgi import TOY, model_file
from tests.server.grpc_client import Client, infer
from tests.server.test_process import free_port

BODY = json.dumps({"dataframe_records": [{"x1": 2.0, "x2": 1.0}]}).encode()
V2 = json.dumps(
    {
        "inputs": [
            {"name": "x1", "shape": [1], "datatype": "FP64", "data": [2.0]},
            {"name": "x2", "shape": [1], "datatype": "FP64", "data": [1.0]},
        ]
    }
).encode()
YAML = """\
serving: {batch_max_rows: 1, grpc_port: GRPC_PORT, metrics_compat: [kserve, bentoml]}
deploy: {request_timeout_seconds: 30, queue_size: 9, resources: {cpu: "1", memory: 2Gi}}
"""


def environment(home: Path, **variables: str) -> dict[str, str]:
    # Folders that pytest put on the path, such as the one with this package, are not in the environment.
    path = str(Path(__file__).parents[2])
    return {
        **os.environ,
        "BENTOML_HOME": str(home),
        "SERVEGEN_CACHE_DIR": str(home / "cache"),
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONPATH": path,
        **variables,
    }


def ask(port: int, path: str, body: bytes | None = None) -> tuple[int, str]:
    headers = {"Content-Type": "application/json"} if body else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@contextmanager
def served(what: str, env: dict[str, str], folder: Path, port: int, *options: str) -> Iterator[None]:
    """`bentoml serve`, ready on `port`."""
    log = folder / "log"
    command = [sys.executable, "-m", "bentoml", "serve", what, *options]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, env=env, cwd=folder, stdout=sink, stderr=sink)
    try:
        end = time.monotonic() + 60
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            try:
                if ask(port, "/readyz")[0] == 200:
                    break
            except OSError:
                time.sleep(0.05)
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(20)


def check(port: int) -> str:
    """The protocols answer as they do without BentoML; what it scrapes as `/metrics`."""
    assert ask(port, "/invocations", BODY) == (200, '{"predictions": [8.0]}')
    status, text = ask(port, "/v2/models/linear/infer", V2)
    assert (status, json.loads(text)["outputs"][0]["data"]) == (200, [8.0])
    for path in ("/livez", "/readyz", "/ping", "/version", "/v2/health/ready", "/docs", "/openapi.json"):
        assert ask(port, path)[0] == 200, path
    # BentoML's page of routes and our errors are both reached.
    assert json.loads(ask(port, "/schema.json")[1])["name"] == "linear"
    assert json.loads(ask(port, "/nope")[1])["error_code"] == "ENDPOINT_NOT_FOUND"
    return ask(port, "/metrics")[1]


def test_bentoml_serves_the_service(models: Path, tmp_path: Path):
    port = free_port()
    variables = {"MODEL": str(models / "linear"), "HOST": "127.0.0.1", "PORT": str(port)}
    env = environment(tmp_path / "home", **{f"SERVEGEN_{name}": value for name, value in variables.items()})
    with served("servegen.server.bento:service", env, tmp_path, port):
        scraped = check(port)
    names = [family.name for family in text_string_to_metric_families(scraped)]
    assert len(names) == len(set(names)), "Prometheus refuses a family that is there twice"
    assert {"servegen_requests", "request_predict_seconds", "bentoml_service_request"} <= set(names)
    assert 'servegen_requests_total{method="POST",route="/invocations",status="200"} 3.0' in scraped


def test_a_bento_is_built_and_served(models: Path, tmp_path: Path):
    env = environment(tmp_path / "home")
    port, grpc_port = free_port(), free_port()
    (tmp_path / "servegen.yaml").write_text(YAML.replace("GRPC_PORT", str(grpc_port)))
    written = subprocess.run(
        [sys.executable, "-m", "servegen", "bento", str(models / "linear"), "-o", "bento"],
        env=env,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    assert written.stdout == "bento\n"
    subprocess.run([sys.executable, "-m", "bentoml", "build", "bento"], env=env, cwd=tmp_path, check=True)
    # The Bento has all it needs.
    (tmp_path / "bento").rename(tmp_path / "away")
    # BentoML's own flag wins.
    env["SERVEGEN_PORT"] = str(free_port())
    with served("linear:latest", env, tmp_path, port, "--host", "127.0.0.1", "--port", str(port)):
        scraped = check(port)
        # Settings of servegen.yaml.
        assert "servegen_queue_limit 9.0" in scraped
        with Client(grpc_port) as client:
            answer = client("ModelInfer", infer(x1=[2.0], x2=[1.0]))
        assert list(answer.outputs[0].contents.fp64_contents) == pytest.approx([8.0])


def test_a_folder_that_holds_something_is_left_alone(models: Path, tmp_path: Path):
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "precious").touch()
    done = subprocess.run(
        [sys.executable, "-m", "servegen", "bento", str(models / "linear"), "-o", str(folder)],
        env=environment(tmp_path / "home"),
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode != 0
    assert "is there already" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["precious"]


@pytest.mark.parametrize(
    ("name", "tag"), [("iris", "iris"), ("My Model/v2", "my-model-v2"), ("π", "model"), ("a" * 80, "a" * 63)]
)
def test_the_service_has_a_name_that_bentoml_takes(name: str, tag: str):
    settings = Settings(model=Path("/nowhere"))
    app = App(replace(model_file(TOY), name=name), settings, version="0")
    assert build(app, settings).name == tag


def test_resources_and_traffic_are_those_of_the_settings():
    settings = Settings(model=Path("/nowhere"), request_timeout=10, queue_size=100, batch_max_rows=8)
    service = build(
        App(model_file(TOY), settings, version="0"), settings, resources={"cpu": "2", "memory": "1Gi"}
    )
    assert service.config["resources"] == {"cpu": "2", "memory": "1Gi"}
    # Ours come first, with their own error body.
    assert service.config["traffic"]["timeout"] > 10
    assert service.config["traffic"]["max_concurrency"] > 108
