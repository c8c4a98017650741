"""Writes JSON Schemas as kubeconform reads them: one file a kind, without references.

Those of Kubernetes are from the package kubernetes-validate, those of custom resources from
servegen/kube/crds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import kubernetes_validate

ROOT = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
CRDS = Path(__file__).resolve().parents[2] / "servegen/kube/crds"
LOCATION = "{{.NormalizedKubernetesVersion}}/{{.ResourceKind}}{{.KindSuffix}}.json"
"""Where `write` puts them below its folder, in kubeconform's words."""
_NOTES = ("$id", "$schema", "description", "x-kubernetes-group-version-kind")


def write(folder: Path, version: str, kinds: Iterable[tuple[str, str]]) -> None:
    """The schemas of Kubernetes `version` for `kinds`, each an apiVersion and a kind."""
    source = ROOT / f"v{version}.0-local-strict"
    definitions = json.loads((source / "_definitions.json").read_bytes())["$defs"]
    target = folder / f"v{version}.0"
    target.mkdir(parents=True)
    for api_version, kind in kinds:
        group, slash, name = api_version.partition("/")
        suffix = f"{group.partition('.')[0]}-{name}" if slash else group
        custom = CRDS / f"{kind}.json"
        if custom.is_file():
            schema = json.loads(custom.read_bytes())[api_version]
        else:
            schema = json.loads((source / f"{kind.lower()}-{suffix}.json").read_bytes())
        text = json.dumps(_inlined(schema, definitions))
        (target / f"{kind.lower()}-{suffix}.json").write_text(text)


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(reference := schema.get("$ref"), str):
        return _inlined(definitions[reference.rpartition("/")[2]], definitions)
    # A field may be called `description`: what describes is a text, what describes a field is a mapping.
    kept = {name: one for name, one in schema.items() if name not in _NOTES or isinstance(one, dict)}
    return {name: _inlined(one, definitions) for name, one in kept.items()}
