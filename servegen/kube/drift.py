"""How live objects differ from the release that was applied last, or from those of a repository."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from servegen.kube import Object, foreign, metadata, release, traffic
from servegen.kube.apply import content, key
from servegen.kube.client import Cluster
from servegen.kube.handover import HANDOVER
from servegen.kube.refusal import RefusalError, one_line

_ABSENT = "absent"
_NAMES = ("name", "containerPort", "mountPath", "type")
"""What items of lists are told apart by, where they have it."""
_MARKS = ("argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/", "meta.helm.sh/")
"""Prefixes of labels and annotations that are in no repository."""


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
            found.append(_missing(one))
            continue
        try:
            wanted = _would_be(cluster, one, metadata.MANAGER)
        except RefusalError as exc:
            if exc.status == 403:
                return None
            raise
        found += [f"{one['kind']} {text}" for text in foreign.fields(live)]
        found += [f"{one['kind']} {text}" for text in _between(content(live), content(wanted), "")]
    return tuple(found)


def of_objects(cluster: Cluster, objects: Sequence[Object]) -> tuple[str, ...]:
    """What is otherwise than `objects` say, whoever applies them, and who did it.

    Raises RefusalError where the login may not ask what an apply would change.
    """
    found: list[str] = []
    for one in objects:
        live = cluster.live(one)
        if live is None:
            found.append(_missing(one))
            continue
        manager = _applier(live)
        wanted = content(_would_be(cluster, one, manager))
        found += [
            f"{one['kind']} {text}"
            for text in foreign.fields(live, manager)
            if not any(mark in text for mark in _MARKS)
        ]
        found += [
            f"{one['kind']} {text}"
            for text in _between(content(live), _marked(wanted, live), "", now="wanted is")
        ]
    return tuple(found)


def _missing(one: Object) -> str:
    return f"{one['kind']} {one['metadata']['name']} is missing"


def _would_be(cluster: Cluster, one: Object, manager: str) -> Object:
    # By force, as a field that somebody took is what is looked for.
    return cluster.apply(one, manager=manager, dry_run=True, force=True).object


def _applier(live: Object) -> str:
    """Who applied the object last: only when asked in its name does the server drop what is not wanted."""
    entries = [
        entry
        for entry in live["metadata"].get("managedFields") or ()
        if entry["operation"] == "Apply" and not entry.get("subresource") and entry["manager"] != HANDOVER
    ]
    newest = max(entries, key=lambda entry: str(entry.get("time", "")), default=None)
    return str(newest["manager"]) if newest else metadata.MANAGER


def _marked(wanted: Object, live: Object) -> Object:
    """`wanted` with the marks by which the program that applies it finds its objects."""
    about = dict(wanted["metadata"])
    for part in ("labels", "annotations"):
        marks = {
            name: value
            for name, value in (live["metadata"].get(part) or {}).items()
            if name.startswith(_MARKS)
        }
        if marks:
            about[part] = {**marks, **(about.get(part) or {})}
    return wanted | {"metadata": about}


def _between(live: Any, wanted: Any, at: str, *, now: str = "applied was") -> Iterator[str]:
    if live == wanted:
        return
    if isinstance(live, dict) and isinstance(wanted, dict):
        for key in sorted(live.keys() | wanted.keys()):
            inner = f"{at}.{key}".lstrip(".")
            yield from _between(live.get(key, _ABSENT), wanted.get(key, _ABSENT), inner, now=now)
    elif isinstance(live, list) and isinstance(wanted, list) and (both := _named(live, wanted)):
        for name in both[0] | both[1]:
            inner = f"{at}[{name}]"
            yield from _between(both[0].get(name, _ABSENT), both[1].get(name, _ABSENT), inner, now=now)
    else:
        yield f"{at} is {_short(live)}, {now} {_short(wanted)}"


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
