"""What `servegen render --format watcher` does: objects that run `servegen watch` in a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

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

    if given["watcher_ingress"] and not given["network_policy"]:
        msg = "--watcher-ingress names callers, but no NetworkPolicy is written: add --network-policy"
        raise click.UsageError(msg)
    place = Path(subject or given["config_file"] or "")
    found = (place,) if place.is_file() else files(place)
    if not found:
        msg = f"there is no servegen.yaml in or below {place.absolute()}"
        raise ConfigError(msg, hint="servegen render FOLDER --format watcher")
    # Also what tells which of them cannot be read.
    deploys_to = [one for path in found for one in _clusters(path)]
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
    )
    if output is None:
        click.echo(stream(watcher), nl=False)
        return
    check(output)
    for change in write(render(watcher), output):
        progress.step(f"{output / change.name} {change.action}")
    progress.close()
    click.echo(output)


def _clusters(path: Path) -> list[str | None]:
    """Namespaces that the models of a file are applied in; None is the watcher's own."""
    from servegen.config import read

    places = [read(path, one) for one in tuple(read(path).environments) or (None,)]
    return [one.deploy.namespace for one in places if one.git.repo is None]
