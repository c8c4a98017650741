"""Whether a repository holds already what makes Argo CD or Flux apply a folder or file, whoever wrote it."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from servegen.git.worktree import Tree
from servegen.gitops.flux import VALUES
from servegen.kube import Object

_GROUPS = ("argoproj.io/", "toolkit.fluxcd.io/")
_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_PATH = re.compile(r"\{\{-?\s*\.?path(\.path|\.basename|\.filename)?\s*-?\}\}")
"""What an ApplicationSet writes for what its generator found."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file with objects of Argo CD or Flux."""

    path: str
    text: str
    objects: tuple[Object, ...]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be applied."""

    url: str
    """Of the repository."""
    path: str
    """The folder, or the file of values, from the root."""
    root: Path
    """Where the repository's files are."""


def objects(tree: Tree) -> tuple[Found, ...]:
    """Every file of the tree with such objects; what cannot be read as YAML is left out."""
    patterns = [part for group in _GROUPS for part in ("-e", group)]
    listed = tree.git.run("grep", "--no-color", "-l", "-z", "-I", "-F", *patterns)
    found = []
    for path in listed.stdout.split("\0"):
        if not path.endswith((".yaml", ".yml")):
            continue
        text = (tree.folder / path).read_text("utf-8", "replace")
        try:
            documents = list(yaml.safe_load_all(text))
        except (yaml.YAMLError, ValueError, RecursionError):
            # Templates of charts, mostly.
            continue
        ours = tuple(one for one in documents if isinstance(one, dict) and isinstance(one.get("spec"), dict))
        found.append(Found(path=path, text=text, objects=ours))
    return tuple(found)


def covering(found: Sequence[Found], wanted: Wanted) -> str | None:
    """Path of the first file by which `wanted` is applied; None where nothing does so."""
    known = {
        (one["kind"], str((one.get("metadata") or {}).get("name"))): one
        for file in found
        for one in file.objects
        if one.get("kind") == "GitRepository"
    }
    for file in found:
        for one in file.objects:
            make = _KINDS.get((str(one.get("apiVersion")).partition("/")[0], str(one.get("kind"))))
            if make is None:
                continue
            try:
                if make(one, wanted, known):
                    return file.path
            except (AttributeError, TypeError, KeyError):
                # Somebody's object that no controller would take either.
                continue
    return None


def same_repository(one: str, other: str) -> bool:
    """Whether two URLs are of the same repository, however it is reached."""
    return _plain(one) == _plain(other)


def _plain(url: str) -> str:
    scheme, _, rest = url.strip().rpartition("://")
    if not scheme and not rest.startswith("/"):
        # host:path of ssh.
        rest = re.sub(r"^([^/:]+):(?!/)", r"\1/", rest)
    host, slash, path = rest.partition("/")
    host = host.rpartition("@")[2].partition(":")[0].lower()
    return f"{host}{slash}{path}".rstrip("/").removesuffix(".git").rstrip("/")


def _by_application(one: Object, wanted: Wanted, _: Mapping[Any, Object]) -> bool:
    return _applies(one["spec"], wanted)


def _by_application_set(one: Object, wanted: Wanted, _: Mapping[Any, Object]) -> bool:
    template = json.dumps(one["spec"]["template"]["spec"])
    return any(
        _applies(json.loads(_filled(template, place)), wanted)
        for generator in _generators(one["spec"]["generators"])
        if same_repository(str(generator.get("repoURL")), wanted.url)
        for place in _matched(generator, wanted.path)
    )


def _by_kustomization(one: Object, wanted: Wanted, known: Mapping[Any, Object]) -> bool:
    spec = one["spec"]
    if not _from_here(spec["sourceRef"], wanted, known):
        return False
    return _reaches(wanted, _clean(spec.get("path") or "."), whole=True)


def _by_release(one: Object, wanted: Wanted, known: Mapping[Any, Object]) -> bool:
    if ((one.get("metadata") or {}).get("annotations") or {}).get(VALUES) == wanted.path:
        return True
    chart = (one["spec"].get("chart") or {}).get("spec") or {}
    files = [_clean(path) for path in chart.get("valuesFiles") or ()]
    return wanted.path in files and _from_here(chart["sourceRef"], wanted, known)


