"""`servegen bento`: a folder for `bentoml build`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from servegen.cli.options import STORES, VERBOSE, console, job, options


@click.command("bento", short_help="Write a folder that `bentoml build` makes a Bento of.")
@click.argument("model", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("bento"),
    show_default=True,
    help="Folder.",
)
@options(STORES, VERBOSE)
def command(model: str | None, *, output: Path, **given: Any) -> None:
    """Write the BentoML Service of MODEL with everything it needs, and print the folder.

    Resources and traffic settings of the Service are those of servegen.yaml.

    \b
    bentoml build "$(servegen bento models:/iris@champion -o bento)"
    bentoml serve iris:latest
    """
    from servegen.bentofolder import write_bento
    from servegen.pipeline import resolve_model

    progress = console(given)
    work = job(model, given)
    work = replace(work, config=replace(work.config, runtime="bentoml"))
    found = resolve_model(work, progress)
    write_bento(work, found, output)
    progress.close()
    click.echo(output)
