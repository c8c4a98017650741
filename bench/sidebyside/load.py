"""Load from the other core: wrk for a closed loop, openloop.py where arrivals must not wait for answers."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidebyside.machine import Cores, Watch, memory, pinned
from sidebyside.running import Running
from sidebyside.servers import Case, Server

_HERE = Path(__file__).resolve().parent
_WARM_UP = 1.0


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measured cell; latencies in milliseconds."""

    model: str
    server: str
    load: str
    """`closed` or `open`."""
    concurrency: int
    """Connections that ask again at once; for `open` the most that were used."""
    rate: float
    """Good answers a second."""
    offered: float | None
    """Arrivals a second, `open` only."""
    p50: float
    p90: float
    p99: float
    max: float
    bad: int
    """Answers with an error status, and connections that broke."""
    own_cpu: float
    """Share of a core that the server used."""
    other_cpu: float
    """Share that somebody else used, on both cores."""
    memory: float
    """MiB after the load."""


def closed(
    name: str, server: Server, case: Case, running: Running, *, cores: Cores, concurrency: int, seconds: float
) -> Point:
    """What wrk measures with so many connections, after a second of warm-up."""

    def wrk(duration: float) -> dict[str, Any]:
        # Threads 1: one core is all it has. It counts an answer that is later than the timeout as broken.
        options = ["-t1", f"-c{concurrency}", f"-d{max(1, round(duration))}s", "--timeout", "30s"]
        url = f"http://127.0.0.1:{running.port}{server.path}"
        argv = ["wrk", *options, "-s", str(_HERE / "apps/post.lua"), url, "--", str(bodies)]
        done = subprocess.run(pinned(cores.load, argv), check=True, capture_output=True, text=True)
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return figures

    with tempfile.TemporaryDirectory(prefix="servegen-bench-") as folder:
        bodies = _bodies(Path(folder), server, case)
        wrk(_WARM_UP)
        watch = Watch(cores, running.pid)
        figures = wrk(seconds)
        figures["rate"] = (figures["requests"] - figures["bad"]) / figures["seconds"]
        labels = {"model": case.name, "server": name, "load": "closed", "concurrency": concurrency}
        return _point(figures, watch, running, {**labels, "offered": None})


def opened(
    name: str, server: Server, case: Case, running: Running, *, cores: Cores, rate: float, seconds: float
) -> Point:
    """What clients see that arrive at random, `rate` a second; see openloop.py."""
    with tempfile.TemporaryDirectory(prefix="servegen-bench-") as folder:
        bodies = _bodies(Path(folder), server, case)
        argv = [sys.executable, str(_HERE / "openloop.py"), str(running.port), server.path, str(bodies)]
        watch = Watch(cores, running.pid)
        done = subprocess.run(
            pinned(cores.load, [*argv, str(rate), str(seconds)]), check=True, capture_output=True, text=True
        )
        figures = json.loads(done.stdout)
        labels = {"model": case.name, "server": name, "load": "open", "concurrency": figures["connections"]}
        return _point(figures, watch, running, {**labels, "offered": rate})


def _bodies(folder: Path, server: Server, case: Case) -> Path:
    place = folder / "bodies"
    place.write_text("".join(json.dumps(server.body(case, [row])) + "\n" for row in case.rows))
    return place


def _point(figures: dict[str, Any], watch: Watch, running: Running, labels: dict[str, Any]) -> Point:
    use = watch.read(running.pid)
    return Point(
        **labels,
        **{key: figures[key] for key in ("rate", "p50", "p90", "p99", "max")},
        bad=figures["bad"] + figures["broken"],
        own_cpu=use.own,
        other_cpu=use.others,
        memory=memory(running.pid),
    )
