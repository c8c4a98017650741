"""How each server is started, asked and read; each gets the same rows in the form of its own protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidebyside.environments import Environments

_APPS = Path(__file__).resolve().parent / "apps"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One model with the rows that are sent and what the model answers to them."""

    name: str
    folder: Path
    columns: list[str] | None
    rows: list[list[Any]]
    answers: list[float]

    @classmethod
    def read(cls, folder: Path) -> Case:
        """The case in a folder that models.py wrote."""
        return cls(name=folder.name, folder=folder, **json.loads((folder / "cases.json").read_text()))

    @property
    def model(self) -> Path:
        """The folder of the MLmodel file."""
        return self.folder / "model"


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A command line with what it needs around it."""

    argv: list[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Server:
    """One server of the comparison."""

    launch: Callable[[Environments, Case, int, Path], Launch]
    """The command for environments, case, port and an empty folder of its own."""
    ready: str
    path: str
    body: Callable[[Case, list[Any]], Any]
    read: Callable[[Any], list[float]] | None
    """The predictions in an answer; raises LookupError or TypeError when it has none. None: it is an echo."""


def _mlflow(envs: Environments, case: Case, port: int, _folder: Path) -> Launch:
    argv = ["models", "serve", "-m", str(case.model), "-p", str(port), "--env-manager", "local"]
    program = envs.shared.parent
    return Launch(argv=[str(program / "mlflow"), *argv], environ=_first_on_path(program))


def _bentoml(service: str) -> Callable[[Environments, Case, int, Path], Launch]:
    def launch(envs: Environments, case: Case, port: int, folder: Path) -> Launch:
        program = envs.shared.parent
        environ = {"BENCH_MODEL": str(case.model), "BENTOML_HOME": str(folder), **_first_on_path(program)}
        argv = [str(program / "bentoml"), "serve", f"bento_service:{service}", "--port", str(port)]
        return Launch(argv=[*argv, "--host", "127.0.0.1"], environ=environ, folder=_APPS)

    return launch


def _mlserver(*, batched: bool) -> Callable[[Environments, Case, int, Path], Launch]:
    def launch(envs: Environments, case: Case, port: int, folder: Path) -> Launch:
        model: dict[str, Any] = {
            "name": "model",
            "implementation": "mlserver_mlflow.MLflowRuntime",
            "parameters": {"uri": str(case.model)},
        }
        settings: dict[str, Any] = {
            "host": "127.0.0.1",
            "http_port": port,
            "grpc_port": port + 1,
            "metrics_port": port + 2,
            "debug": False,
        }
        if batched:
            # Its documentation: batching is off until it is configured, and one core has no use for workers.
            model |= {"max_batch_size": 64, "max_batch_time": 0.005}
            settings["parallel_workers"] = 0
        (folder / "model-settings.json").write_text(json.dumps(model))
        (folder / "settings.json").write_text(json.dumps(settings))
        program = envs.mlserver.parent
        return Launch(argv=[str(program / "mlserver"), "start", str(folder)], environ=_first_on_path(program))

    return launch


def _servegen(runtime: str, folder: str = "model") -> Callable[[Environments, Case, int, Path], Launch]:
    def launch(envs: Environments, case: Case, port: int, _folder: Path) -> Launch:
        settings = {
            "MODEL": str(case.folder / folder),
            "MODEL_NAME": "model",
            "RUNTIME": runtime,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "DRAIN_DELAY": "0",
        }
        return Launch(
            argv=[str(envs.shared), "-m", "servegen.server"],
            environ={f"SERVEGEN_{k}": v for k, v in settings.items()},
        )

    return launch


def _bare(envs: Environments, _case: Case, port: int, _folder: Path) -> Launch:
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--lifespan", "off"]
    argv = [str(envs.shared), "-m", "uvicorn", "bare:app", "--port", str(port), *options]
    return Launch(argv=argv, folder=_APPS)


def _first_on_path(program: Path) -> dict[str, str]:
    # They start other programs of their environment by name.
    return {"PATH": f"{program}:/usr/local/bin:/usr/bin:/bin"}


def _invocations_body(case: Case, rows: list[Any]) -> Any:
    if case.columns is None:
        return {"inputs": rows}
    return {"dataframe_split": {"columns": case.columns, "data": rows}}


def _invocations_read(answer: Any) -> list[float]:
    found = answer["predictions"]
    return list(found["label"] if isinstance(found, dict) else found)


def _bentoml_body(_case: Case, rows: list[Any]) -> Any:
    return {"rows": rows}


def _v2_body(case: Case, rows: list[Any]) -> Any:
    if case.columns is None:
        flat = [value for row in rows for value in row]
        tensor = {"name": "input-0", "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": flat}
        return {"inputs": [tensor | {"parameters": {"content_type": "np"}}]}
    inputs = []
    for i, name in enumerate(case.columns):
        kind = ("BYTES", "str") if isinstance(rows[0][i], str) else ("FP64", "np")
        tensor = {"name": name, "shape": [len(rows), 1], "datatype": kind[0], "data": [r[i] for r in rows]}
        inputs.append(tensor | {"parameters": {"content_type": kind[1]}})
    return {"inputs": inputs, "parameters": {"content_type": "pd"}}


def _v2_read(answer: Any) -> list[float]:
    return list(answer["outputs"][0]["data"])


_V2 = "/v2/models/model"
_MLFLOW_API: dict[str, Any] = {
    "path": "/invocations",
    "body": _invocations_body,
    "read": _invocations_read,
}
_V2_API: dict[str, Any] = {
    "ready": f"{_V2}/ready",
    "path": f"{_V2}/infer",
    "body": _v2_body,
    "read": _v2_read,
}
_BENTOML_API: dict[str, Any] = {
    "ready": "/readyz",
    "path": "/predict",
    "body": _bentoml_body,
    "read": list,
}
SERVERS: dict[str, Server] = {
    "mlflow": Server(launch=_mlflow, ready="/ping", **_MLFLOW_API),
    "bentoml": Server(launch=_bentoml("Plain"), **_BENTOML_API),
    "bentoml-batched": Server(launch=_bentoml("Batched"), **_BENTOML_API),
    "mlserver": Server(launch=_mlserver(batched=False), **_V2_API),
    "mlserver-batched": Server(launch=_mlserver(batched=True), **_V2_API),
    "servegen-bentoml": Server(launch=_servegen("bentoml"), ready="/readyz", **_MLFLOW_API),
    "servegen-uvicorn": Server(launch=_servegen("uvicorn"), ready="/readyz", **_MLFLOW_API),
    "servegen-uvicorn-v2": Server(launch=_servegen("uvicorn"), **_V2_API),
    "bare": Server(launch=_bare, ready="/", path="/", body=_invocations_body, read=None),
}
"""In the order in which they are measured; `bare` parses, echoes and predicts nothing."""
ACCELERATED: dict[str, Server] = {
    "mlflow": SERVERS["mlflow"],
    "mlserver": SERVERS["mlserver"],
    "servegen-uvicorn": SERVERS["servegen-uvicorn"],
    "servegen-accelerated": Server(
        launch=_servegen("uvicorn", "accelerated"), ready="/readyz", **_MLFLOW_API
    ),
    "bare": SERVERS["bare"],
}
"""Those that bench/accelerate.py compares; the accelerated one serves what accelerated.py has converted."""
