"""Cores, ports and the time that processes spend."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

DISTURBED = 0.1
"""Share of a core that others may use before something is measured again, and marked."""
T = TypeVar("T")
_TICK = os.sysconf("SC_CLK_TCK")


def progress(text: str) -> None:
    """Tell the person who waits."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, kw_only=True)
class Cores:
    """One core for the server and another one for the load."""

    server: int
    load: int

    @classmethod
    def choose(cls) -> Cores:
        """The first and the last core that this process may use."""
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            sys.exit("bench: two cores are needed, one for the server and one for the load")
        return cls(server=allowed[0], load=allowed[-1])


def pinned(core: int, argv: list[str]) -> list[str]:
    """The command, on one core with all its children."""
    return ["taskset", "--cpu-list", str(core), *argv]


def free_port() -> int:
    """A port that nothing listens on, with the two after it free as well."""
    while True:
        with socket.socket() as first, socket.socket() as second, socket.socket() as third:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
                third.bind(("127.0.0.1", port + 2))
            except OSError:
                continue
            return port


def family(pid: int) -> set[int]:
    """The process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        fields = _stat(entry.name) if entry.name.isdecimal() else None
        if fields:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    todo = [pid]
    while todo:
        one = todo.pop()
        found.add(one)
        todo += children.get(one, [])
    return found


@dataclass(frozen=True, kw_only=True)
class Use:
    """Shares of one core, over some seconds."""

    own: float
    """What the server used."""
    others: float
    """What neither the server nor the load nor the benchmark used, on both cores: they often share caches."""


class Watch:
    """Who uses the two cores from now on."""

    def __init__(self, cores: Cores, server: int | None = None) -> None:
        """`server` is the process id of one that runs already."""
        self._cores = cores
        self._server = _spent(server) if server else 0.0
        self._ours = _ours()
        self._busy = _busy(cores)
        self._begin = time.perf_counter()

    def read(self, server: int | None = None) -> Use:
        """The shares until now; without `server` it was the benchmark's child, and has ended."""
        seconds = time.perf_counter() - self._begin
        own = (_spent(server) if server else 0.0) - self._server
        others = _busy(self._cores) - self._busy - own - (_ours() - self._ours)
        return Use(own=own / seconds, others=max(0.0, others / seconds))


def calmest(measure: Callable[[], T], others: Callable[[T], float], *, tries: int) -> T:
    """The first measurement that nobody disturbed, or the least disturbed one of so many."""
    found: list[T] = []
    while len(found) < tries and not (found and others(found[-1]) <= DISTURBED):
        found.append(measure())
    return min(found, key=others)


def memory(pid: int) -> float:
    """MiB that the family holds; pages that it shares count once."""
    total = 0
    for one in family(pid):
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


def _spent(pid: int) -> float:
    stats = [_stat(str(one)) for one in family(pid)]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats if fields) / _TICK


def _ours() -> float:
    """Seconds of this process and of the children that it has waited for."""
    return sum(os.times()[:4])


def _busy(cores: Cores) -> float:
    names = {f"cpu{cores.server}", f"cpu{cores.load}"}
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in names:
            user, nice, system, _idle, _wait, irq, soft, stolen = map(int, fields[:8])
            total += user + nice + system + irq + soft + stolen
    return total / _TICK


def _stat(pid: str) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on; None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # A name may hold blanks and brackets.
    return text[text.rindex(")") + 2 :].split()
