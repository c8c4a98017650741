"""`servegen run`: a packaged image on this machine, with or without a container engine."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

import click

from servegen.cli.options import PORT, REGISTRY, STORES, VERBOSE, check_port, console, job, options


@click.command("run", short_help="Run a packaged image here, without Docker.")
@click.argument("image")
@click.option("--run-with", help="namespace, chroot, docker or podman; default: the first that works.")
@options(PORT, REGISTRY, STORES, VERBOSE)
def command(image: str, *, port: int, run_with: str | None, **given: Any) -> None:
    """Run the packaged IMAGE on http://127.0.0.1:PORT until Ctrl-C: its files, its user, read-only.

    \b
    servegen run $(servegen package models:/iris@champion)
    """
    from servegen.images import running

    progress = console(given)
    work = job(None, given)
    check_port("127.0.0.1", port)
    with running(image, port, run_with, work, progress) as (argv, env):
        progress.program(argv)
        progress.step(f"serving {image} on http://127.0.0.1:{port}")
        progress.close()
        server = subprocess.Popen(argv, env=env)
        try:
            # Ctrl-C reaches the server too, which drains; this process only waits and cleans up after it.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, lambda *_: server.terminate())
            status = server.wait()
        finally:
            # A signal that came before these two lines ends us, and the server's files go with us.
            if server.poll() is None:
                server.kill()
                server.wait()
    raise click.exceptions.Exit(status if status >= 0 else 128 - status)
