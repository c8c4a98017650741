"""Who built an image, as far as the documents about it say."""

from __future__ import annotations

from dataclasses import dataclass

LOCAL = "https://servegen.dev/builders/local"
"""A machine that is no known CI service: nothing of it is told."""


@dataclass(frozen=True, kw_only=True)
class BuildRun:
    """The service that ran the build (SLSA's `builder.id`), and its run."""

    builder: str = LOCAL
    invocation: str | None = None
    """Address of the run at that service."""