_KINDS = {
    ("argoproj.io", "Application"): _by_application,
    ("argoproj.io", "ApplicationSet"): _by_application_set,
    ("kustomize.toolkit.fluxcd.io", "Kustomization"): _by_kustomization,
    ("helm.toolkit.fluxcd.io", "HelmRelease"): _by_release,
}


def _from_here(reference: Mapping[str, Any], wanted: Wanted, known: Mapping[Any, Object]) -> bool:
    """Whether a source of Flux is this repository; one that is not in it is taken for that."""
    if reference.get("kind") != "GitRepository":
        return False
    source = known.get(("GitRepository", str(reference.get("name"))))
    return source is None or same_repository(str(source["spec"].get("url")), wanted.url)


def _applies(spec: Mapping[str, Any], wanted: Wanted) -> bool:
    """Whether the source or sources of an Application lead to what is wanted."""
    sources = [one for one in (spec.get("sources") or [spec.get("source")]) if isinstance(one, dict)]
    ours = [one for one in sources if same_repository(str(one.get("repoURL")), wanted.url)]
    names = {one.get("ref") for one in ours if one.get("ref")}
    for one in sources:
        for text in (one.get("helm") or {}).get("valueFiles") or ():
            name, _, rest = str(text).removeprefix("$").partition("/")
            path = rest if str(text).startswith("$") else posixpath.join(one.get("path") or "", str(text))
            if (name in names if str(text).startswith("$") else one in ours) and _clean(path) == wanted.path:
                return True
        recursive = bool((one.get("directory") or {}).get("recurse"))
        if one in ours and one.get("path") and _reaches(wanted, _clean(one["path"]), whole=recursive):
            return True
    return False


def _reaches(wanted: Wanted, folder: str, *, whole: bool, seen: frozenset[str] = frozenset()) -> bool:
    """Whether what applies `folder` applies the wanted one, too; `whole` says that it goes into folders."""
    if folder == wanted.path:
        return True
    place = wanted.root / folder
    if folder in seen or folder.startswith("..") or not place.is_dir():
        return False
    file = next((place / name for name in _KUSTOMIZATIONS if (place / name).is_file()), None)
    if file is None:
        below = folder == "." or wanted.path.startswith(f"{folder}/")
        return whole and below and (wanted.root / wanted.path).suffix not in (".yaml", ".yml")
    try:
        content = yaml.safe_load(file.read_text("utf-8", "replace"))
    except (yaml.YAMLError, ValueError, RecursionError):
        return False
    listed = content.get("resources") if isinstance(content, dict) else None
    return any(
        _reaches(wanted, _clean(posixpath.join(folder, one)), whole=False, seen=seen | {folder})
        for one in listed or ()
        if isinstance(one, str) and "://" not in one
    )


def _generators(found: object) -> Iterator[Mapping[str, Any]]:
    """The Git generators among `found`, also those within others."""
    for one in found if isinstance(found, list) else ():
        for kind, about in one.items() if isinstance(one, dict) else ():
            if kind == "git" and isinstance(about, dict):
                yield about
            elif isinstance(about, dict):
                yield from _generators(about.get("generators"))


def _matched(generator: Mapping[str, Any], path: str) -> Iterator[str]:
    """The wanted path, and folders above it, that the generator finds."""
    parts = path.split("/")
    for kind, candidates in (
        ("directories", ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]),
        ("files", [path]),
    ):
        rules = generator.get(kind) or ()
        for one in candidates:
            hits = [bool(rule.get("exclude")) for rule in rules if _matches(one, str(rule.get("path")))]
            if hits and not any(hits):
                yield one


def _matches(path: str, pattern: str) -> bool:
    """Whether a star in it stands for one part of the path, and two for any number."""
    ours, theirs = path.split("/"), pattern.strip("/").split("/")
    if "**" in theirs:
        return fnmatchcase(path, pattern)
    return len(ours) == len(theirs) and all(map(fnmatchcase, ours, theirs))


def _filled(template: str, place: str) -> str:
    folder = posixpath.dirname(place) if place.endswith((".yaml", ".yml", ".json")) else place
    values = {".filename": posixpath.basename(place), ".basename": posixpath.basename(folder)}
    return _PATH.sub(lambda match: values.get(match[1] or "", folder), template)


def _clean(path: str) -> str:
    return posixpath.normpath(str(path).lstrip("/") or ".")
