"""`servegen delete`: a deployment and all that belongs to it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import click

from servegen.cli.options import CLUSTER, VERBOSE, cluster_options, console, job, options


@click.command("delete", short_help="Delete a deployment's objects.")
@click.argument("name", required=False)
@click.option("-y", "--yes", is_flag=True, help="Do not ask; needed where nobody can be asked.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
@options(CLUSTER, VERBOSE)
def command(name: str | None, *, yes: bool, as_json: bool, **given: Any) -> None:
    """Delete every object of deployment NAME that servegen applied, in the reverse order of a deploy.

    Secrets and volumes stay, and so does what another tool manages. NAME is by default what
    servegen.yaml deploys.

    \b
    servegen delete iris -n models
    servegen delete --yes
    """
    from servegen.deployed import Removal, instance
    from servegen.errors import ConfigError

    progress = console(given)
    work = job(None, given)
    try:
        name = instance(name, work, progress)
        removal = Removal.of(name, cluster_options(work, given))
        if not yes:
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                msg = f"nobody can be asked whether to delete {name} from {removal.namespace}"
                raise ConfigError(msg, hint="--yes deletes it without asking")
            for one in removal.names:
                progress.step(one)
            question = f"Delete these from {removal.namespace} (context {removal.context})?"
            if not click.confirm(question, err=True):
                progress.step("nothing was deleted")
                raise click.exceptions.Exit(1)
        changes = removal.carry_out(progress)
    finally:
        progress.close()
    if as_json:
        click.echo(json.dumps([asdict(change) for change in changes]))
        return
    click.echo(f"{name} deleted from {removal.namespace}")
