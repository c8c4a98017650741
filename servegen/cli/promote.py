"""`servegen promote`: what was tried beside a deployment becomes the deployment."""

from __future__ import annotations

from typing import Any

import click

from servegen.cli import beside
from servegen.cli.options import CLUSTER, TIMEOUT, VERBOSE, cluster_options, console, job, options


@click.command("promote", short_help="Let a canary take the place of what it ran beside.")
@click.argument("name", required=False)
@click.option("--canary", is_flag=True, help="The canary of NAME.")
@click.option("--blue-green", is_flag=True, help="A --blue-green that was not finished.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
@options(CLUSTER, TIMEOUT, VERBOSE)
def command(name: str | None, *, as_json: bool, **given: Any) -> None:
    """Give the canary's image and settings to deployment NAME, and all requests; then delete the canary.

    NAME is by default what servegen.yaml deploys. `servegen rollback NAME` goes back afterwards.

    \b
    servegen promote --canary iris -n models
    """
    from servegen.deployed import instance
    from servegen.progressive import promote

    track = beside.track(given)
    progress = console(given)
    work = job(None, given)
    try:
        cluster = cluster_options(work, given)
        made = promote(instance(name, work, progress), track, cluster, progress)
    finally:
        progress.close()
    beside.show(made, as_json=as_json)
