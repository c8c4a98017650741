"""Many models at once: every servegen.yaml below a folder, in parallel; one that fails fails alone."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from servegen.config import FILE
from servegen.errors import ConfigError, FleetError, ServegenError, StoppedError
from servegen.job import Job
from servegen.pipeline import Rendered, image_of, ready, rehearse, render
from servegen.planning.deployment import plan
from servegen.progress import Progress
from servegen.targets import Target
from servegen.values.deployment import Deployment, Settings
from servegen.values.gitops import GitSettings
from servegen.values.image import Image

Count = Callable[[str, int, int], None]
"""Told what is counted, how many of it are done, and of how many."""
WORKERS = 16
"""Models that are delivered at a time; most of it is waiting for their pods."""
_NAMED = 5
"""How many failures an error names."""
Made = TypeVar("Made")
Did = TypeVar("Did")


@dataclass(frozen=True, kw_only=True)
class Member:
    """One servegen.yaml of the folder."""

    name: str
    """The file's folder, relative to the folder that was named."""
    read: Callable[[], Job]
    """What is wanted of it; raises ConfigError for a file that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[Did]):
    """How one member did: `result`, or the error that kept it from one."""

    name: str
    deployment: Deployment | None = None
    result: Did | None = None
    error: ServegenError | None = None
    seconds: float = 0


def files(folder: Path) -> tuple[Path, ...]:
    """Every servegen.yaml in and below `folder`, sorted; hidden folders and stores of MLflow are left out."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "mlruns"]
        if FILE in names:
            found.append(Path(place) / FILE)
    return tuple(sorted(found))


def name_of(path: Path, folder: Path) -> str:
    """What a servegen.yaml is called among those of `folder`: its folder as seen from there.

    That of `folder` itself has its name, unless one below it is called so.
    """
    inside, own = path.absolute().parent.relative_to(folder.absolute()), folder.resolve().name
    if inside.parts:
        return str(inside)
    return "." if (folder / own / FILE).is_file() else own


def run(
    members: Sequence[Member],
    work: Callable[[Target, Deployment, Progress], Did],
    place: Target,
    progress: Progress,
    told: Count,
) -> tuple[Outcome[Did], ...]:
    """Plan all `members` and do `work` with each plan that could be made; in the order of `members`.

    A model or image that several name is packaged or looked up once.
    """
    images = _Images()
    # A place that does not answer is no failure of each member.
    place.version()
    places: dict[str, Target] = {}

    def make_plan(member: Member) -> Outcome[Deployment]:
        began = time.monotonic()
        made, error = None, None
        try:
            job, said = member.read(), _Named(member.name, progress)
            own = places[member.name] = place.within(job.config)
            settings = ready(own, job)
            made = plan(images.of(job, said), settings, job.shared if own.layered else None)
        except (ServegenError, OSError) as exc:
            error = _named(exc)
        return Outcome(name=member.name, result=made, error=error, seconds=time.monotonic() - began)

    planned = _each(members, make_plan)
    clashes = _clashes(planned)
    count = _Tally(total=len(members), progress=progress, told=told)

    def finish(outcome: Outcome[Deployment]) -> Outcome[Did]:
        began = time.monotonic()
        deployment, error = outcome.result, outcome.error or clashes.get(outcome.name)
        result = None
        if deployment is not None and error is None:
            try:
                result = work(places[outcome.name], deployment, _Named(outcome.name, progress))
            except (ServegenError, OSError) as exc:
                error = _named(exc)
        seconds = round(outcome.seconds + time.monotonic() - began, 1)
        done = Outcome(name=outcome.name, deployment=deployment, result=result, error=error, seconds=seconds)
        count.tell(done)
        return done

    return _each(planned, finish)


def render_all(
    members: Sequence[Member],
    format_name: str,
    progress: Progress,
    told: Count,
    finish: Callable[[Rendered, Job], Rendered] = lambda made, _: made,
) -> tuple[Outcome[Rendered], ...]:
    """The objects of all `members` in one format, as `finish` has them written; in their order."""
    images, count = _Images(), _Tally(total=len(members), progress=progress, told=told)

    def one(member: Member) -> Outcome[Rendered]:
        began = time.monotonic()
        rendered, error = None, None
        try:
            job, said = member.read(), _Named(member.name, progress)
            finish(rehearse(job, format_name), job).bundle()
            rendered = finish(render(images.of(job, said), job, format_name), job)
        except (ServegenError, OSError) as exc:
            error = _named(exc)
        done = Outcome(
            name=member.name,
            deployment=rendered.deployment if rendered else None,
            result=rendered,
            error=error,
            seconds=round(time.monotonic() - began, 1),
        )
        count.tell(done)
        return done

    return _each(members, one)


def apart(done: Sequence[Outcome[Rendered]], progress: Progress) -> tuple[Outcome[Rendered], ...]:
    """The outcomes for one folder of all: those fail that would write over what another one writes.

    What begins a file that is the user's afterwards is only told: the first one is written.
    """
    bundles = {one.name: one.result.bundle() for one in done if one.result}
    names, begun = defaultdict(list), dict[str, str]()
    for name, bundle in bundles.items():
        for path, _ in bundle.files:
            names[path].append(name)
        for path, text in bundle.starters:
            if begun.setdefault(path, text) != text:
                progress.warn(f"{name}: {path} is written as another model has it")
    found: dict[str, ServegenError] = {}
    for path, writers in names.items():
        for name in writers if len(writers) > 1 else ():
            others = ", ".join(other for other in writers if other != name)
            msg = f"{others} would write {path}, too"
            found.setdefault(name, ConfigError(msg, hint="give each a git.path or an environment of its own"))
    return tuple(
        replace(one, result=None, error=found[one.name]) if one.name in found else one for one in done
    )


