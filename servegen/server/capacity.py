"""How many processes and threads call the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_PARALLEL = frozenset(
    {
        "catboost",
        "keras",
        "lightgbm",
        "onnx",
        "paddle",
        "pytorch",
        "sentence_transformers",
        "tensorflow",
        "transformers",
        "xgboost",
    }
)
"""Flavors whose libraries let go of the interpreter's lock and spread one call over a pool of threads."""
_PROCESS = 300 * 2**20
"""Memory of a process with Python, MLflow, pandas and a library, before the model."""
_SERVER = 150 * 2**20
"""Memory of the process that has the connections and no model."""
_SPREAD = 2
"""Memory of a loaded model / size of its files."""
_SHARE = 0.8
"""Part of the memory limit that is given out; the rest is for requests."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the container may use; None is no limit."""

    cpus: float | None
    memory: int | None


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What was set; None leaves it to the rule."""

    processes: int | None = None
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What calls the model."""

    processes: int
    """1 is the server's own process."""
    threads: int
    """Calls at a time in each process."""
    pool: int
    """Threads that a numeric library may start in each process."""


def plan(flavor: str, *, size: int, limits: Limits, wishes: Wishes) -> Capacity:
    """Processes, threads and pools for a model of `flavor` whose files have `size` bytes.

    One process by default: a further one has a whole copy of the model. More only where they gain something
    and fit: the library holds the interpreter's lock, and the container's own limits say that there are CPUs
    and memory. The cores of the node say nothing, for they belong to its other pods too.
    """
    cpus = int(limits.cpus) if limits.cpus else 1
    threads = wishes.threads or 1
    processes = wishes.processes
    if processes is None:
        processes = (
            1 if flavor in _PARALLEL or threads > 1 else min(cpus, _fitting(size, limits.memory, cpus))
        )
    processes = max(1, processes)
    if processes > 1:
        # A process answers one call at a time.
        threads = 1
    return Capacity(processes=processes, threads=threads, pool=max(1, cpus // (processes * threads)))


def _fitting(size: int, memory: int | None, wanted: int) -> int:
    if memory is None:
        return wanted
    return int((memory * _SHARE - _SERVER) // (_PROCESS + _SPREAD * size))


def size(folder: Path) -> int:
    """Bytes of all files in `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
