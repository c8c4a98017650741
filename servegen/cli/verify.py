"""`servegen verify`: run a packaged image and compare its answers with the model's."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from servegen.cli.options import REGISTRY, STORES, VERBOSE, VERIFY, console, job, options


@click.command("verify", short_help="Run a packaged image and check its answers.")
@click.argument("image")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@options(REGISTRY, VERIFY, STORES, VERBOSE)
def command(image: str, *, as_json: bool, **given: Any) -> None:
    """Run IMAGE, replay the model's example and compare with the model's own answer.

    \b
    servegen verify ghcr.io/me/iris:3
    """
    from servegen.images import verify_image

    progress = console(given)
    try:
        result = verify_image(image, job(None, given), progress)
    finally:
        progress.close()
    if as_json:
        click.echo(json.dumps(asdict(result)))
        return
    answer = "answers as the model does in process" if result.replayed else "starts; no example to compare"
    click.echo(
        f"{image} {answer}: ready in {result.load_seconds:.1f} s, "
        f"{result.peak_memory_bytes / 2**20:.0f} MiB, p50 {result.p50_seconds * 1000:.1f} ms"
    )
