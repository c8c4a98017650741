"""What turns one object into another, as JSON Patch (RFC 6902)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from servegen.kube import Object


def changes(old: Object, new: Object) -> list[Object]:
    """Operations that make `new` of `old`, and also of an `old` that differs elsewhere meanwhile.

    Only `add` is used: it replaces what is there, and needs nothing but the map around it. A map that loses
    keys and a list are given whole, so that nothing depends on what they held.
    """
    return list(_changes(old, new, ""))


def _changes(old: Any, new: Any, path: str) -> Iterator[Object]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping) and old.keys() <= new.keys():
        for key, value in new.items():
            place = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
            if key in old:
                yield from _changes(old[key], value, place)
            else:
                yield _add(place, value)
    elif path.endswith("/containers") and old[0]["name"] == new[0]["name"] and old[1:] == new[1:]:
        # The server's container is always the first.
        yield from _changes(old[0], new[0], f"{path}/0")
    else:
        yield _add(path, new)


def _add(path: str, value: Any) -> Object:
    return {"op": "add", "path": path, "value": value}
