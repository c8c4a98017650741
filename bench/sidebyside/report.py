"""The bars, the tables, the JSON and the plot of a run."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sidebyside.load import Point
from sidebyside.machine import DISTURBED

_OURS = "servegen-uvicorn"


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that was measured; a list holds one value a round."""

    machine: dict[str, Any]
    points: list[Point] = field(default_factory=list)
    in_process: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    starts: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One row of what serving must show."""

    figure: str
    value: float | None
    """None when its parts were not measured."""
    most: float | None = None
    least: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the value is within its bar; None without a value."""
        if self.value is None:
            return None
        return (self.least is None or self.value >= self.least) and (
            self.most is None or self.value <= self.most
        )


def bars(results: Results) -> list[Bar]:
    """Every bar of the comparison, with the figure of this run."""
    point = _Medians(results).point
    inside = _Medians(results).inside
    start = _Medians(results).start

    def best(*servers: str) -> float | None:
        # Each peer counts with the better of its two configurations.
        rates = [point("forest", server, 32, "rate") for server in servers]
        return max((rate for rate in rates if rate is not None), default=None)

    ours = point("forest", _OURS, 32, "rate")
    mlflow = best("mlflow")
    return [
        Bar(
            figure="forest, 32 connections: servegen-bentoml / mlflow, requests/s",
            value=_ratio(point("forest", "servegen-bentoml", 32, "rate"), mlflow),
            least=18,
        ),
        Bar(
            figure="forest, 32 connections: servegen-uvicorn / mlflow, requests/s",
            value=_ratio(ours, mlflow),
            least=20,
        ),
        Bar(
            figure="forest, 32 connections: servegen-uvicorn / MLServer, requests/s",
            value=_ratio(ours, best("mlserver", "mlserver-batched")),
            least=4,
        ),
        Bar(
            figure="forest, 32 connections: servegen-uvicorn / BentoML, requests/s",
            value=_ratio(ours, best("bentoml", "bentoml-batched")),
            least=3.5,
        ),
        Bar(
            figure="forest, 128 connections: servegen-uvicorn / predict of 32 rows here, rows/s",
            value=_ratio(point("forest", _OURS, 128, "rate"), inside("forest", "batch_rows")),
            least=0.5,
        ),
        Bar(
            figure="forest, 1 connection: servegen-uvicorn / pyfunc.predict of one row here, p50",
            value=_ratio(point("forest", _OURS, 1, "p50"), inside("forest", "one_p50")),
            most=1.0,
        ),
        Bar(
            figure="forest, 32 connections: servegen-uvicorn, p99 / p50",
            value=_ratio(point("forest", _OURS, 32, "p99"), point("forest", _OURS, 32, "p50")),
            most=3,
        ),
        Bar(
            figure="linear, 64 connections: servegen-uvicorn / bare app, requests/s",
            value=_ratio(point("linear", _OURS, 64, "rate"), point("linear", "bare", 64, "rate")),
            least=0.7,
        ),
        Bar(figure="linear, start to ready: servegen-uvicorn, seconds", value=start(_OURS), most=2.0),
        Bar(
            figure="linear, start to ready: servegen-bentoml, seconds",
            value=start("servegen-bentoml"),
            most=3.0,
        ),
    ]


class _Medians:
    def __init__(self, results: Results) -> None:
        self._results = results

    def point(self, model: str, server: str, concurrency: int, key: str) -> float | None:
        """The median over the rounds of one cell; a round with bad answers does not count."""
        return _median(
            getattr(p, key)
            for p in self._results.points
            if (p.model, p.server, p.load, p.concurrency) == (model, server, "closed", concurrency)
            and not p.bad
        )

    def inside(self, model: str, key: str) -> float | None:
        """The same of a figure without a server."""
        return _median(one[key] for one in self._results.in_process.get(model, []))

    def start(self, server: str) -> float | None:
        """The same of the seconds until ready."""
        return _median(self._results.starts.get(server, []))


