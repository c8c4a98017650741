"""What libraries should find in the environment before they are imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_THREAD_POOLS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)
_UNLIMITED = 2**60
_SCRATCH = "/tmp"  # noqa: S108  the only writable folder of an image


def cpu_limit(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """The CPUs that the container may use by its cgroup (v2, then v1); None without a limit."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    if quota.strip() in ("max", "-1"):
        return None
    return int(quota) / int(period)


def memory_limit(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The bytes that the container may use by its cgroup (v2, then v1); None without a limit."""
    for path in (root / "memory.max", root / "memory" / "memory.limit_in_bytes"):
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        # v1 has no word for "none"; it writes the largest number of pages instead.
        return int(text) if text != "max" and int(text) < _UNLIMITED else None
    return None


def threads(limit: float | None) -> int:
    """Threads a numeric library may start.

    Without a limit it is 1: the cores of the node belong to its other pods too, and one row gains
    nothing from a second thread.
    """
    return max(1, int(limit)) if limit else 1


def pools(size: int, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables for a process that shares its CPUs: pools of `size`, or less if the user wants less."""
    return {name: str(min(size, _number(environ.get(name)) or size)) for name in _THREAD_POOLS}


def _number(text: str | None) -> int | None:
    # OMP_NUM_THREADS may be a list, one number a level.
    first = (text or "").partition(",")[0].strip()
    return int(first) if first.isdecimal() else None


def defaults(environ: Mapping[str, str], *, limit: float | None) -> dict[str, str]:
    """The variables to add to `environ`; what a user has set stays."""
    wanted = dict.fromkeys(_THREAD_POOLS, str(threads(limit)))
    # A user without a passwd entry on a read-only root has no home of its own.
    home = environ.get("HOME", "")
    if home in ("", "/", "/nonexistent") or not Path(home).is_dir():
        wanted["HOME"] = _SCRATCH
    wanted |= {
        "BENTOML_HOME": f"{_SCRATCH}/bentoml",
        "BENTOML_DO_NOT_TRACK": "True",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MPLCONFIGDIR": f"{_SCRATCH}/matplotlib",
        "NUMBA_CACHE_DIR": f"{_SCRATCH}/numba",
        # Models ask for it to tell serving from training.
        "_MLFLOW_IS_IN_SERVING_ENVIRONMENT": "true",
    }
    return {k: v for k, v in wanted.items() if k == "HOME" or not environ.get(k)}
