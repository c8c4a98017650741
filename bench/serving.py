"""Servers side by side: the same models, requests and core, in one run.

    make benchserving                           every model, server and number of connections: an hour
    python bench/serving.py --quick             what the bars need: five minutes
    python bench/serving.py --models forest --servers mlflow,servegen-uvicorn --connections 32

The server has one core and the load comes from another one, so two must be idle. Needs wrk (apt-get install
wrk) and, the first time, a package index. Prints the bars and all figures; leaves serving.json, .txt and .svg
in `--output`. Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from sidebyside import environments, load, report
from sidebyside.environments import Environments
from sidebyside.machine import Cores, Watch, calmest, pinned, progress
from sidebyside.running import Running, ServerError, check, started
from sidebyside.servers import SERVERS, Case

HERE = Path(__file__).resolve().parent
MODELS = ("linear", "forest", "boosting", "text", "onnx")
CONNECTIONS = (1, 8, 32, 64, 128)
Plan = dict[str, dict[str, tuple[int, ...]]]
QUICK: Plan = {
    "forest": dict.fromkeys((s for s in SERVERS if s != "bare"), (1, 32, 128)),
    "linear": dict.fromkeys(("servegen-uvicorn", "bare"), (64,)),
}
"""Model, server, connections: the cells that bars are made of."""
STARTED = ("mlflow", "bentoml", "mlserver", "servegen-bentoml", "servegen-uvicorn")
"""Configurations of one peer start alike, so one of each will do."""


def main() -> None:
    """Measure, print and write."""
    options = arguments()
    if not shutil.which("wrk") or not shutil.which("taskset"):
        sys.exit("bench: wrk or taskset is not installed; apt-get install wrk util-linux")
    plan = wanted(options)
    cores = Cores.choose()
    envs = environments.make(options.cache)
    cases = {name: Case.read(folder) for name, folder in models(envs, options.cache).items()}
    # What is started from here keeps off the server's core unless it is a server.
    os.sched_setaffinity(0, {cores.load})
    results = report.Results(machine=machine(options, cores))
    for turn in range(options.rounds):
        progress(f"round {turn + 1} of {options.rounds}")
        for name, servers in plan.items():
            case = cases[name]
            alone = partial(in_process, envs, case, cores, options.seconds)
            found = calmest(alone, lambda figures: figures["other_cpu"], tries=options.tries)
            results.in_process.setdefault(name, []).append(found)
            for server, connections in servers.items():
                measure(server, case, connections, envs=envs, cores=cores, options=options, results=results)
    if options.starts and "linear" in cases:
        for server in STARTED:
            if any(server in servers for servers in plan.values()):
                start_times(server, cases["linear"], envs=envs, cores=cores, options=options, results=results)
    report.write(results, options.output)
    print(report.table(results), end="")
    progress(f"wrote {options.output}/serving.json, serving.txt and serving.svg")
    if results.failures:
        sys.exit(1)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def names(text: str) -> list[str]:
        return text.split(",")

    parser.add_argument("--quick", action="store_true", help="only what the bars need")
    parser.add_argument("--models", type=names, help=f"of {','.join(MODELS)}")
    parser.add_argument("--servers", type=names, help=f"of {','.join(SERVERS)}")
    parser.add_argument(
        "--connections", type=lambda t: tuple(int(n) for n in t.split(",")), help="1,8,32,64,128"
    )
    parser.add_argument("--seconds", type=float, default=5, help="a point; a second of warm-up comes first")
    parser.add_argument("--rounds", type=int, default=1, help="of everything; medians are shown")
    again = "of a measurement while others use the cores; the calmest counts"
    parser.add_argument("--tries", type=int, default=3, help=again)
    parser.add_argument("--starts", type=int, default=3, help="measured starts of each server; 0: none")
    shares = "open loop too, at these shares of the closed loop's 32 connections, such as 0.5,0.8"
    parser.add_argument("--open", type=lambda t: [float(n) for n in t.split(",")], default=[], help=shares)
    rates = "open loop too, at these arrivals a second"
    parser.add_argument("--rates", type=lambda t: [float(n) for n in t.split(",")], default=[], help=rates)
    parser.add_argument("--cache", type=Path, default=HERE.parent / ".bench", help="environments and models")
    parser.add_argument("--output", type=Path, default=HERE.parent / ".bench/results", help="where files go")
    options = parser.parse_args()
    for given, known in ((options.models, MODELS), (options.servers, SERVERS)):
        unknown = set(given or ()) - set(known)
        if unknown:
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    options.cache, options.output = options.cache.resolve(), options.output.resolve()
    return options


def wanted(options: argparse.Namespace) -> Plan:
    """The cells to measure."""
    whole: Plan = QUICK if options.quick else {m: dict.fromkeys(SERVERS, CONNECTIONS) for m in MODELS}
    return {
        model: {
            server: options.connections or connections
            for server, connections in servers.items()
            if server in (options.servers or SERVERS)
        }
        for model, servers in whole.items()
        if model in (options.models or MODELS)
    }


def models(envs: Environments, cache: Path) -> dict[str, Path]:
    """The folder of each model, trained once for these versions."""
    place = cache / f"models-{envs.shared.parent.parent.name}"
    source = HERE / "sidebyside/models.py"
    done = place / "complete"
    if not done.is_file() or done.read_text() != source.read_text():
        progress("training the models (once)")
        argv = [envs.shared, source, place]
        subprocess.run(argv, check=True, env=environments.child_environ(), stdout=subprocess.DEVNULL)
        done.write_text(source.read_text())
    return {name: place / name for name in MODELS}


def in_process(envs: Environments, case: Case, cores: Cores, seconds: float) -> dict[str, float]:
    """What the model does on the server's core without a server."""
    progress(f"{case.name}: in process")
    argv = [str(envs.shared), str(HERE / "sidebyside/apps/inprocess.py"), str(case.folder), str(seconds)]
    watch = Watch(cores)
    done = subprocess.run(
        pinned(cores.server, argv),
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environments.child_environ(),
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**figures, "other_cpu": watch.read().others}