def table(results: Results) -> str:
    """The whole report as text."""
    machine = results.machine
    text = [
        f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}; server on core"
        f" {machine['server_core']}, load from core {machine['load_core']}; {machine['seconds']:g} s a point,"
        f" {machine['rounds']} rounds\n",
        f"{'bar':78}{'figure':>9}{'bar':>9}  reached",
    ]
    for bar in bars(results):
        limit = f">= {bar.least:g}" if bar.least is not None else f"<= {bar.most:g}"
        said = {None: "not measured", True: "yes", False: "no"}[bar.reached]
        text.append(f"{bar.figure:78}{_figure(bar.value):>9}{limit:>9}  {said}")
    for load, title in (("closed", "Closed loop"), ("open", "Open loop, from the moment a request was due")):
        points = [p for p in results.points if p.load == load]
        if points:
            text += ["", f"{title}: medians, ratio to mlflow's requests/s", *_cells(points, results)]
    if results.in_process:
        text += [
            "",
            f"{'in this process':12}{'one row p50 ms':>18}{'p99':>9}{'32 rows ms':>12}{'rows/s':>10}",
        ]
    for model in results.in_process:
        keys = ("one_p50", "one_p99", "batch_p50", "batch_rows")
        one, tail, batch, rows = (_figure(_Medians(results).inside(model, key)) for key in keys)
        text.append(f"{model:15}{one:>18}{tail:>9}{batch:>12}{rows:>10}")
    if results.starts:
        text += ["", "Start of the process to the first 200 of readiness, linear model, seconds:"]
    for server, seconds in results.starts.items():
        text.append(f"{server:22}{_figure(_median(seconds)):>8}   of {', '.join(map(_figure, seconds))}")
    marked = ("", f"* others used more than {DISTURBED:.0%} of a core meanwhile")
    text += marked if any(p.other_cpu > DISTURBED for p in results.points) else ()
    text += [f"FAILED {failure}" for failure in results.failures]
    return "\n".join(text) + "\n"


def _cells(points: list[Point], results: Results) -> list[str]:
    mlflow = _Medians(results).point
    is_open = points[0].load == "open"
    head = f"{'offered/s':>10}" if is_open else f"{'conn.':>10}"
    text = [
        f"{'model':10}{'server':20}{head}{'req/s':>10}{'ratio':>8}{'p50 ms':>9}{'p99 ms':>9}{'max':>9}"
        f"{'cpu':>6}{'MiB':>7}"
    ]
    groups: dict[tuple[Any, ...], list[Point]] = {}
    for p in points:
        groups.setdefault((p.model, p.server, p.offered if is_open else p.concurrency), []).append(p)
    for (model, server, load), rounds in groups.items():
        rate, p50, p99, most, own, mib = (
            statistics.median(getattr(p, key) for p in rounds)
            for key in ("rate", "p50", "p99", "max", "own_cpu", "memory")
        )
        ratio = None if is_open else _ratio(rate, mlflow(model, "mlflow", load, "rate"))
        bad = sum(p.bad for p in rounds)
        text.append(
            f"{model:10}{server:20}{load:>10.0f}{rate:>10.0f}{_figure(ratio):>8}{p50:>9.2f}{p99:>9.2f}{most:>9.1f}"
            f"{own:>6.2f}{mib:>7.0f}"
            + (" *" if any(p.other_cpu > DISTURBED for p in rounds) else "")
            + (f"  {bad} BAD ANSWERS" if bad else "")
        )
    return text


def write(results: Results, folder: Path) -> None:
    """Leave serving.json, serving.txt and serving.svg in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    said = [{**asdict(bar), "reached": bar.reached} for bar in bars(results)]
    whole = {"bars": said, **asdict(results)}
    (folder / "serving.json").write_text(json.dumps(whole, indent=1) + "\n")
    (folder / "serving.txt").write_text(table(results))
    _plot(results, folder / "serving.svg")


def _plot(results: Results, place: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    closed = [p for p in results.points if p.load == "closed"]
    models = list(dict.fromkeys(p.model for p in closed))
    if not models:
        return
    servers = list(dict.fromkeys(p.server for p in closed))
    figure, axes = plt.subplots(2, len(models), figsize=(4.2 * len(models), 7), squeeze=False)
    medians = _Medians(results).point
    for column, model in enumerate(models):
        for row, (key, label) in enumerate((("rate", "requests/s"), ("p99", "p99, ms"))):
            axis = axes[row][column]
            for number, server in enumerate(servers):
                found = sorted({p.concurrency for p in closed if (p.model, p.server) == (model, server)})
                values = [(c, medians(model, server, c, key)) for c in found]
                shown = [(c, v) for c, v in values if v is not None]
                if shown:
                    axis.plot(*zip(*shown, strict=True), marker="o", label=server, color=f"C{number}")
            axis.set(xscale="log", yscale="log", title=model, xlabel="connections", ylabel=label)
            axis.set_xticks(ticks := sorted({p.concurrency for p in closed}), [str(t) for t in ticks])
            axis.grid(alpha=0.3)
    figure.legend(*_legend(axes), loc="lower center", ncols=min(5, len(servers)))
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(place)
    plt.close(figure)


def _legend(axes: Any) -> tuple[list[Any], list[str]]:
    lines: dict[str, Any] = {}
    for axis in axes.flat:
        for line, label in zip(*axis.get_legend_handles_labels(), strict=True):
            lines.setdefault(label, line)
    return list(lines.values()), list(lines)


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}" if value < 100 else f"{value:.1f}"
