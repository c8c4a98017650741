"""Whether a repository holds already what makes Argo CD or Flux apply a folder or file, whoever wrote it."""

from __future__ import annotations

import itertools
import posixpath
import re
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from servegen.git.worktree import Tree
from servegen.gitops.flux import VALUES
from servegen.gitops.layouts.programs import KUSTOMIZATIONS
from servegen.kube import Object
from servegen.kube import yaml as kube_yaml

_GROUPS = ("argoproj.io/", "toolkit.fluxcd.io/")
# Controllers' own manifests, which lie in such repositories, are megabytes.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DOCUMENT = re.compile(r"^---(?:\s|$)", re.MULTILINE)
_API = re.compile(r"""apiVersion["']?\s*:\s*["']?(?:argoproj|\w+\.toolkit\.fluxcd)\.io/""")
_EXPRESSION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
_SEGMENT = re.compile(r"index \.?path\.segments (\d+)|path\[(\d+)\]")


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
    elsewhere: frozenset[str] = frozenset()
    """Branches that do not have it, with `HEAD` where the repository's own is one of them."""


def objects(tree: Tree) -> tuple[Found, ...]:
    """Every file of the tree that may have such objects, and those that can be read in it."""
    patterns = [part for group in _GROUPS for part in ("-e", group)]
    # Also in files whose differences .gitattributes hides.
    listed = tree.git.run("grep", "--no-color", "-l", "-z", "-a", "-F", *patterns)
    if listed.status not in (0, 1):
        raise tree.git.failure(listed, "git grep")
    paths = [path for path in listed.stdout.split("\0") if path.endswith((".yaml", ".yml"))]
    # A name that is not UTF-8 is not what git printed.
    there = [path for path in paths if (tree.folder / path).is_file()]
    return tuple(parsed(path, (tree.folder / path).read_text("utf-8", "replace")) for path in there)


def parsed(path: str, text: str) -> Found:
    """The objects of Argo CD and Flux in a file."""
    parts = (part for part in _DOCUMENT.split(text) if _API.search(part))
    ours = (one for part in parts for one in _documents(part) if isinstance(one, dict))
    return Found(
        path=path, text=text, objects=tuple(one for one in ours if isinstance(one.get("spec"), dict))
    )


def _documents(text: str) -> list[Any]:
    try:
        return [one for one in yaml.load_all(text, _LOADER) if not kube_yaml.is_huge(one)]
    except (yaml.YAMLError, ValueError, RecursionError):
        # Templates of charts, mostly.
        return []