def measure(
    name: str,
    case: Case,
    connections: tuple[int, ...],
    *,
    envs: Environments,
    cores: Cores,
    options: argparse.Namespace,
    results: report.Results,
) -> None:
    """Add the points of one server with one model; what fails is told and left out."""
    server = SERVERS[name]
    try:
        with started(server, case, envs=envs, cores=cores) as running:
            check(server, case, running)
            rates = list(options.rates)
            for count in connections:
                closed = partial(load.closed, name, server, case, running, cores=cores, concurrency=count)
                point = calmest(partial(closed, seconds=options.seconds), _others, tries=options.tries)
                add(point, results)
                if count == 32:
                    rates += [point.rate * share for share in options.open]
            for rate in rates:
                opened = partial(load.opened, name, server, case, running, cores=cores, rate=rate)
                add(calmest(partial(opened, seconds=options.seconds), _others, tries=options.tries), results)
    except ServerError as exc:
        progress(f"{case.name}, {name}: {exc}")
        results.failures.append(f"{case.name}, {name}: {exc}")


def add(point: load.Point, results: report.Results) -> None:
    """Keep and tell."""
    results.points.append(point)
    arrivals = f"{point.offered:.0f}/s offered" if point.offered else f"{point.concurrency} connections"
    progress(
        f"{point.model}, {point.server}, {arrivals}: {point.rate:.0f}/s, p50 {point.p50:.2f} ms,"
        f" p99 {point.p99:.2f} ms" + (f", {point.bad} BAD" if point.bad else "")
    )


def start_times(
    name: str,
    case: Case,
    *,
    envs: Environments,
    cores: Cores,
    options: argparse.Namespace,
    results: report.Results,
) -> None:
    """Add the seconds from start to ready; the load has read every file before, so the disk is warm."""

    def once() -> Running:
        with started(SERVERS[name], case, envs=envs, cores=cores) as running:
            return running

    try:
        for _ in range(options.starts):
            calm = calmest(once, _others, tries=options.tries)
            results.starts.setdefault(name, []).append(calm.ready_seconds)
    except ServerError as exc:
        results.failures.append(f"start of {name}: {exc}")
    progress(f"start of {name}: {', '.join(f'{s:.2f}' for s in results.starts.get(name, []))} s")


def _others(measured: load.Point | Running) -> float:
    return measured.other_cpu


def machine(options: argparse.Namespace, cores: Cores) -> dict[str, Any]:
    """What the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "cpu": next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "?"),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": environments.PYTHON,
        "server_core": cores.server,
        "load_core": cores.load,
        "seconds": options.seconds,
        "rounds": options.rounds,
        "load_before": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
