"""The one place where outside programs are started."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from servegen.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Completed:
    """Exit status and captured text of a program that ended."""

    status: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str],
    *,
    progress: Progress,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: str | None = None,
) -> Completed:
    """Run `argv` to its end without a shell; raises FileNotFoundError when the program is absent."""
    progress.program(argv)
    done = subprocess.run(
        list(argv),
        env=dict(env),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return Completed(status=done.returncode, stdout=done.stdout, stderr=done.stderr)
