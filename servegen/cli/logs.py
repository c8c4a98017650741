"""`servegen logs`: what the pods of a deployment write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from servegen.cli.console import until_stopped
from servegen.cli.options import CONTEXT, FILE, NAMESPACE, VERBOSE, cluster_options, console, job, options

_COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green", "bright_yellow")


@click.command("logs", short_help="Show the logs of all pods of a deployment.")
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on as they are written, also for pods that come.")
@click.option("-p", "--previous", is_flag=True, help="Logs of the runs before a restart.")
@click.option(
    "--tail", type=click.IntRange(min=0), default=100, show_default=True, help="Last lines of each pod."
)
@click.option("--container", default="server", show_default=True, help="Container of the pods.")
# -f is --follow here, as everywhere where logs are shown.
@click.option("--file", "config_file", type=click.Path(path_type=Path), help="Instead of ./servegen.yaml.")
@options(FILE[1:], NAMESPACE, CONTEXT, VERBOSE)
def command(
    name: str | None, *, follow: bool, previous: bool, tail: int, container: str, **given: Any
) -> None:
    """Print the logs of all pods of deployment NAME, each line with its pod; default: that of servegen.yaml.

    \b
    servegen logs iris --namespace ml --follow
    servegen logs iris --previous
    """
    from servegen.deployed import instance
    from servegen.kube import logs
    from servegen.kube.client import Cluster

    if follow and previous:
        msg = "--previous shows runs that have ended, --follow those that go on"
        raise click.UsageError(msg)
    progress = console(given)
    work = job(None, given)
    found = instance(name, work, progress)
    wanted = logs.Wanted(instance=found, container=container, lines=tail, previous=previous)
    cluster = Cluster.connect(cluster_options(work, given))
    lines = logs.follow(cluster, wanted) if follow else logs.read(cluster, wanted)
    colours: dict[str, str] = {}
    with until_stopped(f"no longer following the logs of {found}"):
        for line in lines:
            colour = colours.setdefault(line.pod, _COLOURS[len(colours) % len(_COLOURS)])
            click.echo(f"{click.style(line.pod, fg=colour)} {line.text}")
