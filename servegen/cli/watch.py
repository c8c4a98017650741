"""`servegen watch`: what an alias means is what is deployed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from servegen.cli.console import Console, Events
from servegen.cli.options import (
    ATTEST,
    CONTEXT,
    EVENTS,
    NAMESPACE,
    REGISTRY,
    TIMEOUT,
    VERBOSE,
    VERIFY,
    console,
    job_of,
    options,
)

if TYPE_CHECKING:
    from servegen.job import Job
    from servegen.progress import Progress
    from servegen.targets import Target
    from servegen.watch.polling import Watched
    from servegen.watch.watching import Ended, Watcher

INTERVAL, SLOW_INTERVAL = 60, 600
"""Seconds between two polls, without and with webhooks."""


@click.command("watch", short_help="Deploy whatever an alias means, whenever it moves.")
@click.argument("folder", metavar="[FOLDER|servegen.yaml]", required=False, type=click.Path(path_type=Path))
@click.option("--once", is_flag=True, help="Look once, deploy what moved, and end.")
@click.option(
    "--interval",
    type=click.FloatRange(min=1),
    help=f"Seconds between two looks; default {INTERVAL}, with --listen {SLOW_INTERVAL}.",
)
@click.option(
    "--listen", metavar="HOST:PORT", help="Take MLflow's webhooks there, signed with SERVEGEN_WEBHOOK_SECRET."
)
@click.option("--target", "target_name", help="Where to; default: git where `git.repo` is set, else k8s.")
@click.option(
    "--env", "environments", multiple=True, metavar="NAME", help="Only this environment; default: all."
)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=8, show_default=True, help="Models dealt with at a time."
)
@click.option("--tracking-uri", help="MLflow tracking server; default MLFLOW_TRACKING_URI.")
@click.option("--registry-uri", help="MLflow model registry, where it is another server.")
@options(NAMESPACE, CONTEXT, TIMEOUT, REGISTRY, VERIFY, ATTEST, EVENTS, VERBOSE)
def command(
    folder: Path | None,
    *,
    once: bool,
    interval: float | None,
    listen: str | None,
    target_name: str | None,
    environments: tuple[str, ...],
    workers: int,
    **given: Any,
) -> None:
    """Watch the models of every servegen.yaml below FOLDER, in each of its environments.

    Where an alias, a stage or `latest` means another version than the one that is deployed, that version is
    packaged and deployed, as `servegen deploy` does. What is deployed is read from the repository or the
    cluster: a watcher keeps nothing that a restart could lose. Standard output has one line for each model
    that was dealt with.

    \b
    servegen watch models/ --interval 30
    servegen watch models/ --listen 0.0.0.0:8080
    servegen watch --once
    """
    from servegen.errors import FleetError
    from servegen.sources.aliases import meanings
    from servegen.targets import target
    from servegen.watch.deploying import Deployer
    from servegen.watch.watching import Watcher

    if once and (listen or interval):
        msg = "--once looks once: leave --listen and --interval out"
        raise click.UsageError(msg)
    as_json = bool(given.get("events"))
    progress = console(given)
    place = folder or Path()
    secret = _secret(listen)
    if target_name:
        # Else each model would fail for itself, once it moves.
        target(target_name)
    found = _Found(place, environments, given, progress)
    found.check()
    failed: list[Ended] = []

    def told(ended: Ended) -> None:
        _tell(ended, progress, as_json=as_json)
        if once and ended.error:
            failed.append(ended)

    watcher = Watcher(
        find=found,
        ask=meanings,
        act=Deployer(_places(target_name, given, progress)).act,
        told=told,
        progress=progress,
        workers=workers,
    )
    try:
        if once:
            watcher.once()
        else:
            with _listening(listen, secret, watcher, progress):
                watcher.run(interval or (SLOW_INTERVAL if listen else INTERVAL))
    finally:
        progress.close()
    names = [*(one.watched.label for one in failed), *(found.broken if once else ())]
    if names:
        what = "1 model was" if len(names) == 1 else f"{len(names)} models were"
        msg = f"{what} not deployed: {', '.join(names[:5])}"
        raise FleetError(msg, hint="what is wrong with each is told above; the others are as they should be")


def _secret(listen: str | None) -> str:
    from servegen.config import environment
    from servegen.errors import ConfigError

    found = environment().webhook_secret
    if listen and not found:
        msg = "--listen needs the secret that MLflow signs with, and SERVEGEN_WEBHOOK_SECRET is not set"
        raise ConfigError(
            msg, hint="set it to what the webhook was created with; servegen takes none unsigned"
        )
    return found or ""


@contextlib.contextmanager
def _listening(listen: str | None, secret: str, watcher: Watcher, progress: Progress) -> Iterator[None]:
    if listen is None:
        yield
        return
    from servegen.watch.listening import PATH, address, app, listening
    from servegen.watch.webhooks import Gate

    host, port = address(listen)
    served = app(Gate(secret), watcher.tell, watcher.alive, watcher.counters, progress)
    with listening(served, host, port):
        progress.step(f"listening on {listen} for POST {PATH}")
        yield


def _places(
    target_name: str | None, given: dict[str, Any], progress: Progress
) -> Callable[[Job], tuple[str, Callable[[], Target]]]:
    def place_of(job: Job) -> tuple[str, Callable[[], Target]]:
        from servegen.config import Config
        from servegen.targets import target
        from servegen.watch.deploying import target_of

        name = target_name or target_of(job)
        return name, lambda: target(name).of(given, Config(), job.environment, progress)

    return place_of


class _Found:
    """The models that are watched, read anew at each look: files may come, change and go."""

    def __init__(
        self, place: Path, environments: tuple[str, ...], given: dict[str, Any], progress: Progress
    ) -> None:
        self._place, self._environments = place, environments
        self._given, self._progress = given, progress
        self._told: set[tuple[Path, str]] = set()
        self.broken: list[str] = []
        """Files that could not be used at the last look."""

    def check(self) -> None:
        """ConfigError where there is nothing to watch; what is wrong with a single file is told later."""
        from servegen.errors import ConfigError

        if not self._files():
            msg = f"there is no servegen.yaml in or below {self._place.absolute()}"
            raise ConfigError(
                msg, hint="servegen watch FOLDER, one with servegen.yaml files; servegen init writes one"
            )

        known = {each for path in self._files() for each in self._everywhere(path)}
        if unknown := [one for one in self._environments if one not in known]:
            msg = f"no servegen.yaml has the environment {unknown[0]!r}"
            names = ", ".join(sorted(one for one in known if one))
            raise ConfigError(msg, hint=f"--env: one of {names}" if names else "leave --env out")

    def __call__(self) -> list[Watched]:
        self.broken = []
        chosen = self._environments
        places = [
            (path, each)
            for path in self._files()
            for each in self._everywhere(path)
            if not chosen or each in chosen
        ]
        return [one for path, each in places if (one := self._tried(path, each))]

    def _everywhere(self, path: Path) -> tuple[str | None, ...]:
        from servegen.config import read
        from servegen.errors import ServegenError

        try:
            return tuple(read(path).environments) or (None,)
        except (ServegenError, OSError) as exc:
            self._left_out(path, str(exc), broken=True)
            return ()

    def _tried(self, path: Path, environment: str | None) -> Watched | None:
        from servegen.errors import ServegenError

        try:
            return self._one(path, environment)
        except (ServegenError, OSError) as exc:
            self._left_out(path, f"{environment}: {exc}" if environment else str(exc), broken=True)
            return None

    def _left_out(self, path: Path, why: str, *, broken: bool) -> None:
        """Told once for each mistake, not with every look."""
        if broken:
            self.broken.append(str(path))
        if (path, why) not in self._told:
            tell = self._progress.warn if broken else self._progress.step
            tell(f"{path}: {why}; not watched")
        self._told.add((path, why))

    def _files(self) -> tuple[Path, ...]:
        from servegen.fleet import files

        return (self._place,) if self._place.is_file() else files(self._place)

    def _one(self, path: Path, environment: str | None) -> Watched | None:
        from servegen.errors import ConfigError
        from servegen.sources.uri import RegistryURI, parse
        from servegen.watch.polling import Watched

        job = job_of(path, {**self._given, "environment_name": environment}, push=True)
        uri = parse(job.config.model) if job.config.model else None
        if not isinstance(uri, RegistryURI) or uri.version:
            # A version that is fixed on purpose, as in production, is no mistake.
            place = f"{environment}: " if environment else ""
            self._left_out(path, f"{place}{job.config.model or 'no model'} never moves", broken=False)
            return None
        tracking_uri = job.tracking_uri
        if tracking_uri is None:
            msg = "no MLflow server is named"
            raise ConfigError(
                msg, hint="--tracking-uri, tracking_uri in servegen.yaml, or MLFLOW_TRACKING_URI"
            )
        if not os.access(path.parent, os.W_OK) and not (job.lock_file and job.lock_file.exists()):
            # As in a mounted ConfigMap; the cache has room for it.
            job = replace(job, lock_file=None)
        return Watched(
            name=_name(path, self._place),
            environment=environment,
            uri=uri,
            tracking_uri=tracking_uri,
            registry_uri=job.config.registry_uri or job.environment.registry_uri,
            job=job,
        )


def _name(path: Path, place: Path) -> str:
    """The file's folder as seen from `place`; its own name where it is the same."""
    from servegen.fleet import name_of

    return name_of(path, place) if place.is_dir() else path.absolute().parent.name


def _tell(ended: Ended, progress: Console | Events, *, as_json: bool) -> None:
    error = ended.error
    if error:
        progress.warn(
            f"{ended.watched.label}: version {ended.version} is not deployed: {error} ({error.hint})"
        )
    if as_json:
        click.echo(
            json.dumps(
                {
                    "name": ended.watched.name,
                    "environment": ended.watched.environment,
                    "model": ended.watched.job.config.model,
                    "wanted": ended.version,
                    "deployed": ended.pin,
                    "result": ended.result,
                    "seconds": ended.seconds,
                    "error": error
                    and {"message": str(error), "hint": error.hint, "exit_code": error.exit_code},
                }
            )
        )
    elif ended.result != "unchanged":
        click.echo(f"{ended.watched.label} {ended.pin or f'version {ended.version}'} {ended.result}")
