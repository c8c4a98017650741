"""Registry, repository and cluster of many models, each asked as seldom as possible, and compared."""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from servegen.errors import ConfigError, EditedError, ModelError, RenderError, ServegenError
from servegen.git import history
from servegen.git.worktree import Access, Place, Tree, inside, opened
from servegen.gitops import message
from servegen.gitops.building import objects_of
from servegen.gitops.drift import Committed, Comparison, Live, Named, Unknown, compare, overriding
from servegen.gitops.layouts import Layout, found, layout, notes
from servegen.gitops.live import Namespaces, deployment_of, server_image
from servegen.job import Job
from servegen.kube import Object
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.planning.deployment import instance_name, object_name
from servegen.progress import Progress
from servegen.sources import StoreOptions
from servegen.sources.aliases import Meaning, meanings
from servegen.sources.overwritten import content_digest
from servegen.sources.uri import RegistryURI, parse
from servegen.values.gitops import DEFAULT_ENVIRONMENT, Record

WORKERS = 8
_HISTORY = 256
"""Commits that are looked at for when a release was made."""
_FILE = "kustomization.yaml"
_EVERY = "/*"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One servegen.yaml, or folders of a repository that come without."""

    name: str
    """As the table calls it; of folders without servegen.yaml their own name is taken."""
    environments: tuple[str | None, ...] | None
    """None: those that the repository has."""
    job: Callable[[str | None], Job]
    """What is wanted in an environment; raises ConfigError for a file that cannot be used."""
    path: str | None = None
    """Folder in the repository, where servegen.yaml does not say it; `apps/*` is every one in there."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One model in one environment."""

    name: str
    environment: str | None
    job: Job
    path: str | None


@dataclass(frozen=True, kw_only=True)
class Legs:
    """What is to be asked, beside the registry."""

    access: Access
    clusters: Callable[[str | None], ClusterOptions | Unknown] | None
    """How to reach the cluster of an environment; None asks no cluster."""
    must_reach: bool = False
    """Fail where a cluster does not answer, rather than leave it out."""
    deep: bool = False
    """Read the files of each released version."""


@dataclass(frozen=True, kw_only=True)
class _Released:
    """What a repository has of a subject."""

    committed: Committed | Unknown
    objects: tuple[Object, ...] = ()
    unbuilt: str | None = None
    """Why there are no objects."""


def look(
    candidates: Sequence[Candidate], legs: Legs, progress: Progress, *, now: float
) -> tuple[Comparison, ...]:
    """All models compared in each environment, in their order; what cannot be asked is told in its place."""
    with contextlib.ExitStack() as stack:
        trees = _Trees(legs=legs, progress=progress, stack=stack)
        subjects = [one for candidate in candidates for one in _subjects(candidate, trees)]
        released = _released(subjects, trees)
        named = _named(subjects, released, legs, progress)
        clusters = _Clusters(legs=legs)
        with ThreadPoolExecutor(max_workers=WORKERS) as pool:
            live = list(pool.map(clusters.live, subjects, released))
    return tuple(
        compare(one.name, one.environment, registry, git.committed, cluster, now=now)
        for one, registry, git, cluster in zip(subjects, named, released, live, strict=True)
    )


@dataclass(kw_only=True)
class _Trees:
    """Trees of repositories, each cloned once; one that cannot be had is asked for once."""

    legs: Legs
    progress: Progress
    stack: contextlib.ExitStack
    _open: dict[Place, Tree | Unknown] = field(default_factory=dict)

    def of(self, job: Job) -> Tree | Unknown:
        """The tree that the job's settings name."""
        git = job.config.git
        if git.repo is None:
            return Unknown(why="no repository is named: --repo URL, or git.repo in servegen.yaml")
        place = Place(repo=git.repo, branch=git.branch)
        if place not in self._open:
            self._open[place] = self._opened(place)
        return self._open[place]

    def _opened(self, place: Place) -> Tree | Unknown:
        try:
            tree = self.stack.enter_context(opened(place, self.legs.access, self.progress))
            history.deepen(tree, _HISTORY)
        except ConfigError:
            raise
        except ServegenError as exc:
            return Unknown(why=str(exc))
        return tree