def covering(found: Sequence[Found], wanted: Wanted) -> str | None:
    """Path of the first file by which `wanted` is applied; None where nothing does so."""
    known = {
        (one["kind"], str(_part(one, "metadata").get("name"))): one
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
            except (AttributeError, TypeError, KeyError, ValueError, RecursionError):
                # Somebody's object that no controller would take either.
                continue
    return None


def applying(file: Found) -> bool:
    """Whether a file has anything that makes a controller apply something."""
    return any(one.get("kind") in {kind for _, kind in _KINDS} for one in file.objects)


def places(file: Found) -> frozenset[str]:
    """The folders and files of values that what is in a file names, in whatever repository."""
    found: set[str] = set()
    for one in file.objects:
        spec = one["spec"]
        notes = _part(_part(one, "metadata"), "annotations")
        found |= {str(named) for named in (spec.get("path"), notes.get(VALUES)) if named}
        for each in [*_listed(spec.get("sources")), spec.get("source")]:
            if not isinstance(each, dict):
                continue
            folder = str(each.get("path") or "")
            found.add(folder)
            for text in map(str, _listed(_part(each, "helm").get("valueFiles"))):
                found.add(text.partition("/")[2] if text.startswith("$") else posixpath.join(folder, text))
    return frozenset(map(_clean, found - {""}))


def chart_versions(path: str, found: Iterable[Found], url: str) -> frozenset[str]:
    """The versions, as tags, of the chart at `url` that what is in the file `path` takes from a registry."""
    ours = [one for file in found if file.path == path for one in file.objects]
    references = {str(_part(one["spec"], "chartRef").get("name")) for one in ours}
    listed = [each for one in ours for each in _listed(one["spec"].get("sources")) if isinstance(each, dict)]
    sources = [
        (f"oci://{one.get('repoURL')}/{one.get('chart')}", one.get("targetRevision")) for one in listed
    ]
    sources += [
        (str(one["spec"].get("url")), _part(one["spec"], "ref").get("tag"))
        for file in found
        for one in file.objects
        if one.get("kind") == "OCIRepository" and str(_part(one, "metadata").get("name")) in references
    ]
    return frozenset(str(version).replace("+", "_") for place, version in sources if place == url and version)


def _listed(found: object) -> list[Any]:
    return found if isinstance(found, list) else []


def _part(one: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A mapping in an object of anybody's; empty where it is none."""
    found = one.get(key)
    return found if isinstance(found, dict) else {}


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
    template = one["spec"]["template"]["spec"]
    return any(
        _applies(_filled(template, known), wanted) for known in _parameters(one["spec"]["generators"], wanted)
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
    if source is None:
        return True
    part = source["spec"].get("ref") or {}
    return same_repository(str(source["spec"].get("url")), wanted.url) and not _elsewhere(
        part.get("name") or part.get("branch") or "", wanted
    )


def _applies(spec: Mapping[str, Any], wanted: Wanted) -> bool:
    """Whether the source or sources of an Application lead to what is wanted."""
    sources = [one for one in (spec.get("sources") or [spec.get("source")]) if isinstance(one, dict)]
    ours = [one for one in sources if _ours(one.get("repoURL"), one.get("targetRevision"), wanted)]
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
    file = next((place / name for name in KUSTOMIZATIONS if (place / name).is_file()), None)
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


def _ours(url: object, revision: object, wanted: Wanted) -> bool:
    """Whether that is the repository, on the branch that has what is wanted or on none that is known."""
    return same_repository(str(url), wanted.url) and not _elsewhere(revision or "HEAD", wanted)


def _elsewhere(revision: object, wanted: Wanted) -> bool:
    return str(revision).removeprefix("refs/heads/") in wanted.elsewhere


def _parameters(generators: object, wanted: Wanted) -> Iterator[Mapping[str, str]]:
    """What the generators of an ApplicationSet know, as far as this repository tells."""
    for one in _listed(generators):
        for kind, about in one.items() if isinstance(one, dict) else ():
            if kind == "git":
                if _ours(about.get("repoURL"), about.get("revision"), wanted):
                    yield from (_facts(place) for place in _matched(about, wanted.path))
            elif kind == "list":
                yield from (_texts(element) for element in about.get("elements") or ())
            elif kind in ("matrix", "merge"):
                parts = [list(_parameters([part], wanted)) for part in _listed(about.get("generators"))]
                # One that tells nothing, as it is of another repository, does not undo what others tell.
                known = [part or [{}] for part in parts] if any(parts) else []
                yield from (ChainMap(*map(dict, row)) for row in itertools.product(*known) if row)
            elif isinstance(about, dict):
                # Clusters, say: whatever there may be.
                yield {}


def _facts(place: str) -> dict[str, str]:
    """What a Git generator says of a folder or file."""
    folder = posixpath.dirname(place) if place.endswith((".yaml", ".yml", ".json")) else place
    last = posixpath.basename(folder)
    names = {"": folder, ".path": folder, ".basename": last, ".filename": posixpath.basename(place)}
    known = {f"path{name}": text for name, text in names.items()}
    known["path.basenameNormalized"] = re.sub("[^a-z0-9.-]", "-", last.lower())
    return known | {f"path.segments.{number}": part for number, part in enumerate(folder.split("/"))}


def _texts(element: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in element.items() if not isinstance(value, (dict, list))}


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


def _filled(template: Any, known: Mapping[str, str]) -> Any:
    """A template with what is known; all else in braces stays."""
    if isinstance(template, dict):
        return {key: _filled(one, known) for key, one in template.items()}
    if isinstance(template, list):
        return [_filled(one, known) for one in template]
    if isinstance(template, str):
        return _EXPRESSION.sub(lambda found: known.get(_name(found[1]), found[0]), template)
    return template


def _name(expression: str) -> str:
    """What an expression is called among what generators know, whichever way it is written."""
    segment = _SEGMENT.fullmatch(expression)
    return f"path.segments.{segment[1] or segment[2]}" if segment else expression.removeprefix(".")


def _clean(path: str) -> str:
    return posixpath.normpath(str(path).lstrip("/") or ".")
