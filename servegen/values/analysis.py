"""What a canary is judged by."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Requests to the model as one server has counted them since its start."""

    requests: int = 0
    errors: int = 0
    """Those answered with 4xx or 5xx."""
    buckets: tuple[tuple[float, int], ...] = field(default=())
    """Upper bounds in seconds and how many requests took at most that long, ascending."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How a canary may differ from the stable instance."""

    error_rate: float = 0.01
    """Share of answers with 4xx or 5xx above the stable's own."""
    slowdown: float = 1.5
    """Its 95th percentile of latency over the stable's."""
    requests: int = 50
    """Requests to the canary without which nothing is decided."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a comparison says."""

    good: bool | None
    """None: too few requests to tell."""
    reason: str
    """In one line."""
