"""How live objects differ from the release that was applied last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from servegen.kube import Object, foreign, metadata, release, traffic
from servegen.kube.apply import content, key
from servegen.kube.client import Cluster
from servegen.kube.refusal import RefusalError, one_line

_ABSENT = "absent"
_NAMES = ("name", "containerPort", "mountPath", "type")
"""What items of lists are told apart by, where they have it."""


def of_instance(cluster: Cluster, instance: str) -> tuple[str, ...] | None:
    """What is otherwise than the newest release of `instance` says, object by object, and who did it.

    None where no release is recorded, or the login may not ask what an apply would change.
    """
    releases = release.read(cluster, instance).releases
    if not releases:
        return None
    found: list[str] = []
    there = traffic.live(cluster, releases[-1].objects)
    for one in traffic.keep(releases[-1].objects, there):
        live = there.get(key(one)) or cluster.live(one)
        if live is None:
            found.append(f"{one['kind']} {one['metadata']['name']} is missing")
            continue
        try:
            # By force, as a field that somebody took is what is looked for.
            wanted = cluster.apply(one, manager=metadata.MANAGER, dry_run=True, force=True).object
        except RefusalError as exc:
            if exc.status == 403:
                return None
            raise
        found += [f"{one['kind']} {text}" for text in foreign.fields(live)]
        found += [f"{one['kind']} {text}" for text in _between(content(live), content(wanted), "")]
    return tuple(found)


def _between(live: Any, wanted: Any, at: str) -> Iterator[str]:
    if live == wanted:
        return
    if isinstance(live, dict) and isinstance(wanted, dict):
        for key in sorted(live.keys() | wanted.keys()):
            yield from _between(live.get(key, _ABSENT), wanted.get(key, _ABSENT), f"{at}.{key}".lstrip("."))
    elif isinstance(live, list) and isinstance(wanted, list) and (both := _named(live, wanted)):
        for name in both[0] | both[1]:
            yield from _between(both[0].get(name, _ABSENT), both[1].get(name, _ABSENT), f"{at}[{name}]")
    else:
        yield f"{at} is {_short(live)}, applied was {_short(wanted)}"


def _named(*lists: list[Any]) -> list[dict[str, Object]] | None:
    """The items of each list by what names them; None where something names none or several."""
    for name in _NAMES:
        if all(isinstance(item, dict) and name in item for items in lists for item in items):
            made = [{str(item[name]): item for item in items} for items in lists]
            if all(len(one) == len(items) for one, items in zip(made, lists, strict=True)):
                return made
    return None


def _short(value: Any) -> str:
    return one_line(str(value), 80)