def failure(outcomes: Iterable[Outcome[Did]], what: str) -> FleetError | None:
    """The error that names the members that were not `what`, such as `deployed`; None when all were."""
    everything = list(outcomes)
    failed = [one for one in everything if one.error]
    if not failed:
        return None
    names = ", ".join(one.name for one in failed[:_NAMED])
    more = f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    details = "\n".join(f"{one.name}: {one.error}\n  hint: {one.error.hint}" for one in failed if one.error)
    return FleetError(
        f"{len(failed)} of {len(everything)} models were not {what}: {names}{more}",
        hint="the others are; mend what is named above and run it again, what is done stays as it is",
        details=details,
    )


def _named(error: ServegenError | OSError) -> ServegenError:
    if isinstance(error, ServegenError):
        return error
    return ServegenError(str(error), hint="check the disk and the rights on that path")


def _clashes(planned: Iterable[Outcome[Deployment]]) -> dict[str, ServegenError]:
    """The error of each member that would overwrite another one's objects."""
    names = defaultdict(list)
    for one in planned:
        if one.result is not None:
            names[one.result.namespace, one.result.instance].append(one.name)
    found: dict[str, ServegenError] = {}
    for (_, instance), members in names.items():
        for name in members if len(members) > 1 else ():
            others = ", ".join(other for other in members if other != name)
            msg = f"{others} would be deployed as {instance}, too"
            found[name] = ConfigError(msg, hint="give each a deploy.name or deploy.namespace of its own")
    return found


def _each(items: Sequence[Made], work: Callable[[Made], Did]) -> tuple[Did, ...]:
    """`work` of every item, in their order; what it raises ends all of it."""
    todo = queue.SimpleQueue[tuple[int, Made]]()
    for number, item in enumerate(items):
        todo.put((number, item))
    done: dict[int, Did] = {}
    broken: list[BaseException] = []

    def pull() -> None:
        with contextlib.suppress(queue.Empty):
            while not broken:
                number, item = todo.get_nowait()
                done[number] = work(item)

    def guarded() -> None:
        try:
            pull()
        except BaseException as exc:  # noqa: BLE001 (raised again below, in the thread that waits)
            broken.append(exc)

    # Daemons, unlike those of an executor: Ctrl-C need not wait until the pods of all are ready.
    threads = [threading.Thread(target=guarded, daemon=True) for _ in range(min(WORKERS, len(items)))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt as exc:
        broken.append(exc)
        msg = f"interrupted: {len(done)} of {len(items)} are done, what was applied stays"
        raise StoppedError(msg, hint="run it again to finish it") from exc
    if broken:
        raise broken[0]
    return tuple(done[number] for number in range(len(items)))


@dataclass(kw_only=True)
class _Once(Generic[Made]):
    """Makes a thing once for all who ask for it under the same key; others wait, and share its failure."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _made: dict[Hashable, Future[Made]] = field(default_factory=dict)

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        with self._lock:
            first = key not in self._made
            future = self._made.setdefault(key, Future())
        if first:
            try:
                future.set_result(make())
            except BaseException as exc:
                future.set_exception(exc)
                raise
        return future.result()


class _Images:
    """The image of each job, made or looked up once for all jobs that have the same."""

    def __init__(self) -> None:
        self._once = _Once[Image]()
        self._packaging = threading.Lock()

    def of(self, job: Job, progress: Progress) -> Image:
        """The image of `job`."""
        # Whatever differs in how it is deployed.
        same = repr(replace(job.config, deploy=Settings(), git=GitSettings(), environments={}))
        return self._once.get(same, lambda: self._find(job, progress))

    def _find(self, job: Job, progress: Progress) -> Image:
        # One packaging at a time uses the machine as it is; a look into a registry mostly waits.
        with self._packaging if job.config.model is not None else contextlib.nullcontext():
            return image_of(None, job, progress)


@dataclass(kw_only=True)
class _Tally:
    """Tells of each member that is done, with how many of them are."""

    total: int
    progress: Progress
    told: Count
    _done: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, outcome: Outcome[Did]) -> None:
        with self._lock:
            self._done += 1
            text = f"failed: {outcome.error}" if outcome.error else f"done in {outcome.seconds:.1f} s"
            self.progress.step(f"[{self._done}/{self.total}] {outcome.name} {text}")
            self.told("models", self._done, self.total)


class _Named:
    """Progress of one member among many: warnings carry its name, and what is usual is left out."""

    def __init__(self, name: str, progress: Progress) -> None:
        self._name, self._progress = name, progress

    def step(self, text: str) -> None:
        """Drop it: hundreds of models would drown each other."""

    def warn(self, text: str) -> None:
        """The warning, with the name of whom it is about."""
        self._progress.warn(f"{self._name}: {text}")

    def program(self, argv: Sequence[str]) -> None:
        """As it is."""
        self._progress.program(argv)

    def bytes(self, task: str, done: int, total: int) -> None:
        """The task, with the name of whose it is."""
        self._progress.bytes(f"{self._name}: {task}", done, total)

    def awaiting(self, title: str, states: Mapping[str, str]) -> None:
        """Drop it, like steps."""
