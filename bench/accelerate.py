"""Models as they were logged and as ONNX, side by side with the peers, in one run.

    python bench/accelerate.py                  every model and server: half an hour
    python bench/accelerate.py --models forest --servers mlflow,servegen-accelerated,bare

The server has one core and the load comes from another one, so two must be idle. Needs wrk and, the first
time, a package index. Prints the bars and all figures, and leaves accelerate.json in `--output`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

from sidebyside import environments, load
from sidebyside.accelerated import MODELS
from sidebyside.environments import Environments
from sidebyside.load import Point
from sidebyside.machine import DISTURBED, Cores, calmest, progress
from sidebyside.running import ServerError, check, started
from sidebyside.servers import ACCELERATED, Case

HERE = Path(__file__).resolve().parent
OURS = "servegen-accelerated"
CONNECTIONS = 32


def main() -> None:
    """Measure, print and write."""
    options = arguments()
    if not shutil.which("wrk") or not shutil.which("taskset"):
        sys.exit("bench: wrk or taskset is not installed; apt-get install wrk util-linux")
    cores = Cores.choose()
    envs = environments.make_accelerating(options.cache)
    folder = trained(envs, options.cache)
    # What is started from here keeps off the server's core unless it is a server.
    os.sched_setaffinity(0, {cores.load})
    points: list[Point] = []
    starts: dict[str, float] = {}
    failures: list[str] = []
    for name in options.models:
        case = Case.read(folder / name)
        for server in options.servers:
            measured = partial(measure, server, case, envs=envs, cores=cores, options=options)
            failed = measured(points=points, starts=starts)
            if failed is not None:
                failures.append(failed)
                progress(failed)
    options.output.mkdir(parents=True, exist_ok=True)
    facts = {"points": [asdict(p) for p in points], "starts": starts, "failures": failures}
    (options.output / "accelerate.json").write_text(json.dumps(facts, indent=1) + "\n")
    print("\n".join([*table(points, starts), *(f"FAILED {each}" for each in failures)]))
    if failures:
        sys.exit(1)


def measure(
    name: str,
    case: Case,
    *,
    envs: Environments,
    cores: Cores,
    options: argparse.Namespace,
    points: list[Point],
    starts: dict[str, float],
) -> str | None:
    """Add the point and the start of one server with one model; what failed, where something did."""
    server = ACCELERATED[name]
    try:
        with started(server, case, envs=envs, cores=cores) as running:
            check(server, case, running)
            closed = partial(load.closed, name, server, case, running, cores=cores, concurrency=CONNECTIONS)
            point = calmest(
                partial(closed, seconds=options.seconds), lambda p: p.other_cpu, tries=options.tries
            )
    except ServerError as exc:
        return f"{case.name}, {name}: {exc}"
    points.append(point)
    starts[f"{case.name}, {name}"] = running.ready_seconds
    progress(f"{case.name}, {name}: {point.rate:.0f}/s, p99 {point.p99:.2f} ms")
    return None


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, known in (("models", MODELS), ("servers", ACCELERATED)):
        parser.add_argument(
            f"--{name}",
            type=lambda text: text.split(","),
            default=list(known),
            help=f"of {','.join(known)}",
        )
    parser.add_argument("--seconds", type=float, default=5, help="a point; a second of warm-up comes first")
    again = "of a measurement while others use the cores; the calmest counts"
    parser.add_argument("--tries", type=int, default=3, help=again)
    parser.add_argument("--cache", type=Path, default=HERE.parent / ".bench", help="environments and models")
    parser.add_argument("--output", type=Path, default=HERE.parent / ".bench/results", help="where files go")
    options = parser.parse_args()
    for given, known in ((options.models, MODELS), (options.servers, ACCELERATED)):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    options.cache, options.output = options.cache.resolve(), options.output.resolve()
    return options


def trained(envs: Environments, cache: Path) -> Path:
    """The folder of the models, trained and converted once for these versions and this code."""
    place = cache / f"models-{envs.shared.parent.parent.name}"
    sources = [HERE / "sidebyside" / name for name in ("accelerated.py", "models.py")]
    text = "".join(source.read_text() for source in sources)
    done = place / "complete"
    if not done.is_file() or done.read_text() != text:
        progress("training and converting the models (once)")
        environ = environments.child_environ()
        environ["PYTHONPATH"] += f":{HERE}"
        argv = [str(envs.shared), str(sources[0]), str(place)]
        subprocess.run(argv, check=True, env=environ, stdout=subprocess.DEVNULL)
        done.write_text(text)
    return place


def table(points: list[Point], starts: dict[str, float]) -> list[str]:
    """Bars and figures as lines of text."""
    rate = {(p.model, p.server): p.rate for p in points}
    ours = next((p for p in points if (p.model, p.server) == ("forest", OURS)), None)

    def ratio(server: str) -> float | None:
        peer = rate.get(("forest", server))
        return ours.rate / peer if ours and peer else None

    what = "forest, 32 connections: accelerated"
    bars = (
        (f"{what} / mlflow, requests/s", ratio("mlflow"), ">=", 50),
        (f"{what} / bare uvicorn, requests/s", ratio("bare"), ">=", 0.55),
        (f"{what}: p99 / p50", ours.p99 / ours.p50 if ours else None, "<=", 4),
        ("forest, accelerated: start to ready, seconds", starts.get(f"forest, {OURS}"), "<=", 0.7),
        ("forest, accelerated: memory after the load, MiB", ours.memory if ours else None, "<=", 130),
    )
    text = [f"{'bar':66}{'figure':>9}{'bar':>9}  reached"]
    for figure, value, sign, bar in bars:
        reached = None if value is None else value >= bar if sign == ">=" else value <= bar
        said = {None: "not measured", True: "yes", False: "no"}[reached]
        shown = "" if value is None else f"{value:.2f}"
        text.append(f"{figure:66}{shown:>9}{sign:>4}{bar:>5g}  {said}")
    head = f"{'model':10}{'server':22}{'req/s':>9}{'/ mlflow':>10}{'p50 ms':>9}{'p99 ms':>9}"
    text += ["", f"{head}{'MiB':>7}{'ready s':>9}"]
    for p in points:
        peer = rate.get((p.model, "mlflow"))
        times = f"{p.rate / peer:.1f}" if peer else ""
        ready = starts[f"{p.model}, {p.server}"]
        text.append(
            f"{p.model:10}{p.server:22}{p.rate:>9.0f}{times:>10}{p.p50:>9.2f}{p.p99:>9.2f}"
            f"{p.memory:>7.0f}{ready:>9.2f}"
            + (" *" if p.other_cpu > DISTURBED else "")
            + (f"  {p.bad} BAD ANSWERS" if p.bad else "")
        )
    if any(p.other_cpu > DISTURBED for p in points):
        text += ["", f"* others used more than {DISTURBED:.0%} of a core meanwhile"]
    return text


if __name__ == "__main__":
    main()
