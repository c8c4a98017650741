"""`servegen lock`: resolve the requirements of a model and write servegen.lock."""

from __future__ import annotations

from typing import Any

import click

from servegen.cli.options import IMAGE, REGISTRY, STORES, VERBOSE, console, job, options


@click.command("lock", short_help="Resolve a model's requirements to exact wheels.")
@click.argument("model", required=False)
@options(IMAGE, REGISTRY, STORES, VERBOSE)
def command(model: str | None, **given: Any) -> None:
    """Write servegen.lock for MODEL: pin, base and every wheel with its hash; prints the file's path.

    \b
    servegen lock models:/iris@champion
    servegen lock --update-lock
    """
    from servegen.conversion import accelerated
    from servegen.job import lock_path, registry
    from servegen.locking import lock_all
    from servegen.pipeline import resolve_model

    progress = console(given)
    work = job(model, given)
    try:
        work, found = accelerated(work, resolve_model(work, progress), progress)
        with registry(work, progress) as remote:
            lock_all(work, found, remote, progress)
    finally:
        progress.close()
    click.echo(lock_path(work, found))
