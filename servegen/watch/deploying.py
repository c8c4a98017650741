"""What a watcher does with a model whose name means another version now: the stages of `deploy`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing

from servegen.job import Job
from servegen.pipeline import image_of, ready
from servegen.planning.deployment import draft, plan
from servegen.progress import Progress
from servegen.sources.aliases import Meaning
from servegen.targets import Target
from servegen.values.image import Image
from servegen.watch.polling import Watched
from servegen.watch.watching import Ended


def target_of(job: Job) -> str:
    """Where a model is delivered to that says nothing of it: a repository if it names one, else a cluster."""
    return "git" if job.config.git.repo else "k8s"


class Deployer:
    """Compares what is deployed with what a name means, and deploys; safe for many threads."""

    def __init__(self, place_of: Callable[[Job, Progress], Target]) -> None:
        self._place_of = place_of
        # One at a time uses the machine as it is, and MLflow keeps one store for the whole process.
        self._packaging = threading.Lock()

    def act(self, watched: Watched, meaning: Meaning, progress: Progress) -> Ended:
        """What came of it; raises ServegenError."""
        job, version = watched.job, str(meaning.version)
        with closing(self._place_of(job, progress)) as place:
            expected = draft(job.config.deploy, job.shared if place.layered else None, watched.uri.name)
            released = place.released(expected)
            if released == meaning.pin:
                progress.step(f"version {version} is deployed")
                return Ended(watched=watched, version=version, result="unchanged", pin=released)
            progress.step(
                f"{job.config.model} is version {version}, deployed is {released or 'none'}: deploying"
            )
            settings = ready(place, job)
            image = self._image(job, progress)
            delivery = place.deliver(
                plan(image, settings, job.shared if place.layered else None), progress=progress
            )
        for line in delivery.lines:
            progress.step(line)
        return Ended(watched=watched, version=version, result="deployed", pin=image.label("pin"))

    def _image(self, job: Job, progress: Progress) -> Image:
        with self._packaging:
            return image_of(None, job, progress)
