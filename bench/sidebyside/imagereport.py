"""The bars, the table, the JSON and the plot of a run of bench/image.py."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SIDES = ("servegen", "mlflow", "bentoml")
MB = 1e6


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that was measured: seconds of every run, and bytes."""

    machine: dict[str, Any]
    seconds: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    """Model → what was done → side."""
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    """Model → side → bytes of the image as stored."""
    bumped: dict[str, float] = field(default_factory=dict)
    """Package whose version changed → bytes sent over bytes of the image."""
    peak_bytes: int | None = None
    """Of servegen's process while it packages and pushes the big model."""
    same_digest: bool | None = None
    """Whether a run for which nothing had changed gave the same digest and sent nothing."""
    failures: list[str] = field(default_factory=list)

    def add(self, model: str, what: str, side: str, seconds: float) -> None:
        """Keep one run."""
        self.seconds.setdefault(model, {}).setdefault(what, {}).setdefault(side, []).append(seconds)

    def median(self, model: str, what: str, side: str) -> float | None:
        """The median of its runs."""
        found = self.seconds.get(model, {}).get(what, {}).get(side)
        return statistics.median(found) if found else None


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One row of what packaging must show; no value was measured when it is None."""

    figure: str
    value: float | None
    most: float

    @property
    def reached(self) -> bool | None:
        """Whether the value is within its bar."""
        return None if self.value is None else self.value <= self.most


def bars(results: Results) -> list[Bar]:
    """Every bar, with the figure of this run."""
    seconds = results.median
    cold, only = "cold", "model changed"
    limit = seconds("big", "sha256sum + skopeo copy", "servegen")
    bumped = statistics.mean(results.bumped.values()) if results.bumped else None
    sizes = results.sizes.get("iris", {})
    peak = results.peak_bytes
    return [
        Bar(
            figure="iris, cold, verified: servegen / mlflow, seconds",
            value=_ratio(seconds("iris", cold, "servegen"), seconds("iris", cold, "mlflow")),
            most=0.25,
        ),
        Bar(
            figure="iris, model changed, caches warm, not run, seconds",
            value=seconds("iris", f"{only}, not run", "servegen"),
            most=1.0,
        ),
        Bar(
            figure="iris, model changed, empty cache, not run, seconds",
            value=seconds("iris", f"{only}, empty cache, not run", "servegen"),
            most=1.5,
        ),
        Bar(
            figure="iris, nothing changed, seconds",
            value=seconds("iris", "nothing changed", "servegen"),
            most=0.5,
        ),
        Bar(figure="iris, one dependency bumped: bytes sent / image", value=bumped, most=0.08),
        Bar(
            figure="iris, image with the runtime uvicorn, MB",
            value=_ratio(sizes.get("uvicorn"), MB),
            most=110,
        ),
        Bar(
            figure="iris, image with the runtime bentoml, MB",
            value=_ratio(sizes.get("servegen"), MB),
            most=150,
        ),
        Bar(
            figure="500 MB, model changed, not run: servegen / (sha256sum + skopeo copy), seconds",
            value=_ratio(seconds("big", f"{only}, not run", "servegen"), limit),
            most=1.5,
        ),
        Bar(
            figure="500 MB, peak memory of servegen, MB",
            value=peak / MB if peak is not None else None,
            most=150,
        ),
    ]


def table(results: Results) -> str:
    """The whole report as text."""
    machine = results.machine
    text = [
        f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']:.1f};"
        f" medians of {machine['rounds']} rounds; buildah with {machine['driver']};",
        "the peers' FROM is a base made here of Debian 12, Python 3.11 and pip\n",
        f"{'bar':78}{'figure':>9}{'bar':>9}  reached",
    ]
    for bar in bars(results):
        said = {None: "not measured", True: "yes", False: "no"}[bar.reached]
        text.append(f"{bar.figure:78}{_figure(bar.value):>9}{f'<= {bar.most:g}':>9}  {said}")
    if results.same_digest is not None:
        said = "the same digest, nothing sent" if results.same_digest else "ANOTHER DIGEST"
        text.append(f"{'nothing changed':78}{said}")
    text += ["", f"{'seconds, package + push':48}" + "".join(f"{side:>10}" for side in SIDES) + "  ratios"]
    for model, rows in results.seconds.items():
        for what in rows:
            found = {side: results.median(model, what, side) for side in SIDES}
            text.append(f"{f'{model}: {what}':48}" + _cells(found))
    text += ["", f"{'MB, compressed':48}" + "".join(f"{side:>10}" for side in SIDES) + "  ratios"]
    for model, sizes in results.sizes.items():
        text.append(f"{model:48}" + _cells({side: _ratio(sizes.get(side), MB) for side in SIDES}))
    text += ["", *(f"bumped {name}: {share:.1%} of the image sent" for name, share in results.bumped.items())]
    text += [f"FAILED {failure}" for failure in results.failures]
    return "\n".join(text) + "\n"


def write(results: Results, folder: Path) -> None:
    """Leave image.json, image.txt and image.svg in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    said = [{**asdict(bar), "reached": bar.reached} for bar in bars(results)]
    (folder / "image.json").write_text(json.dumps({"bars": said, **asdict(results)}, indent=1) + "\n")
    (folder / "image.txt").write_text(table(results))
    _plot(results, folder / "image.svg")


def _plot(results: Results, place: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    models = list(results.seconds)
    if not models:
        return
    figure, axes = plt.subplots(1, len(models), figsize=(5 * len(models), 3.5), squeeze=False)
    for axis, model in zip(axes[0], models, strict=True):
        rows = list(results.seconds[model])
        for number, side in enumerate(SIDES):
            values = [results.median(model, what, side) or 0.0 for what in rows]
            places = [row + 0.27 * (number - 1) for row in range(len(rows))]
            axis.barh(places, values, height=0.25, label=side, color=f"C{number}")
        axis.set_yticks(range(len(rows)), rows)
        axis.invert_yaxis()
        axis.set(title=model, xlabel="seconds, package + push", xscale="log")
        axis.grid(axis="x", alpha=0.3)
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(place)
    plt.close(figure)


def _cells(found: Mapping[str, float | None]) -> str:
    ours = found["servegen"]
    ratios = [f"{side} x{value / ours:.1f}" for side, value in found.items() if value and ours]
    shown = "".join(f"{_figure(found[side]):>10}" for side in SIDES)
    return shown + "  " + ", ".join(ratio for ratio in ratios if not ratio.startswith("servegen"))


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
