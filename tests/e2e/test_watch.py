"""`servegen watch` between a real MLflow server, which sends its webhooks, and a real repository."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import pytest
from cryptography.fernet import Fernet

from tests.e2e.conftest import free_port, program
from tests.e2e.workspace import Workspace

pytest_plugins = ("tests.e2e.workspace",)
pytestmark = pytest.mark.e2e

SECRET = uuid.uuid4().hex
PATIENCE = 600


@pytest.fixture(scope="module")
def server(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an MLflow server with the iris model, that may send webhooks to loopback over plain HTTP."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(trained / "mlflow.db", folder)
    url = f"http://127.0.0.1:{free_port()}"
    variables = {
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode(),
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_CACHE_TTL": "1",
        # Nobody asks for what they do, and they take long to start.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    argv = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", url.rpartition(":")[2]]
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*argv, *store],
            cwd=folder,
            env=os.environ | variables,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until(lambda: answers(f"{url}/health"), lambda: (folder / "log").read_text())
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def until(done: Callable[[], Any], explain: Callable[[], object]) -> Any:
    end = time.monotonic() + PATIENCE
    while not (found := done()):
        if time.monotonic() > end:
            pytest.fail(f"it did not come to that: {explain()}")
        time.sleep(0.05)
    return found


def answers(url: str) -> bool:
    try:
        return bool(urllib.request.urlopen(url, timeout=2).status == 200)
    except OSError:
        return False


@dataclass(kw_only=True)
class Site(Workspace):
    """A folder with a servegen.yaml, and the repository that it commits to."""

    client: Any
    remote: Path

    def git(self, *arguments: str) -> str:
        argv = [program("git"), "-C", str(self.remote), *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def commits(self) -> int:
        return len(self.git("log", "--format=%h").splitlines())

    def released(self) -> str:
        """The pin that the newest commit tells."""
        return self.git("log", "-1", "--format=%(trailers:key=Servegen-Pin,valueonly)")

    def point(self, version: str) -> None:
        self.client.set_registered_model_alias("iris", "champion", version)


@pytest.fixture(scope="module")
def site(
    server: str, trained: Path, cache: Path, docker_registry: str, tmp_path_factory: pytest.TempPathFactory
) -> Site:
    folder = tmp_path_factory.mktemp("site")
    client = mlflow.MlflowClient(server)
    first = client.get_model_version("iris", "1")
    model_id = first.source.removeprefix("models:/")
    for _ in range(2):
        client.create_model_version("iris", first.source, first.run_id, model_id=model_id)
    remote = folder / "config.git"
    init = [program("git"), "init", "--quiet", "--bare", "--initial-branch=main", str(remote)]
    subprocess.run(init, check=True)
    (folder / "gitconfig").write_text("[user]\nname = Watcher\nemail = watcher@example.com\n")
    models = folder / "models/iris"
    models.mkdir(parents=True)
    if (trained / "servegen.lock").exists():
        # Other tests made it, and the layers that go with it.
        shutil.copy(trained / "servegen.lock", models)
    variables = {
        "SERVEGEN_CACHE_DIR": str(cache),
        "SERVEGEN_WEBHOOK_SECRET": SECRET,
        "GIT_CONFIG_GLOBAL": str(folder / "gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    made = Site(folder=folder / "models", variables=variables, client=client, remote=remote)
    config = {
        "model": "models:/iris@champion",
        "image": f"{docker_registry}/iris",
        "tracking_uri": server,
        "git": {"repo": f"file://{remote}"},
        "environments": {"staging": {}},
    }
    (models / "servegen.yaml").write_text(json.dumps(config))
    return made


@dataclass(kw_only=True)
class Watching:
    """A watcher that runs, and what it has printed so far."""

    process: subprocess.Popen[str]
    results: list[dict[str, Any]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def until(self, done: Callable[[], Any]) -> Any:
        return until(done, lambda: "\n".join(self.events[-30:]))

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


def watch(site: Site, *arguments: str) -> Watching:
    argv = [sys.executable, "-m", "servegen", "watch", "--no-verify", "--json", *arguments]
    process = subprocess.Popen(
        argv,
        cwd=site.folder,
        env=os.environ | site.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    made = Watching(process=process)

    def results() -> None:
        assert process.stdout is not None
        made.results += map(json.loads, process.stdout)

    def events() -> None:
        assert process.stderr is not None
        made.events += process.stderr

    for work in (results, events):
        threading.Thread(target=work, daemon=True).start()
    return made


def post(url: str, body: bytes, **headers: str) -> int:
    request = urllib.request.Request(url, data=body, method="POST")
    for name, value in headers.items():
        request.add_header(f"X-MLflow-{name.replace('_', '-')}", value)
    try:
        return int(urllib.request.urlopen(request, timeout=10).status)
    except urllib.error.HTTPError as exc:
        return exc.code


def signed(body: bytes, at: float, secret: str = SECRET) -> dict[str, str]:
    delivery, stamp = str(uuid.uuid4()), str(int(at))
    digest = hmac.new(secret.encode(), f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "Delivery_Id": delivery,
        "Timestamp": stamp,
        "Signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def test_an_alias_that_moves_is_committed_once_whatever_befalls_the_watcher(site: Site, server: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    url = f"http://{address}"
    watcher = watch(site, "--listen", address, "--interval", "3600")
    # Nothing is released yet, which is as good as an event.
    watcher.until(lambda: watcher.results)
    assert [one["deployed"] for one in watcher.results] == ["models:/iris/1"], watcher.results
    assert (site.commits(), site.released()) == (1, "models:/iris/1")

    hook = site.client.create_webhook(
        "servegen",
        f"{url}/webhook",
        ["model_version_alias.created", "model_version_alias.deleted"],
        secret=SECRET,
    )
    assert site.client.test_webhook(hook.webhook_id).success
    site.point("2")
    watcher.until(lambda: len(watcher.results) == 2)
    assert watcher.results[1]["deployed"] == "models:/iris/2"
    assert (site.commits(), site.released()) == (2, "models:/iris/2")
    tags = site.client.get_model_version("iris", "2").tags
    assert tags["servegen.commit"] == site.git("rev-parse", "main")
    assert tags["servegen.commit"] in tags["servegen.environments.staging"]

    body = json.dumps(
        {
            "entity": "model_version_alias",
            "action": "created",
            "data": {"name": "iris", "alias": "champion", "version": "1"},
        }
    ).encode()
    good = signed(body, time.time())
    assert post(f"{url}/webhook", body, **signed(body, time.time(), secret="guessed")) == 401
    assert post(f"{url}/webhook", body.replace(b"1", b"2"), **good) == 401
    assert post(f"{url}/webhook", body, **signed(body, time.time() - 301)) == 401
    assert post(f"{url}/webhook", body) == 401
    assert post(f"{url}/webhook", body, **good) == 202
    assert post(f"{url}/webhook", body, **good) == 409
    # What it claims is not what the registry says.
    assert (len(watcher.results), site.commits()) == (2, 2)
    metrics = urllib.request.urlopen(f"{url}/metrics", timeout=10).read().decode()
    assert 'servegen_watch_deliveries_total{result="refused"} 5.0' in metrics
    assert 'servegen_watch_runs_total{result="deployed"} 2.0' in metrics
    assert watcher.end(signal.SIGTERM) == 0
    assert SECRET not in "".join(watcher.events)

    # Moved while nobody listened.
    site.point("3")
    again = watch(site, "--interval", "3600")
    again.until(lambda: any("deployed is models:/iris/2" in one for one in again.events))
    assert again.end(signal.SIGKILL) == -signal.SIGKILL
    assert "models:/iris/3" in site.ok("watch", "--once", "--no-verify")
    assert (site.commits(), site.released()) == (3, "models:/iris/3")
    assert site.ok("watch", "--once", "--no-verify") == ""
    assert site.commits() == 3
