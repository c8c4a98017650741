"""Writes servegen/kube/crds: what of custom resource definitions a check of our objects needs.

    kubectl get crd scaledobjects.keda.sh … -o json | python -m tests.tools.trim_crds

Descriptions, defaults and CEL rules are left out, and what `status` holds, which nobody writes by hand;
unknown fields are refused, as a strict API server does. What occurs more than once is written once.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
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
_LARGE = 150
"""Characters from which a repeated part of a schema is written once."""
_PRESERVE = "x-kubernetes-preserve-unknown-fields"


def main() -> None:
    """Read a CRD or a list of them from standard input."""
    read = json.load(sys.stdin)
    for crd in read.get("items", [read]):
        kind = crd["spec"]["names"]["kind"]
        schemas = {
            f"{crd['spec']['group']}/{version['name']}": shared(_without_status(version))
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


def shared(schema: dict[str, Any]) -> dict[str, Any]:
    """The same with every large part that occurs more than once in `$defs`."""
    counts: Counter[str] = Counter()
    _count(schema, counts)
    names = {text: f"d{number}" for number, text in enumerate(sorted(t for t, n in counts.items() if n > 1))}
    made = _referring(schema, names)
    assert isinstance(made, dict)
    if not names:
        return made
    defs = {name: _referring(json.loads(text), names, top=True) for text, name in names.items()}
    return made | {"$defs": defs}


def _without_status(version: dict[str, Any]) -> dict[str, Any]:
    schema = version["schema"]["openAPIV3Schema"]
    more = {"status": {"type": "object"}} if "status" in schema["properties"] else {}
    return trimmed(schema | {"properties": schema["properties"] | more})


def _count(part: Any, counts: Counter[str]) -> None:
    if isinstance(part, dict):
        text = json.dumps(part, sort_keys=True)
        if "type" in part and len(text) > _LARGE:
            counts[text] += 1
            if counts[text] > 1:
                # What is in it is counted with its first place.
                return
    for one in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _count(one, counts)


def _referring(part: Any, names: dict[str, str], *, top: bool = False) -> Any:
    if isinstance(part, list):
        return [_referring(one, names) for one in part]
    if not isinstance(part, dict):
        return part
    if not top and (name := names.get(json.dumps(part, sort_keys=True))):
        return {"$ref": f"#/$defs/{name}"}
    return {key: _referring(one, names) for key, one in part.items()}


if __name__ == "__main__":
    main()
