"""Other people's clients and checkers against the server: tritonclient, kserve, schemathesis.

They cannot be installed beside the development tools, so they get an environment of their own, once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.models import SIGNATURES, save_echo, save_linear
from tests.server.test_process import RUNTIMES, Server, free_port, started

pytestmark = pytest.mark.e2e
HERE = Path(__file__).parent / "clients"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "allow_header_conformance",
)


@pytest.fixture(scope="session")
def clients() -> Path:
    """The `bin` folder of the environment with the clients; kept for the next run."""
    wanted = (HERE / "requirements.txt").read_bytes() + sys.version.encode()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "servegen-tests" / hashlib.sha256(wanted).hexdigest()[:16]
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Several processes may run these tests, and the first one makes it for all.
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--requirement"]
            subprocess.run([*pip, HERE / "requirements.txt"], check=True)
            (folder / "complete").touch()
    return folder / "bin"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every echo model and the linear one."""
    folder = tmp_path_factory.mktemp("models")
    with warnings.catch_warnings():
        # MLflow has advice for authors of models.
        warnings.simplefilter("ignore")
        for name in SIGNATURES:
            save_echo(folder, name)
        save_linear(folder)
    return folder


@pytest.fixture(scope="module", params=RUNTIMES)
def linear(
    request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The linear model, served by each runtime."""
    settings = {"runtime": request.param, "grpc_port": free_port()}
    with started(models / "linear", tmp_path_factory.mktemp("log"), **settings) as server:
        server.reach("/readyz", 200)
        yield server


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    """The client's output; it must succeed."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


def test_tritons_http_client_is_served(clients: Path, linear: Server):
    assert run(clients / "python", HERE / "triton_http.py", f"127.0.0.1:{linear.port}").stdout == "ok\n"


def test_tritons_grpc_client_is_served(clients: Path, linear: Server):
    address = f"127.0.0.1:{linear.env['SERVEGEN_GRPC_PORT']}"
    assert run(clients / "python", HERE / "triton_grpc.py", address).stdout == "ok\n"


def test_kserves_rest_client_is_served(clients: Path, linear: Server):
    done = run(clients / "python", HERE / "kserve_rest.py", f"http://127.0.0.1:{linear.port}")
    assert done.stdout == "ok\n"


@pytest.mark.parametrize(
    ("model", "runtime"),
    [
        ("linear", "bentoml"),
        ("nested", "uvicorn"),
        ("named", "bentoml"),
        ("params", "uvicorn"),
        ("free", "bentoml"),
    ],
)
def test_the_server_does_what_its_openapi_document_says(
    clients: Path, models: Path, tmp_path: Path, model: str, runtime: str
):
    with started(models / model, tmp_path, runtime=runtime) as server:
        server.reach("/readyz", 200)
        url = f"http://127.0.0.1:{server.port}/openapi.json"
        options = ["--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"]
        # The same requests each time, and few of them.
        options += ["--seed", "1", "--max-examples", "12", "--continue-on-failure", "--no-color"]
        run(clients / "st", "run", url, *options, "--generation-database", "none")
