"""servegen.yaml files to the intent of a watcher that follows their models in a cluster."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence

import servegen
from servegen.errors import RenderError
from servegen.kube import names, versions
from servegen.planning.network import peer
from servegen.values.image import ImageRef
from servegen.values.watcher import WatchedFile, Watcher

NAME = "servegen-watch"
LIMIT = 900 * 1024
"""Bytes of all files together; a ConfigMap takes one MiB with everything around them."""
_OFTEN = re.compile("@(hourly|daily|midnight|weekly|monthly|yearly|annually)")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, _MONTHS),
    (0, 6, _DAYS),
)
"""Least and largest number of minute, hour, day, month and day of the week, and the names there are."""
_PART = re.compile(r"(?:[*?]|(\w+)(?:-(\w+))?)(?:/0*[1-9]\d{0,2})?", re.ASCII)


def plan(
    texts: Mapping[str, str],
    *,
    image: str | None,
    name: str | None,
    namespace: str | None,
    deploys_to: Iterable[str | None],
    schedule: str | None,
    ingress: Sequence[str] | None,
    kube_version: str | None,
    environment: str | None = None,
) -> Watcher:
    """The intent; `texts` are the files by their folder. Raises RenderError naming what cannot be."""
    if not namespace or not names.is_dns_label(namespace):
        msg = f"a watcher cannot run in the namespace {namespace!r}" if namespace else "no namespace is named"
        raise RenderError(msg, hint="--namespace NAME: rights and secrets of a watcher belong to one")
    called = name or NAME
    if not names.is_dns_label(called, names.NAME_LIMIT):
        msg = f"{called!r} cannot name Kubernetes objects"
        raise RenderError(msg, hint=f"--name: at most {names.NAME_LIMIT} of a-z, 0-9 and -, a letter first")
    if schedule is not None and not _is_schedule(schedule):
        msg = f"{schedule!r} is no schedule"
        raise RenderError(msg, hint='--watcher-schedule "*/10 * * * *", five fields as cron has them')
    colons = [folder for folder in texts if ":" in folder]
    if colons:
        msg = f"the folder {colons[0]} has a colon in its name, and Kubernetes mounts nothing there"
        raise RenderError(msg, hint="rename it, or render the watcher for another folder")
    if sum(len(text.encode()) for text in texts.values()) > LIMIT:
        msg = f"the {len(texts)} servegen.yaml files have more than {LIMIT // 1024} KiB together"
        raise RenderError(msg, hint="render a watcher for each part of them")
    peers = None if ingress is None else tuple(peer("network_policy.ingress", text) for text in ingress)
    return Watcher(
        name=called,
        namespace=namespace,
        image=_image(image),
        files=tuple(
            WatchedFile(folder=folder, key=_key(folder), text=text) for folder, text in sorted(texts.items())
        ),
        schedule=schedule,
        deploys_to=tuple(sorted({one or namespace for one in deploys_to})),
        ingress=peers,
        kube_version=versions.wanted(kube_version),
        generator=servegen.__version__,
        environment=environment,
    )


def _is_schedule(text: str) -> bool:
    """Whether Kubernetes takes it: it knows no seconds, no 7 for Sunday, and no `L` or `#`."""
    fields = text.split(" ")
    return bool(_OFTEN.fullmatch(text)) or (
        len(fields) == len(_FIELDS) and all(map(_is_field, fields, _FIELDS))
    )


def _is_field(text: str, known: tuple[int, int, tuple[str, ...]]) -> bool:
    least, largest, names = known
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            return False
        ends = [_number(one, least, names) for one in match.groups() if one is not None]
        if ends != sorted(ends) or any(not least <= one <= largest for one in ends):
            return False
    return True


def _number(text: str, least: int, names: tuple[str, ...]) -> int:
    if text.isdecimal():
        return int(text)
    return names.index(text.lower()) + least if text.lower() in names else -1


def _image(text: str | None) -> str:
    hint = "--watcher-image REGISTRY/REPOSITORY:TAG of an image of servegen itself; docs/how-to/watch.md"
    if text is None:
        msg = "no image of servegen is named for the watcher"
        raise RenderError(msg, hint=hint)
    try:
        found = ImageRef.parse(text)
    except ValueError as exc:
        raise RenderError(str(exc), hint=hint) from exc
    if not found.digest and found.tag in (None, "latest"):
        msg = f"{text} means another image tomorrow"
        raise RenderError(msg, hint="name a tag that stays, or better a digest")
    # Both together say no more than the digest, and some checkers take the tag for it.
    return found.pinned if found.digest else str(found)


def _key(folder: str) -> str:
    """A name that a ConfigMap takes, different for different folders."""
    # None may begin with two dots.
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", folder)[:180].lstrip(".")
    digest = hashlib.sha256(folder.encode()).hexdigest()[:8]
    return f"{plain}.yaml" if plain == folder else f"{plain or 'root'}-{digest}.yaml"
