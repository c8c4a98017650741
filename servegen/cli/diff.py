"""`servegen diff`: what a deploy would change."""

from __future__ import annotations

import sys
from typing import Any

import click

from servegen.cli.options import (
    CONTEXT,
    DEPLOY,
    GIT,
    IMAGE,
    REGISTRY,
    STORES,
    VERBOSE,
    VERIFY,
    console,
    is_model,
    job,
    options,
)

_COLORS = {
    "+++": {"bold": True},
    "---": {"bold": True},
    "@@": {"fg": "cyan"},
    "+": {"fg": "green"},
    "-": {"fg": "red"},
}


@click.command("diff", short_help="Show what a deploy would change in the cluster or repository.")
@click.argument("subject", metavar="MODEL|IMAGE", required=False)
@click.option("--target", "target_name", default="k8s", show_default=True, help="Where to: k8s or git.")
@click.option("--force-conflicts", is_flag=True, help="As if deploy took fields that other managers own.")
@click.option("--adopt", is_flag=True, help="As if deploy took over what another tool made.")
@options(GIT, CONTEXT, DEPLOY, IMAGE, REGISTRY, VERIFY, STORES, VERBOSE)
def command(subject: str | None, *, target_name: str, **given: Any) -> None:
    """Show what `servegen deploy MODEL|IMAGE` would change, as the API server sees it; nothing is written.

    Exit code 0 when nothing would change, 1 when something would. A model is packaged first when it is not
    yet; nothing is pushed. In colour on a terminal.

    \b
    servegen diff
    servegen diff ghcr.io/me/iris:4 -n models
    """
    from servegen.pipeline import difference
    from servegen.targets import target

    progress = console(given)
    model = subject if subject and is_model(subject) else None
    work = job(model, given)
    try:
        place = target(target_name).of(given, work.config, work.environment, progress)
        try:
            text = difference(None if model else subject, place, work, progress)
        finally:
            place.close()
    finally:
        progress.close()
    for line in text.splitlines():
        click.echo(_colored(line) if sys.stdout.isatty() else line)
    raise click.exceptions.Exit(1 if text else 0)


def _colored(line: str) -> str:
    styles: list[Any] = [style for start, style in _COLORS.items() if line.startswith(start)]
    return click.style(line, **styles[0]) if styles else line
