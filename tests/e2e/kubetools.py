"""Running helm and kubectl, and comparing what they print."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import yaml

from servegen.renderers.helm import Helm
from servegen.targets.directory import write
from servegen.values.deployment import Deployment


class GoLoader(yaml.SafeLoader):
    """Reads what Go programs write: they quote whatever they would take for another type, and only that."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


for kind, pattern, first in (
    ("bool", "true|false", "tf"),
    ("int", "-?[0-9]+", "-0123456789"),
    ("null", "null|~|", ["n", "~", ""]),
):
    GoLoader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"^(?:{pattern})$"), list(first))


def run(*argv: object, **env: str) -> str:
    done = subprocess.run(
        [str(part) for part in argv], env=os.environ | env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def chart(deployment: Deployment, folder: Path) -> Path:
    write(Helm().render(deployment), folder)
    return folder


def templated(tools: Path, deployment: Deployment, folder: Path, *options: str) -> dict[str, Any]:
    namespace = deployment.namespace or "default"
    text = run(tools / "helm", "template", deployment.instance, folder, "--namespace", namespace, *options)
    return neutral(yaml.load_all(text, GoLoader))


def neutral(found: Any) -> dict[str, Any]:
    """The objects by kind, without hooks and without the labels in which a chart must differ."""
    made = {}
    for one in found:
        if one is None or "helm.sh/hook" in one["metadata"].get("annotations", {}):
            continue
        about = [one["metadata"], one.get("spec", {}).get("template", {}).get("metadata", {})]
        for metadata in about:
            for label in ("helm.sh/chart", "app.kubernetes.io/managed-by"):
                metadata.get("labels", {}).pop(label, None)
        made[one["kind"]] = one
    return made


def kustomized(tools: Path, overlay: Path) -> dict[str, Any]:
    """The objects by kind that kustomize builds."""
    return neutral(yaml.load_all(run(tools / "kubectl", "kustomize", overlay), GoLoader))
