"""What a watcher does with a model whose name means another version now: the stages of `deploy`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from servegen.job import Job
from servegen.pipeline import image_of, ready
from servegen.planning.deployment import draft, plan
from servegen.progress import Progress
from servegen.sources.aliases import Meaning
from servegen.targets import Target
from servegen.watch.polling import Watched
from servegen.watch.watching import Ended


def target_of(job: Job) -> str:
    """Where a model is delivered to that says nothing of it: a repository if it names one, else a cluster."""
    return "git" if job.config.git.repo else "k8s"


class Deployer:
    """Compares what is deployed with what a name means, and deploys; safe for many threads."""

    def __init__(self, place_of: Callable[[Job], tuple[str, Callable[[], Target]]]) -> None:
        """`place_of` a job is the name of its target, and what makes that for all models."""
        self._place_of = place_of
        # One at a time uses the machine as it is, and MLflow keeps one store for the whole process.
        self._packaging = threading.Lock()
        self._shared: dict[str, tuple[Target, int]] = {}
        self._lock = threading.Lock()

    def act(self, watched: Watched, meaning: Meaning, progress: Progress) -> Ended:
        """What came of it; raises ServegenError."""
        job, version = watched.job, str(meaning.version)
        with self._place(job) as place:
            shared = job.shared if place.layered else None
            found = place.released(draft(job.config.deploy, shared, watched.uri.name))
            if found.pin == meaning.pin:
                progress.step(f"version {version} is deployed")
                return Ended(watched=watched, version=version, result="unchanged", pin=found.pin)
            if meaning.pin in found.holds:
                progress.warn(f"version {version} was rolled back and is held: {found.pin} stays")
                return Ended(watched=watched, version=version, result="held", pin=found.pin)
            progress.step(f"{job.config.model} is version {version}, deployed is {found.pin or 'none'}")
            settings = ready(place, job)
            with self._packaging:
                image = image_of(None, job, progress)
            delivery = place.deliver(plan(image, settings, shared), progress=progress)
        for line in delivery.lines:
            progress.step(line)
        return Ended(watched=watched, version=version, result="deployed", pin=image.label("pin"))

    @contextlib.contextmanager
    def _place(self, job: Job) -> Iterator[Target]:
        """The job's place; those who work at the same time share what is shared, such as a clone."""
        name, make = self._place_of(job)
        with self._lock:
            place, users = self._shared.get(name) or (make(), 0)
            self._shared[name] = place, users + 1
        try:
            yield place.within(job.config)
        finally:
            with self._lock:
                place, users = self._shared.pop(name)
                if users > 1:
                    self._shared[name] = place, users - 1
                else:
                    place.close()
