"""Writes servegen/kube/crds: what of custom resource definitions a check of our objects needs.

    kubectl get crd scaledobjects.keda.sh … -o json | python -m tests.tools.trim_crds

Descriptions, defaults and CEL rules are left out; unknown fields are refused, as a strict API server does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "servegen/kube/crds"
_KEPT = (
    "type",
    "enum",
    "pattern",
    "required",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
)
_PRESERVE = "x-kubernetes-preserve-unknown-fields"


def main() -> None:
    """Read a CRD or a list of them from standard input."""
    read = json.load(sys.stdin)
    for crd in read.get("items", [read]):
        kind = crd["spec"]["names"]["kind"]
        schemas = {
            f"{crd['spec']['group']}/{version['name']}": trimmed(version["schema"]["openAPIV3Schema"])
            for version in crd["spec"]["versions"]
            if version["served"]
        }
        text = json.dumps(schemas, separators=(",", ":"), sort_keys=True)
        (FOLDER / f"{kind}.json").write_text(text + "\n", encoding="utf-8")


def trimmed(schema: dict[str, Any]) -> dict[str, Any]:
    """The same as a JSON Schema that takes no unknown fields."""
    kept: dict[str, Any] = {key: schema[key] for key in _KEPT if key in schema}
    if schema.get("x-kubernetes-int-or-string"):
        kept = {"type": ["integer", "string"]}
    if schema.get("nullable") and "type" in kept:
        kept["type"] = [kept["type"], "null"]
    if "properties" in schema:
        kept["properties"] = {name: trimmed(one) for name, one in schema["properties"].items()}
    if "items" in schema:
        kept["items"] = trimmed(schema["items"])
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        kept["additionalProperties"] = trimmed(more)
    elif "properties" in schema and not schema.get(_PRESERVE):
        kept["additionalProperties"] = False
    return kept


if __name__ == "__main__":
    main()
