"""How the server in the image treats requests: `serving` in servegen.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _option(text: str, *, default: Any = None) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class ServingSettings:
    """`serving` in servegen.yaml; what is left out has the server's own default.

    Deadline, queue and drain are in `deploy`: probes and the grace period of the pod follow from them.
    """

    max_body_bytes: int | None = _option("Largest body of a request; default 100 MiB.")
    batch_max_rows: int | None = _option("Rows that requests are merged into; default 64, 1 turns it off.")
    batch_max_wait_ms: float | None = _option("Longest time a batch waits for more requests; default 2.")
    processes: int | None = _option(
        "Processes that hold the model; default: by CPU and memory limit, where it helps."
    )
    threads: int | None = _option(
        "Calls of the model at a time in one process; default: what its metadata say, else 1."
    )
    grpc_port: int | None = _option(
        "Serve the Open Inference Protocol over gRPC on this port, too; default: not at all."
    )
    lenient: bool = _option("Cast as MLflow does, also where a value changes.", default=False)
    debug_errors: bool = _option("Answer errors with stack traces and request data.", default=False)
    warmup: bool = _option("Be ready only after the model's example was answered.", default=True)
    metrics_compat: tuple[str, ...] | None = _option(
        "Servers whose metric names are shown too: kserve, mlserver, bentoml; default: all three."
    )
