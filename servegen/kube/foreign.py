"""Fields of our objects that somebody else has set since, as the server's record of managers tells."""

from __future__ import annotations

import json
from collections.abc import Iterator

from servegen.kube import Object, metadata
from servegen.kube.handover import HANDOVER

_CONTROLLERS = (HANDOVER, metadata.MANAGER, "kube-controller-manager", "keda", "keda-operator")
"""Managers whose changes belong to the life of the objects."""


def fields(one: Object, manager: str = metadata.MANAGER) -> tuple[str, ...]:
    """`manager: path` of each such field; empty for an object that `manager` did not apply."""
    entries = one["metadata"].get("managedFields") or ()
    if not any(entry["manager"] == manager and entry["operation"] == "Apply" for entry in entries):
        return ()
    return tuple(
        f"{entry['manager']}: {path}"
        for entry in entries
        if entry["manager"] not in (manager, *_CONTROLLERS) and not entry.get("subresource")
        for path in _paths(entry.get("fieldsV1") or {}, "")
        if not path.startswith("status")
    )


def _paths(node: Object, at: str) -> Iterator[str]:
    """The leaves below `node`, as people write paths."""
    deeper = {key: value for key, value in node.items() if key != "."}
    if not deeper and at:
        yield at
    for key, value in deeper.items():
        yield from _paths(value, f"{at}{_step(key)}".lstrip("."))


def _step(key: str) -> str:
    kind, _, name = key.partition(":")
    if kind == "k":
        # An item of a list, chosen by what names it: {"name":"server"}.
        return f"[{','.join(str(value) for value in json.loads(name).values())}]"
    return f"[{name}]" if kind == "v" else f".{name}"
