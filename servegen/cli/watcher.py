"""What `servegen render --format watcher` does: objects that run `servegen watch` in a cluster."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from servegen.cli.options import console

OPTIONS: list[Any] = [
    click.option("--watcher-image", metavar="REF", help="Of --format watcher: an image of servegen itself."),
    click.option(
        "--watcher-schedule",
        metavar="CRON",
        help="Of --format watcher: a CronJob, instead of a Deployment that takes webhooks.",
    ),
    click.option(
        "--watcher-ingress",
        multiple=True,
        metavar="NAMESPACE|CIDR",
        help="Of --format watcher with --network-policy: where webhooks come from.",
    ),
]
_OF_THEM = ("watcher_image", "watcher_schedule", "watcher_ingress")
_TAKEN = (
    *_OF_THEM,
    *("subject", "format_name", "output", "config_file", "environment_name"),
    *("name", "namespace", "network_policy", "kube_version", "verbose", "quiet", "events"),
)


def refuse(given: dict[str, Any]) -> None:
    """UsageError where options of the watcher are given for another format."""
    for name in _OF_THEM:
        if given.pop(name):
            msg = f"--{name.replace('_', '-')} is about a watcher: add --format watcher"
            raise click.UsageError(msg)


def render(subject: str | None, output: Path | None, given: dict[str, Any]) -> None:
    """Write the objects of a watcher for the servegen.yaml files in and below `subject`, or here."""
    from servegen.errors import ConfigError
    from servegen.fleet import files
    from servegen.planning.watcher import plan
    from servegen.renderers.watcher import render, stream
    from servegen.targets.directory import check, write

    _refuse_others()
    if given["watcher_ingress"] and not given["network_policy"]:
        msg = "--watcher-ingress names callers, but no NetworkPolicy is written: add --network-policy"
        raise click.UsageError(msg)
    place = Path(subject or given["config_file"] or "")
    found = (place,) if place.is_file() else files(place)
    if not found:
        msg = f"there is no servegen.yaml in or below {place.absolute()}"
        raise ConfigError(msg, hint="servegen render FOLDER --format watcher")
    # Also what tells which of them cannot be read.
    environment = given["environment_name"]
    deploys_to = _clusters(found, environment)
    progress = console(given)
    top = place.parent if place.is_file() else place
    watcher = plan(
        {str(path.parent.relative_to(top)): path.read_text(encoding="utf-8") for path in found},
        image=given["watcher_image"],
        name=given["name"],
        namespace=given["namespace"],
        deploys_to=deploys_to,
        schedule=given["watcher_schedule"],
        ingress=given["watcher_ingress"] if given["network_policy"] else None,
        kube_version=given["kube_version"],
        environment=environment,
    )
    if output is None:
        click.echo(stream(watcher), nl=False)
        return
    check(output)
    for change in write(render(watcher), output):
        progress.step(f"{output / change.name} {change.action}")
    progress.close()
    click.echo(output)


def _refuse_others() -> None:
    """UsageError for options that would do nothing: a model's settings are in its servegen.yaml."""
    context = click.get_current_context()
    for one in context.command.params:
        given = context.get_parameter_source(str(one.name)) is ParameterSource.COMMANDLINE
        if given and one.name not in _TAKEN:
            msg = f"{one.opts[0]} does nothing for --format watcher: write it into servegen.yaml"
            raise click.UsageError(msg)


def _clusters(paths: Iterable[Path], environment: str | None) -> list[str | None]:
    """Namespaces that the models of the files are applied in; None is the watcher's own.

    Raises ConfigError for an environment that none of them has.
    """
    from servegen.config import read
    from servegen.errors import ConfigError

    places: list[tuple[Path, str | None]] = []
    for path in paths:
        try:
            known = tuple(read(path).environments) or (None,)
        except ConfigError as exc:
            msg = str(exc) if str(path) in str(exc) else f"in {path.parent}: {exc}"
            raise ConfigError(msg, hint=exc.hint) from exc
        places += [(path, one) for one in known if environment in (None, one)]
    if not places:
        msg = f"no servegen.yaml has the environment {environment!r}"
        raise ConfigError(msg, hint="leave --env out, or name one of `environments`")
    found = [read(path, one) for path, one in places]
    return [one.deploy.namespace for one in found if one.git.repo is None]
