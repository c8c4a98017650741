"""`servegen rebase`: the same image on the current base."""

from __future__ import annotations

from typing import Any

import click

from servegen.cli.options import ATTEST, BASE, EVENTS, FILE, REGISTRY, VERBOSE, VERIFY, console, job, options


@click.command("rebase", short_help="Put a packaged image on the current base.")
@click.argument("image", metavar="IMAGE")
@click.option("--tag", help="Name of the new image; default: that of IMAGE.")
@click.option("--platform", help="Of an image in a registry that is no index; default linux/amd64.")
@click.option("--push", is_flag=True, help="Push it.")
@options(BASE, REGISTRY, VERIFY, ATTEST, FILE, EVENTS, VERBOSE)
def command(image: str, *, tag: str | None, push: bool, **given: Any) -> None:
    """Swap the base of a packaged IMAGE for the newest one; prints the new reference with digest.

    Wheels, server and model stay as they are: no requirement is resolved and no wheel is downloaded. The base
    must have the same Python and no older glibc. Without --base it is the one that IMAGE was packaged on.

    \b
    servegen rebase ghcr.io/me/iris:3 --push
    servegen rebase ghcr.io/me/iris:3 --base python:3.11-slim-trixie --tag ghcr.io/me/iris:3-trixie --push
    """
    if given.get("sign_key") and not push:
        msg = "--sign-key signs what is pushed: add --push"
        raise click.UsageError(msg)
    from servegen.rebase import rebase

    progress = console(given)
    base = given.pop("base")
    try:
        done = rebase(image, base, tag, job(None, given, push=push), progress)
    finally:
        progress.close()
    click.echo(done.image.ref.pinned)
