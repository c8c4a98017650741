"""Manifests in files → what is wrong with them: the schemas, our own rules, and what the API server says."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from servegen.errors import AbsentKindError, RenderError
from servegen.kube import Object, invariants, metadata, names, parsing, restricted, strict
from servegen.kube.client import Cluster
from servegen.kube.refusal import RefusalError
from servegen.process import run
from servegen.progress import Progress
from servegen.values.deployment import KubeVersion

_SUFFIXES = (".yaml", ".yml", ".json")
_KUSTOMIZATION = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_CHART = "Chart.yaml"
_LABEL = f"{metadata.PREFIX}instance"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong."""

    where: str
    """File, or folder that was built."""
    object: str
    """Kind and name; empty when there is none."""
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.object, self.message) if part)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was looked at."""

    objects: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True)
class _Found:
    where: str
    object: Object


def validate(
    places: Sequence[str],
    version: KubeVersion,
    *,
    stdin: str = "",
    cluster: Cluster | None = None,
    namespace: str | None = None,
    env: Mapping[str, str],
    progress: Progress,
) -> Report:
    """Check every object of the files, folders and `-` (the text `stdin`) in `places`.

    Folders are read as a whole: kustomizations in them are built, charts are rendered, where kubectl and helm
    are there. With `cluster` every object is sent to it as a dry run; `namespace` is the one that all have to
    be for, None where each says its own. Raises RenderError for a place that cannot be read.
    """
    found: list[_Found] = []
    findings: list[Finding] = []
    for place in places:
        for where, text in _texts(place, stdin, version, env, progress):
            _read(where, text, found, findings)
    for each in found:
        findings += _checked(each, version, progress)
    findings += _between(found)
    if cluster is not None:
        findings += [finding for each in found for finding in _asked(each, cluster, namespace)]
    return Report(objects=len(found), findings=tuple(findings))


def _texts(
    place: str, stdin: str, version: KubeVersion, env: Mapping[str, str], progress: Progress
) -> Iterator[tuple[str, str]]:
    if place == "-":
        yield "standard input", stdin
        return
    path = Path(place)
    if not path.is_dir():
        yield place, _content(path)
        return
    if any((path / name).is_file() for name in _KUSTOMIZATION):
        yield from _built(path, ("kubectl", "kustomize", str(path)), env, progress)
    elif (path / _CHART).is_file():
        folder = path.resolve().name
        # The name of a release, which not every folder's name can be.
        release = folder if names.is_dns_label(folder, names.NAME_LIMIT) else "release"
        argv = ("helm", "template", release, str(path), "--kube-version", str(version))
        yield from _built(path, argv, env, progress)
    else:
        files = sorted(one for one in path.iterdir() if one.is_file() and one.suffix in _SUFFIXES)
        for file in files:
            yield str(file), _content(file)
        for inner in sorted(one for one in path.iterdir() if _is_part(one)):
            yield from _texts(str(inner), stdin, version, env, progress)


def _is_part(one: Path) -> bool:
    # A link may lead back to the folder it is in.
    return one.is_dir() and not one.is_symlink() and not one.name.startswith(".")


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        msg = f"{path} cannot be read: {reason}"
        raise RenderError(msg, hint="name a file or folder of manifests, or - for standard input") from exc


def _built(
    folder: Path, argv: tuple[str, ...], env: Mapping[str, str], progress: Progress
) -> Iterator[tuple[str, str]]:
    names = [folder / name for name in _KUSTOMIZATION if (folder / name).is_file()]
    if names and "kind: Component" in _content(names[0]):
        # A part of overlays, which are built with it.
        return
    if shutil.which(argv[0], path=env.get("PATH")) is None:
        progress.warn(f"{folder} was not checked: that needs {argv[0]}")
        return
    done = run(argv, progress=progress, env=env)
    if done.status:
        msg = f"{folder} cannot be built: {' '.join(done.stderr.split())[:300]}"
        raise RenderError(msg, hint=f"see it with: {' '.join(argv)}")
    yield str(folder), done.stdout


def _read(where: str, text: str, found: list[_Found], findings: list[Finding]) -> None:
    try:
        documents = parsing.documents(text)
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        mark = getattr(exc, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(exc, "problem", None) or str(exc)
        findings.append(Finding(where=where, object="", message=f"no YAML:{line} {problem}"))
        return
    for document in documents:
        if isinstance(document, dict) and "services" in document and "kind" not in document:
            # A compose file, which is for another reader.
            continue
        items = document.get("items") if isinstance(document, dict) else None
        for one in (
            items if isinstance(items, list) and str(document.get("kind")).endswith("List") else [document]
        ):
            if not _is_object(one):
                findings.append(
                    Finding(
                        where=where, object="", message="no Kubernetes object: apiVersion, kind or name lacks"
                    )
                )
            else:
                found.append(_Found(where=where, object=one))


def _is_object(one: object) -> bool:
    if not isinstance(one, dict) or not isinstance(one.get("metadata"), dict):
        return False
    return all(
        isinstance(text, str) and text
        for text in (one.get("apiVersion"), one.get("kind"), one["metadata"].get("name"))
    )


def _checked(each: _Found, version: KubeVersion, progress: Progress) -> list[Finding]:
    one = each.object
    if not strict.knows(one, version):
        progress.warn(f"{each.where}: {_title(one)}: there is no schema of {one['apiVersion']} here")
    return [
        Finding(where=each.where, object=_title(one), message=text) for text in strict.problems(one, version)
    ]


def _between(found: Iterable[_Found]) -> list[Finding]:
    """What contradicts our own rules, in the objects that belong together."""
    groups: dict[tuple[str, str], list[Object]] = {}
    for each in found:
        labels = each.object["metadata"].get("labels") or {}
        if isinstance(labels, dict) and _LABEL in labels:
            where = each.where if Path(each.where).is_dir() else str(Path(each.where).parent)
            groups.setdefault((where, str(labels[_LABEL])), []).append(each.object)
    findings = []
    for (where, instance), objects in groups.items():
        if any(one["kind"] == "InferenceService" for one in objects):
            # The pods that the others select are made by KServe.
            continue
        for check in (restricted.violations_of, invariants.violations):
            broken = _broken(check, objects)
            findings += [Finding(where=where, object=instance, message=text) for text in broken]
    return findings


def _broken(
    check: Callable[[Sequence[Object]], tuple[str, ...]], objects: Sequence[Object]
) -> tuple[str, ...]:
    try:
        return check(objects)
    except KeyError as exc:
        # The schemas ask for less than what compares objects.
        return (f"an object lacks {exc.args[0]}, so they could not be checked against each other",)
    except (TypeError, AttributeError, IndexError):
        # Not of the form that the schemas ask for, which is a finding already.
        return ()


def _asked(each: _Found, cluster: Cluster, namespace: str | None) -> list[Finding]:
    one = each.object
    own = one["metadata"].get("namespace")
    try:
        if namespace is not None and own not in (None, namespace):
            message = f"it is for namespace {own}, not {namespace}"
        else:
            within = cluster.within(own) if own else cluster
            within.apply(one, manager=metadata.MANAGER, dry_run=True, force=True)
            return []
    except (AbsentKindError, RefusalError) as exc:
        message = f"the cluster refuses it: {exc}"
    return [Finding(where=each.where, object=_title(one), message=message)]


def _title(one: Object) -> str:
    return f"{one['kind']} {one['metadata']['name']}"
