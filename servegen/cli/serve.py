"""`servegen serve`: the image's server from the current environment."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from servegen.cli.options import PORT, STORES, VERBOSE, check_port, console, job, options


@click.command("serve", short_help="Serve a model from the current environment, without an image.")
@click.argument("model", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--name", help="Name of the model in the V2 protocol; default: its registered name.")
@click.option("--runtime", help="bentoml (default) or uvicorn.")
@options(PORT, STORES, VERBOSE)
def command(model: str | None, *, port: int, host: str, name: str | None, **given: Any) -> None:
    """Serve MODEL here, with the server that its image would have.

    \b
    servegen serve models:/iris@champion --port 8080
    curl localhost:8080/invocations --json '{"inputs": [[5.1, 3.5, 1.4, 0.2]]}'
    """
    from dataclasses import replace

    from servegen.job import runtime
    from servegen.pipeline import resolve_model
    from servegen.planning.serving import variables

    progress = console(given)
    work = job(model, given)
    check_port(host, port)
    # What is only tried here needs no signature.
    work = replace(work, config=replace(work.config, allow_no_signature=True))
    found = resolve_model(work, progress)
    progress.close()
    env = {
        **dict(variables(work.config.serving)),
        **work.environment.variables,
        "SERVEGEN_MODEL": str(found.path),
        "SERVEGEN_MODEL_NAME": name or found.pin.name,
        "SERVEGEN_RUNTIME": runtime(work.config),
        "SERVEGEN_HOST": host,
        "SERVEGEN_PORT": str(port),
        "SERVEGEN_DRAIN_DELAY": "0",
    }
    if found.pin.version:
        env["SERVEGEN_MODEL_VERSION"] = found.pin.version
    progress.step(f"serving {found.pin.resolved} on http://{host}:{port}")
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, "-m", "servegen.server"], env)  # noqa: S606 (no shell is wanted)
