"""The settings of the server; the only place here that reads the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUNTIMES = ("bentoml", "uvicorn")
METRICS_COMPAT = ("kserve", "mlserver", "bentoml")


class SettingsError(ValueError):
    """An environment variable has a value that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `SERVEGEN_…` variables say, with their defaults."""

    model: Path
    """Folder with the MLmodel file."""
    runtime: str = "bentoml"
    host: str = "0.0.0.0"  # noqa: S104  a container answers on every interface
    port: int = 3000
    grpc_port: int | None = None
    """Where the Open Inference Protocol is served over gRPC too."""
    site: Path | None = None
    """Folder with further packages; its .pth files count."""
    model_name: str | None = None
    model_version: str | None = None
    max_body_bytes: int = 100 * 2**20
    queue_size: int = 256
    """Requests that may wait; one more is refused with 429."""
    request_timeout: float = 60.0
    batch_max_rows: int = 64
    """Rows of the largest batch that requests are merged into; 1 turns merging off."""
    batch_max_wait: float = 0.002
    """Longest time in seconds that a batch waits for further requests."""
    drain_delay: float = 5.0
    """Seconds between SIGTERM and the first refused request: endpoints need time to forget the pod."""
    drain_timeout: float = 25.0
    """Seconds that accepted requests have to finish."""
    lenient: bool = False
    """Cast as MLflow does, also where a value changes."""
    debug_errors: bool = False
    """Answer errors with MLflow's full message and stack trace."""
    warmup: bool = True
    """Whether the example is replayed before the server is ready; one that fails then fails the start."""
    model_config: Mapping[str, Any] | None = None
    processes: int | None = None
    """Processes that hold the model; by default a rule in capacity.py finds the number."""
    threads: int | None = None
    """Calls of the model at a time in one process; by default what its metadata say, else 1."""
    metrics_compat: tuple[str, ...] = METRICS_COMPAT
    """Servers under whose metric names the same counts are shown once more."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """The settings in `environ`; raises SettingsError for a value that cannot be used."""
        read = _Reader(environ)
        model = read.text("MODEL")
        if model is None:
            msg = "SERVEGEN_MODEL is not set; it names the folder with the MLmodel file"
            raise SettingsError(msg)
        site = read.text("SITE")
        timeout = environ.get("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "60")
        return cls(
            model=Path(model),
            runtime=read.choice("RUNTIME", RUNTIMES),
            host=read.text("HOST") or cls.host,
            port=read.integer("PORT", cls.port, low=0),
            grpc_port=read.optional("GRPC_PORT", low=1),
            site=Path(site) if site else None,
            model_name=read.text("MODEL_NAME"),
            model_version=read.text("MODEL_VERSION"),
            max_body_bytes=read.integer("MAX_BODY_BYTES", cls.max_body_bytes, low=1),
            queue_size=read.integer("QUEUE_SIZE", cls.queue_size, low=1),
            request_timeout=read.seconds("REQUEST_TIMEOUT", timeout, positive=True),
            batch_max_rows=read.integer("BATCH_MAX_ROWS", cls.batch_max_rows, low=1),
            batch_max_wait=read.seconds("BATCH_MAX_WAIT_MS", str(cls.batch_max_wait * 1000)) / 1000,
            drain_delay=read.seconds("DRAIN_DELAY", str(cls.drain_delay)),
            drain_timeout=read.seconds("DRAIN_TIMEOUT", str(cls.drain_timeout)),
            lenient=read.flag("LENIENT"),
            debug_errors=read.flag("DEBUG_ERRORS"),
            warmup=read.choice("WARMUP", ("require", "skip")) == "require",
            model_config=_model_config(environ),
            processes=read.optional("PROCESSES", low=1),
            threads=read.optional("THREADS", low=1),
            metrics_compat=read.choices("METRICS_COMPAT", METRICS_COMPAT),
        )


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str) -> str | None:
        return self._environ.get(f"SERVEGEN_{name}", "").strip() or None

    def choice(self, name: str, values: tuple[str, ...]) -> str:
        value = self.text(name) or values[0]
        if value not in values:
            msg = f"SERVEGEN_{name} is {value!r}; it must be one of {', '.join(values)}"
            raise SettingsError(msg)
        return value

    def choices(self, name: str, values: tuple[str, ...]) -> tuple[str, ...]:
        text = self.text(name)
        if text is None:
            return values
        if text == "none":
            return ()
        chosen = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
        if not set(chosen) <= set(values):
            msg = f"SERVEGEN_{name} is {text!r}; it must be none or some of {','.join(values)}"
            raise SettingsError(msg)
        return chosen

    def flag(self, name: str) -> bool:
        value = (self.text(name) or "false").lower()
        if value not in ("true", "false", "1", "0"):
            msg = f"SERVEGEN_{name} is {value!r}; it must be true or false"
            raise SettingsError(msg)
        return value in ("true", "1")

    def integer(self, name: str, default: int, *, low: int) -> int:
        number = self.optional(name, low=low)
        return default if number is None else number

    def optional(self, name: str, *, low: int) -> int | None:
        text = self.text(name)
        if text is None:
            return None
        if not text.isdecimal() or int(text) < low:
            msg = f"SERVEGEN_{name} is {text!r}; it must be a whole number from {low}"
            raise SettingsError(msg)
        return int(text)

    def seconds(self, name: str, default: str, *, positive: bool = False) -> float:
        text = self.text(name) or default
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf") or (positive and not value):
            msg = (
                f"SERVEGEN_{name} is {text!r}; it must be a number of seconds{' above 0' if positive else ''}"
            )
            raise SettingsError(msg)
        return value


def _model_config(environ: Mapping[str, str]) -> Mapping[str, Any] | None:
    text = environ.get("SERVING_MODEL_CONFIG")
    if not text:
        return None
    try:
        config = json.loads(text)
    except ValueError as exc:
        msg = f"SERVING_MODEL_CONFIG is not JSON: {exc}"
        raise SettingsError(msg) from exc
    if not isinstance(config, dict):
        msg = "SERVING_MODEL_CONFIG is not a JSON object"
        raise SettingsError(msg)
    return config


def read(defaults: Mapping[str, str]) -> Settings:
    """The settings of this process: its environment, and `defaults` for what it does not set."""
    return Settings.from_environ({**defaults, **os.environ})


def variables() -> dict[str, str]:
    """A copy of the environment of this process, for a child or for `defaults`."""
    return dict(os.environ)


def export(variables: Mapping[str, str]) -> None:
    """Make `variables` visible to libraries that read the environment when they are imported."""
    os.environ.update(variables)
