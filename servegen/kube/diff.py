"""What a deploy would change, as a unified diff of YAML."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from servegen.kube import Object, yaml
from servegen.kube.apply import Preflight, content, key


def diff(plan: Preflight, leftover: Sequence[Object] = ()) -> str:
    """The difference between what is there and what would be, `leftover` being gone; may be empty."""
    return "".join(line for one in plan.objects for line in _of(key(one), plan)) + "".join(
        line for one in (*plan.stale, *leftover) for line in _lines(key(one), _text(one), "")
    )


def _of(name: str, plan: Preflight) -> Iterator[str]:
    live = plan.live.get(name)
    yield from _lines(name, _text(live) if live else "", _text(plan.would_be[name]))


def _lines(name: str, before: str, after: str) -> Iterator[str]:
    return difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"live/{name}", f"new/{name}"
    )


def _text(one: Object) -> str:
    return yaml.fragment(_sorted(content(one)))


def _sorted(node: Object) -> Object:
    """`node` without empty values and in one key order: the server's differs between answers."""
    made: Object = {}
    for name in sorted(node):
        value = node[name]
        if isinstance(value, dict):
            value = _sorted(value)
        elif isinstance(value, list):
            value = [_sorted(item) if isinstance(item, dict) else item for item in value]
        if value is not None:
            made[name] = value
    return made
