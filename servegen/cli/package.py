"""`servegen package`: a model URI becomes a tested image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from servegen.cli.options import (
    ATTEST,
    CACHE,
    EVENTS,
    IMAGE,
    REGISTRY,
    STORES,
    VERBOSE,
    VERIFY,
    console,
    job,
    options,
)


@click.command("package", short_help="Build and test the image of a model.")
@click.argument("model", required=False)
@click.option("--push", is_flag=True, help="Push the image to the registry of its name.")
@click.option("-o", "--output", help="Also write it: oci:FOLDER, or FILE.tar for `docker load`.")
@click.option("--load", is_flag=True, help="Also hand it to the local docker or podman.")
@click.option(
    "--dockerfile-only",
    "context",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write a Dockerfile with all it needs into DIR, and build nothing.",
)
@options(IMAGE, REGISTRY, CACHE, VERIFY, ATTEST, STORES, EVENTS, VERBOSE)
def command(
    model: str | None, *, push: bool, output: str | None, load: bool, context: Path | None, **given: Any
) -> None:
    """Lock, build and verify the image of MODEL; prints its reference with digest.

    MODEL is a model URI as MLflow takes it; it may be left out where servegen.yaml names one.

    \b
    servegen package models:/iris@champion
    servegen package models:/iris/3 --tag ghcr.io/me/iris:3 --push
    servegen package ./saved-model --output image.tar && docker load -i image.tar
    servegen package models:/iris/3 --dockerfile-only context && docker build context
    """
    if context and (push or output or load):
        msg = "--dockerfile-only builds no image, so there is none to push, write or load"
        raise click.UsageError(msg)
    from servegen.contextfolder import write_context_folder
    from servegen.outputs import check_output, load_into_engine, write_output
    from servegen.pipeline import package

    if given.get("sign_key") and not push:
        msg = "--sign-key signs what is pushed: add --push"
        raise click.UsageError(msg)
    progress = console(given)
    work = job(model, given | {"output": output, "load": load}, push=push)
    try:
        if context:
            write_context_folder(work, context, progress)
            click.echo(context)
            return
        if output:
            check_output(output)
        done = package(work, progress)
        if output:
            write_output(done.stored, output, Path.cwd(), progress)
        if load:
            load_into_engine(done.stored, work.environment.variables, progress)
    finally:
        progress.close()
    click.echo(done.stored.image.ref.pinned)
