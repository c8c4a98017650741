"""`values-ENVIRONMENT.yaml` alone, for a chart that is kept elsewhere; the record is in the values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from servegen.gitops.layouts import Layout, notes, programs, seals
from servegen.gitops.layouts.helm import Helm, values_file, values_of
from servegen.kube import Object, metadata
from servegen.progress import Progress
from servegen.renderers import helm
from servegen.values.bundle import Bundle
from servegen.values.deployment import Deployment

CHART = re.compile(r"(oci://[A-Za-z0-9][\w.:/-]*/[a-z0-9][\w.-]*):([A-Za-z0-9][\w.+-]*)", re.ASCII)
"""A chart in a registry, and its version."""
_LOOPBACK = re.compile(r"oci://(?:localhost|127\.\d+\.\d+\.\d+)[:/]")
_KEY = f"{metadata.PREFIX}chart"


@dataclass(frozen=True, kw_only=True)
class Values(Helm):
    """For `helm upgrade --install NAME oci://… -f DIR/values-ENVIRONMENT.yaml`."""

    shares = False
    chart: str | None = None
    """`oci://REGISTRY/FOLDER/CHART:VERSION`, kept in a comment; None for nobody knows which."""

    def holds(self, folder: Path) -> bool:
        """Whether values are there, and no chart."""
        texts = (path.read_text("utf-8", "replace") for path in folder.glob("values*.yaml") if path.is_file())
        return not super().holds(folder) and any(seals.OWNED in text for text in texts)

    def bundle(self, deployment: Deployment, *, held: str | None = None) -> Bundle:
        """All values of this deployment, and its names, which a chart for many models does not know."""
        names = {"nameOverride": deployment.name, "fullnameOverride": deployment.instance}
        made = self.values(values_of(deployment) | names, deployment.environment, held)
        kept = (self.chart,) if self.chart else ()
        return Bundle.of({path: seals.with_marks(text, _KEY, kept) for path, text in made.items()})

    def of_chart(self, chart: str | None, folder: Path, environment: str | None) -> Values:
        """The same for `chart`, else for the one that was released last."""
        path = folder / values_file(environment)
        if chart is None and path.is_file():
            chart = _recorded(path.read_text("utf-8", "replace"), path.name)
        return replace(self, chart=chart)

    def named(self, folder: Path, environment: str | None) -> str | None:
        """Each file of values has its own."""
        return notes.name_in(folder / values_file(environment), "nameOverride")

    def applied(self, environment: str | None) -> str:
        """The values."""
        return values_file(environment)

    def build(
        self, folder: Path, environment: str | None, *, env: Mapping[str, str], progress: Progress
    ) -> list[Object]:
        """What helm makes of the values and the recorded chart; servegen's own chart where none is."""
        path = folder / values_file(environment)
        text = path.read_text("utf-8", "replace")
        name = notes.load(text, path.name).get("fullnameOverride")
        chart = _recorded(text, path.name)
        place: tuple[str, ...] = (str(helm.chart_folder()),)
        if chart:
            url, _, version = chart.rpartition(":")
            # As servegen itself, helm is to speak HTTP with this machine alone.
            place = (url, "--version", version, *(("--plain-http",) if _LOOPBACK.match(url) else ()))
            programs.require(("helm", "show", "chart", *place), what=chart, env=env, progress=progress)
        argv = ("helm", "template", _name(name, path.name), *place, "--values", str(path))
        return programs.objects((argv,), env=env, progress=progress)


def _recorded(text: str, where: str) -> str | None:
    chart = next(iter(seals.marked(text, _KEY)), None)
    # It becomes arguments of a program.
    if chart is not None and not CHART.fullmatch(chart):
        notes.unreadable(where, f"names the chart {chart!r}")
    return chart


def _name(name: object, where: str) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name):
        notes.unreadable(where, f"has the name {name!r} in fullnameOverride")
    return name


LAYOUT: type[Layout] = Values
