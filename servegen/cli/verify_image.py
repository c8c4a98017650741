"""`servegen verify-image`: check the signature of an image and every blob of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from servegen.cli.options import REGISTRY, VERBOSE, console, job, options


@click.command("verify-image", short_help="Check the signature, the documents and every blob of an image.")
@click.argument("image")
@click.option(
    "--key", required=True, type=click.Path(path_type=Path), help="Public key (PEM), such as cosign.pub."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@options(REGISTRY, VERBOSE)
def command(image: str, *, key: Path, as_json: bool, **given: Any) -> None:
    """Check that IMAGE in its registry is, byte for byte, what the owner of KEY signed. Nothing is run.

    \b
    servegen verify-image ghcr.io/me/iris:3 --key cosign.pub
    """
    from servegen.supplychain import check_image

    progress = console(given)
    try:
        found = check_image(image, key, job(None, given), progress)
    finally:
        progress.close()
    if as_json:
        click.echo(json.dumps(asdict(found)))
        return
    attached = " and ".join(found.documents) or "no SBOM and no provenance"
    click.echo(
        f"{found.image} is signed with this key; {found.blobs} blobs ({found.bytes / 1e6:.1f} MB) "
        f"are what it names; attached: {attached}"
    )
