"""`servegen rollback`: an earlier release of a deployment again."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from servegen.cli import beside
from servegen.cli.options import CLUSTER, TIMEOUT, VERBOSE, cluster_options, console, job, options


@click.command("rollback", short_help="Bring an earlier release of a deployment back.")
@click.argument("name", required=False)
@click.option(
    "--to",
    "number",
    type=click.IntRange(min=1),
    help="Number of the release; default: the newest that differs.",
)
@click.option("--list", "list_only", is_flag=True, help="Show the releases there are, and change nothing.")
@click.option("--force-conflicts", is_flag=True, help="Take fields that other managers own.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
@click.option("--canary", is_flag=True, help="Take the canary of NAME away instead.")
@click.option("--blue-green", is_flag=True, help="Take back a --blue-green that was not finished instead.")
@options(CLUSTER, TIMEOUT, VERBOSE)
def command(name: str | None, *, number: int | None, list_only: bool, as_json: bool, **given: Any) -> None:
    """Apply an earlier release of deployment NAME again, all of its objects, and wait for the pods.

    Without --to, the newest release that differs from what runs: after a deploy that failed the one before
    it, after one that succeeded the previous one. NAME is by default what servegen.yaml deploys.

    \b
    servegen rollback iris -n models
    servegen rollback iris -n models --list
    servegen rollback iris -n models --to 3
    servegen rollback iris -n models --canary
    """
    from servegen.deployed import instance, releases, rollback
    from servegen.progressive import abort

    progress = console(given)
    work = job(None, given)
    try:
        cluster = cluster_options(work, given)
        name = instance(name, work, progress)
        if given["canary"] or given["blue_green"]:
            track = beside.track(given)
            beside.show(abort(name, track, cluster, progress), as_json=as_json)
            return
        if list_only:
            _show(releases(name, cluster), as_json=as_json)
            return
        delivery = rollback(name, number, cluster, progress)
    finally:
        progress.close()
    if as_json:
        click.echo(json.dumps(asdict(delivery)))
        return
    click.echo(f"{name} {delivery.ready}/{delivery.replicas} ready in {delivery.namespace}")


def _show(found: Any, *, as_json: bool) -> None:
    rows = [
        {"release": one.number, "time": one.time, "version": one.version, "image": one.image} for one in found
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(f"{row['release']:>4}  {row['time']}  version {row['version']}  {row['image']}")
