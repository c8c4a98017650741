"""Programs that several areas need; a test whose program is absent is skipped, and pytest -ra says so."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.fetch_kube_tools import fetch


def program(name: str) -> str:
    """The path of a program; skips the test when the machine lacks it."""
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of helm and kubectl; `SERVEGEN_KUBE_TOOLS` may name where they are kept from run to run."""
    cache = Path(os.environ.get("SERVEGEN_KUBE_TOOLS") or tmp_path_factory.mktemp("kube-tools"))
    cache.mkdir(parents=True, exist_ok=True)
    return fetch(cache)


@pytest.fixture(scope="session")
def docker_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of an empty docker-registry, started for this run on loopback."""
    folder = tmp_path_factory.mktemp("registry")
    host = f"127.0.0.1:{free_port()}"
    (folder / "config.yml").write_text(
        f"""\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: '{host}'}}
"""
    )
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [program("docker-registry"), "serve", str(folder / "config.yml")], stdout=log, stderr=log
        )
    try:
        _wait_for(host, server, folder / "log")
        yield host
    finally:
        server.terminate()
        server.wait(timeout=10)


def _wait_for(host: str, server: subprocess.Popen[bytes], log: Path) -> None:
    name, _, port = host.rpartition(":")
    for _ in range(200):
        assert server.poll() is None, log.read_text()
        try:
            socket.create_connection((name, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"docker-registry does not listen on {host}: {log.read_text()}")