def _subjects(candidate: Candidate, trees: _Trees) -> Iterator[Subject]:
    if candidate.environments is not None:
        for environment in candidate.environments:
            job = candidate.job(environment)
            yield Subject(name=candidate.name, environment=environment, job=job, path=candidate.path)
        return
    job = candidate.job(None)
    tree = trees.of(job)
    if isinstance(tree, Unknown):
        yield Subject(name=candidate.name, environment=None, job=job, path=candidate.path)
        return
    for path in _folders(tree, folder_of(job, candidate.path)):
        name = candidate.name if path is None or candidate.path is None else path.rpartition("/")[2]
        for environment in _environments(tree, path, job.config.git.layout):
            yield Subject(name=name, environment=environment, job=candidate.job(environment), path=path)


def _folders(tree: Tree, path: str | None) -> list[str | None]:
    if path is None or not path.endswith(_EVERY):
        return [path]
    above = path.removesuffix(_EVERY)
    folder = inside(tree.folder, above)
    known = sorted(one for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []
    return [f"{above}/{one.name}" for one in known if found(one).environments(one)]


def _environments(tree: Tree, path: str | None, named: str | None) -> tuple[str | None, ...]:
    """Those that the repository has releases of; that without a name where it has none."""
    if path is None:
        return (None,)
    folder = inside(tree.folder, path)
    names = (layout(named) if named else found(folder)).environments(folder)
    return tuple(None if name == DEFAULT_ENVIRONMENT else name for name in names) or (None,)


def _released(subjects: Sequence[Subject], trees: _Trees) -> list[_Released]:
    groups: dict[int, dict[int, Subject]] = defaultdict(dict)
    made: dict[int, _Released] = {}
    known: dict[int, Tree] = {}
    for number, one in enumerate(subjects):
        tree = trees.of(one.job)
        if isinstance(tree, Unknown):
            made[number] = _Released(committed=tree)
        else:
            known[id(tree)] = tree
            groups[id(tree)][number] = one
    for key, group in groups.items():
        made |= _of_tree(known[key], group, trees.legs, trees.progress)
    return [made[number] for number in range(len(subjects))]


def _of_tree(
    tree: Tree, subjects: Mapping[int, Subject], legs: Legs, progress: Progress
) -> dict[int, _Released]:
    paths = {number: folder_of(one.job, one.path) for number, one in subjects.items()}
    known = _History.of(tree, sorted({path for path in paths.values() if path}))

    def one(number: int) -> tuple[int, _Released]:
        subject, path = subjects[number], paths[number]
        if path is None:
            return number, _not("git.path is not set, and the model's name is not in its URI")
        try:
            return number, _read(tree, path, subject, known, legs, progress)
        except EditedError as exc:
            return number, _not(str(exc))

    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        return dict(pool.map(one, subjects))


def folder_of(job: Job, path: str | None = None) -> str | None:
    """The model's folder in the repository; None where nobody can tell without asking for the model.

    Raises RenderError for an environment that cannot be one.
    """
    config = job.config
    # It becomes part of paths.
    object_name("model", config.deploy)
    named = config.git.path or path
    if named is not None:
        return named.rstrip("/")
    uri = parse(config.model) if config.model else None
    name = uri.name if isinstance(uri, RegistryURI) else config.deploy.name
    return f"apps/{object_name(name, config.deploy)}" if name else None


def _read(
    tree: Tree, path: str, subject: Subject, known: _History, legs: Legs, progress: Progress
) -> _Released:
    folder, named = inside(tree.folder, path), subject.job.config.git.layout
    chosen = layout(named) if named else found(folder)
    # Which servegen.yaml may call otherwise than the environment whose settings these are.
    environment = subject.job.config.deploy.environment
    record = chosen.read(folder, environment)
    if record is None:
        return _Released(committed=Committed(record=None))
    owned = [f"{path}/{each}" for each in chosen.owned(folder, environment)]
    since, measured = known.about(record, owned)
    committed = Committed(
        record=record, since=since, measured=measured, overriding=_overriding(chosen, folder, record)
    )
    if legs.clusters is None:
        return _Released(committed=committed)
    try:
        objects = objects_of(chosen, folder, environment, tree, progress)
    except RenderError as exc:
        return _Released(committed=committed, unbuilt=str(exc))
    # What Helm runs before and after is no part of what stays.
    kept = tuple(one for one in objects if "helm.sh/hook" not in (one["metadata"].get("annotations") or {}))
    deployment = deployment_of(kept)
    built = server_image(deployment) if deployment else None
    return _Released(committed=replace(committed, built=built), objects=kept)


def _overriding(chosen: Layout, folder: Path, record: Record) -> tuple[str, ...]:
    """Files of the user's that set the image themselves."""
    path = f"{chosen.applied(record.environment)}/{_FILE}"
    if not (folder / path).is_file():
        return ()
    content = notes.load((folder / path).read_text("utf-8", "replace"), path)
    return (path,) if overriding(content, record.image.name) else ()


def _not(why: str) -> _Released:
    return _Released(committed=Unknown(why=why))


@dataclass(frozen=True, kw_only=True)
class _History:
    """Commits of a whole repository, read once."""

    by_path: Mapping[str, Sequence[history.Entry]]
    """Newest first."""

    @classmethod
    def of(cls, tree: Tree, paths: Sequence[str]) -> _History:
        by_path = defaultdict(list)
        for one in history.entries(tree, paths, most=50 * _HISTORY) if paths else ():
            for path in one.paths:
                by_path[path].append(one)
        return cls(by_path=by_path)

    def about(self, record: Record, owned: Sequence[str]) -> tuple[float | None, str | None]:
        """When the release was committed, and the digest with which its profile came first."""
        commits = {one.id: one for path in owned for one in self.by_path.get(path, ())}
        ordered = sorted(commits.values(), key=lambda one: -one.time)
        ours = [one for one in ordered if one.trailers.get(message.IMAGE) == record.image.pinned]
        since = ours[0].time if ours else ordered[0].time if ordered else None
        same = [
            one for one in ordered if record.profile and one.trailers.get(message.PROFILE) == record.profile
        ]
        measured = same[-1].trailers.get(message.IMAGE, "").partition("@")[2] if same else None
        return since, measured or None


def _named(
    subjects: Sequence[Subject], released: Sequence[_Released], legs: Legs, progress: Progress
) -> list[Named | Unknown]:
    made: dict[int, Named | Unknown] = {}
    stores: dict[tuple[str | None, str | None], dict[int, RegistryURI]] = defaultdict(dict)
    for number, (one, git) in enumerate(zip(subjects, released, strict=True)):
        record = git.committed.record if isinstance(git.committed, Committed) else None
        text = one.job.config.model or (record and record.uri)
        store = one.job.tracking_uri, one.job.config.registry_uri or one.job.environment.registry_uri
        uri = parse(text) if text else None
        if uri is None:
            made[number] = Unknown(why="no model is named, and git has none")
        elif not isinstance(uri, RegistryURI):
            made[number] = Unknown(why=f"{text} is no name in a registry")
        elif store == (None, None):
            made[number] = Unknown(
                why="no MLflow store is named: --tracking-uri, MLFLOW_TRACKING_URI, or tracking_uri"
            )
        else:
            stores[store][number] = uri
    digests = _Digests(legs=legs, progress=progress)
    for store, wanted in stores.items():
        try:
            answers = meanings(wanted.values(), *store)
        except ModelError as exc:
            made |= dict.fromkeys(wanted, Unknown(why=str(exc)))
            continue
        for number, uri in wanted.items():
            leg = _meaning(subjects[number], answers[uri])
            made[number] = digests.read(leg, released[number], subjects[number].job)
    return [made[number] for number in range(len(subjects))]


def _meaning(subject: Subject, answer: Meaning) -> Named:
    uri = answer.uri
    name = uri.alias or uri.stage or uri.version or "latest"
    text = subject.job.config.model or f"models:/{uri.name}{'@' if uri.alias else '/'}{name}"
    return Named(uri=text, name=name, version=answer.version, since=answer.since, why=answer.why)


@dataclass(kw_only=True)
class _Digests:
    """Digests of versions' files as they are now; each version is read once."""

    legs: Legs
    progress: Progress
    _read: dict[tuple[object, ...], tuple[str | None, str | None]] = field(default_factory=dict)

    def read(self, leg: Named, released: _Released, job: Job) -> Named:
        """The leg, with the digest of the released version where that was asked for."""
        committed = released.committed
        record = committed.record if isinstance(committed, Committed) else None
        if not self.legs.deep or record is None or record.pin is None or record.model_digest is None:
            return leg
        uri = parse(record.pin)
        if not isinstance(uri, RegistryURI) or uri.version is None:
            return leg
        registry_uri = job.config.registry_uri or job.environment.registry_uri
        options = StoreOptions(tracking_uri=job.tracking_uri, registry_uri=registry_uri, cache=job.cache)
        key = (options.tracking_uri, registry_uri, uri)
        if key not in self._read:
            self.progress.step(f"reading the files of {record.pin}")
            try:
                self._read[key] = content_digest(uri.name, uri.version, options), None
            except ModelError as exc:
                self._read[key] = None, str(exc)
        digest, unread = self._read[key]
        return replace(leg, digest=digest, unread=unread)


@dataclass(kw_only=True)
class _Clusters:
    """The clusters of all environments; one that does not answer is asked once."""

    legs: Legs
    _reached: dict[ClusterOptions, Namespaces | Unknown] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def live(self, subject: Subject, released: _Released) -> Live | Unknown:
        """What runs of the subject."""
        if self.legs.clusters is None:
            return Unknown(why="--no-cluster")
        options = self.legs.clusters(subject.environment)
        if isinstance(options, Unknown):
            return options
        settings, committed = subject.job.config.deploy, released.committed
        record = committed.record if isinstance(committed, Committed) else None
        deployment = deployment_of(released.objects)
        if deployment is not None:
            name = str(deployment["metadata"]["name"])
            namespace = deployment["metadata"].get("namespace") or settings.namespace
        else:
            model = record.model_name if record else _model_name(subject.job)
            if model is None:
                return Unknown(why="the model's name is not known")
            name = instance_name(model, settings)
            namespace = settings.namespace
        try:
            place = self._namespaces(options)
            if isinstance(place, Unknown):
                return place
            found = place.live(namespace or place.cluster.namespace, name, released.objects)
        except ServegenError as exc:
            if self.legs.must_reach:
                raise
            return Unknown(why=str(exc))
        return replace(found, unchecked=found.unchecked or released.unbuilt)

    def _namespaces(self, options: ClusterOptions) -> Namespaces | Unknown:
        with self._lock:
            if options not in self._reached:
                try:
                    cluster = Cluster.connect(options)
                    cluster.version()
                    self._reached[options] = Namespaces(cluster=cluster)
                except ServegenError as exc:
                    if self.legs.must_reach:
                        raise
                    self._reached[options] = Unknown(why=str(exc))
            return self._reached[options]


def _model_name(job: Job) -> str | None:
    uri = parse(job.config.model) if job.config.model else None
    return uri.name if isinstance(uri, RegistryURI) else None
