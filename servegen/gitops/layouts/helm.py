"""`chart`, which all environments share, and a file of values for each; the record is in the values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import yaml as pyyaml

from servegen.gitops.layouts import Layout, notes, programs, seals
from servegen.kube import Object, metadata, yaml
from servegen.progress import Progress
from servegen.renderers import helm
from servegen.values.bundle import Bundle
from servegen.values.deployment import Deployment
from servegen.values.gitops import DEFAULT_ENVIRONMENT, Record

NAMESPACE = ("global", "namespace")
"""Where the values say into which namespace they are released: an ApplicationSet reads it there."""
_CHART = "chart"
_ABOUT = "Chart.yaml"
_VALUES = re.compile(r"values(?:-(.+))?\.yaml")
_KEYS = {
    "model-name": "name",
    "model-version": "version",
    "model-uri": "uri",
    "pin": "pin",
    "run-id": "runId",
    "model-digest": "digest",
}
"""Of annotations, and of the values under `model`."""


class Helm:
    """For `helm upgrade --install NAME DIR/chart -f DIR/values-ENVIRONMENT.yaml`."""

    shares = True

    def holds(self, folder: Path) -> bool:
        """Whether a chart and values are there."""
        return (folder / _CHART / _ABOUT).is_file() and bool(_values_in(folder))

    def bundle(self, deployment: Deployment, *, held: str | None = None) -> Bundle:
        """The chart as it was written by hand, and all values of this deployment."""
        copied = helm.written_by_hand()
        shared = deployment.shared or deployment
        copied[_ABOUT] = yaml.dump(helm.chart_of(pyyaml.safe_load(copied[_ABOUT]), shared))
        chart = copied | {seals.SUMS: seals.sums(copied)}
        values = self.values(values_of(deployment), deployment.environment, held)
        return Bundle.of({f"{_CHART}/{path}": text for path, text in chart.items()} | values)

    def values(self, chosen: Object, environment: str | None, held: str | None) -> dict[str, str]:
        """The file of values, by its path."""
        schema = json.loads((helm.chart_folder() / "values.schema.json").read_text("utf-8"))
        path = values_file(environment)
        sealed = seals.sealed({path: f"---\n{helm.commented(chosen, schema)}"})
        return self.hold(sealed, environment, held) if held else sealed

    def hold(self, files: Mapping[str, str], environment: str | None, held: str | None) -> dict[str, str]:
        """The values with a comment for each pin."""
        path = values_file(environment)
        # The chart's schema knows no such key.
        return {path: seals.with_marks(files[path], notes.HOLD, (held or "").splitlines())}

    def read(self, folder: Path, environment: str | None) -> Record | None:
        """The blocks `model` and `image` of the values."""
        where = values_file(environment)
        path = folder / where
        if not path.is_file():
            return None
        text = path.read_text("utf-8", "replace")
        content = notes.load(text, where)
        model, image, scaling, keda = (content.get(key) for key in ("model", "image", "autoscaling", "keda"))
        if not all(isinstance(one, dict) for one in (model, image, scaling, keda)):
            notes.unreadable(where, "lacks the model, image or scaling of a release")
        assert isinstance(model, dict)  # noqa: S101 (what was just asked)
        assert isinstance(image, dict)  # noqa: S101
        known = {metadata.PREFIX + key: model.get(name) for key, name in _KEYS.items()}
        known[f"{metadata.PREFIX}profile"] = content.get("profile")
        known[f"{metadata.PREFIX}image-tag"] = image.get("tag")
        known[notes.HOLD] = "\n".join(seals.marked(text, notes.HOLD))
        replicas = str(content.get("replicaCount"))
        for one in (scaling, keda):
            if isinstance(one, dict) and one.get("enabled"):
                replicas = notes.span(one.get("minReplicas"), one.get("maxReplicas"))
        pinned = f"{image.get('repository')}@{image.get('digest')}"
        return notes.record(known, pinned, where, environment, replicas=replicas)

    def environments(self, folder: Path) -> tuple[str, ...]:
        """Those that have values of ours: others may be common to several, or of another chart."""
        found = _values_in(folder).items()
        return tuple(
            sorted(name for name, path in found if seals.OWNED in path.read_text("utf-8", "replace"))
        )

    def named(self, folder: Path, environment: str | None) -> str | None:  # noqa: ARG002 (the protocol's signature)
        """The chart's."""
        return notes.name_in(folder / _CHART / _ABOUT)

    def owned(self, folder: Path, environment: str | None) -> tuple[str, ...]:
        """The values; the chart belongs to the other environments, too."""
        path = values_file(environment)
        return (path,) if (folder / path).is_file() else ()

    def applied(self, environment: str | None) -> str:  # noqa: ARG002 (the protocol's signature)
        """The chart."""
        return _CHART

    def build(
        self, folder: Path, environment: str | None, *, env: Mapping[str, str], progress: Progress
    ) -> list[Object]:
        """What helm makes of chart and values."""
        about = notes.load((folder / _CHART / _ABOUT).read_text("utf-8", "replace"), f"{_CHART}/{_ABOUT}")
        name = f"{about.get('name')}-{environment}" if environment else str(about.get("name"))
        values = str(folder / values_file(environment))
        argv = ("helm", "template", name, str(folder / _CHART), "--values", values)
        return programs.objects((argv,), env=env, progress=progress)


def _values_in(folder: Path) -> dict[str, Path]:
    """Files of values, by the environments that their names are of."""
    found = {path: _VALUES.fullmatch(path.name) for path in folder.glob("values*.yaml") if path.is_file()}
    return {match[1] or DEFAULT_ENVIRONMENT: path for path, match in found.items() if match}


def values_of(deployment: Deployment) -> Object:
    """All values, with the namespace where one is named; the chart itself does not ask for it."""
    made = helm.values(deployment)
    first, second = NAMESPACE
    return made | ({first: {second: deployment.namespace}} if deployment.namespace else {})


def values_file(environment: str | None) -> str:
    """Name of the file with an environment's values."""
    return f"values-{environment}.yaml" if environment else "values.yaml"


LAYOUT: type[Layout] = Helm
