"""`process_*` of the server and its worker processes together, from /proc."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

_UTIME, _STIME, _CUTIME, _CSTIME, _START, _VSIZE, _RSS = 11, 12, 13, 14, 19, 20, 21
"""Fields of /proc/PID/stat, counted from the one after the name."""


@dataclass(frozen=True, kw_only=True)
class _Process:
    ticks: int
    started: int
    """Ticks after boot."""
    virtual: int
    resident: int
    """In pages."""


def collect(workers: Sequence[int], root: Path = Path("/proc")) -> Iterator[Metric]:
    """Sums over this process and `workers`; nothing where there is no /proc."""
    try:
        own = _read(root / "self", reaped=True)
        boot = _boot_time(root)
        open_files = sum(1 for _ in (root / "self" / "fd").iterdir())
    except (OSError, ValueError, IndexError):
        return
    found = [own]
    for pid in workers:
        # One that is gone counts in the times of its parent, which has waited for it.
        with contextlib.suppress(OSError, ValueError, IndexError):
            found.append(_read(root / str(pid), reaped=False))
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    yield GaugeMetricFamily(
        "process_virtual_memory_bytes", "Virtual memory of all workers.", sum(p.virtual for p in found)
    )
    yield GaugeMetricFamily(
        "process_resident_memory_bytes",
        "Resident memory of all workers; pages they share count for each.",
        sum(p.resident for p in found) * page,
    )
    yield GaugeMetricFamily(
        "process_start_time_seconds", "Start of the server since the Unix epoch.", boot + own.started / tick
    )
    yield CounterMetricFamily(
        "process_cpu_seconds",
        "CPU time of all workers, ended ones included.",
        sum(p.ticks for p in found) / tick,
    )
    # Of one process, so that it compares with the limit.
    yield GaugeMetricFamily("process_open_fds", "Open files of the server.", open_files)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    yield GaugeMetricFamily("process_max_fds", "Most open files of the server.", limit)


def _read(folder: Path, *, reaped: bool) -> _Process:
    # The name may hold blanks and parentheses.
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    times = (_UTIME, _STIME, _CUTIME, _CSTIME) if reaped else (_UTIME, _STIME)
    return _Process(
        ticks=sum(int(fields[i]) for i in times),
        started=int(fields[_START]),
        virtual=int(fields[_VSIZE]),
        resident=int(fields[_RSS]),
    )


def _boot_time(root: Path) -> int:
    for line in (root / "stat").read_text().splitlines():
        if line.startswith("btime "):
            return int(line.split()[1])
    msg = f"{root}/stat has no btime"
    raise ValueError(msg)
