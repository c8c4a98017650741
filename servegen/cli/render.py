"""`servegen render`: the Kubernetes objects of a model as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from servegen.cli.options import (
    DEPLOY,
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


@click.command("render", short_help="Write the Kubernetes objects of a model or image.")
@click.argument("subject", metavar="MODEL|IMAGE", required=False)
@click.option("--format", "format_name", default="manifests", show_default=True, help="manifests or helm.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder to write to; default: stdout.")
@options(DEPLOY, IMAGE, REGISTRY, VERIFY, STORES, VERBOSE)
def command(subject: str | None, *, format_name: str, output: Path | None, **given: Any) -> None:
    """Write the objects that deploy MODEL or IMAGE, as files below a folder or as one YAML stream.

    A model is packaged first when it is not yet; nothing is pushed.

    \b
    servegen render models:/iris@champion --namespace ml | kubectl apply -f -
    servegen render ghcr.io/me/iris:3 --format helm -o chart/
    """
    from servegen.pipeline import image_of, rehearse, render
    from servegen.targets.directory import check, write

    progress = console(given)
    model = subject if subject and is_model(subject) else None
    work = job(model, given)
    try:
        # What cannot be written is known before minutes of packaging.
        rehearsal = rehearse(work.config.deploy, format_name)
        if output is None:
            rehearsal.stream()
        else:
            rehearsal.bundle()
            check(output)
        image = image_of(None if model else subject, work, progress)
        rendered = render(image, work.config.deploy, format_name)
        if output is None:
            click.echo(rendered.stream(), nl=False)
            return
        changes = write(rendered.bundle(), output)
    finally:
        progress.close()
    for change in changes:
        progress.step(f"{output / change.name} {change.action}")
    click.echo(output)
