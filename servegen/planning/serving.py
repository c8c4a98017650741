"""`serving` of servegen.yaml → environment variables of the server. Pure."""

from __future__ import annotations

from servegen.errors import ConfigError
from servegen.values.image import PORT
from servegen.values.serving import ServingSettings

_COMPAT = ("kserve", "mlserver", "bentoml")
_NUMBERS: dict[str, tuple[float, float]] = {
    "max_body_bytes": (1, 2**40),
    "batch_max_rows": (1, 1_000_000),
    "batch_max_wait_ms": (0, 60_000),
    "processes": (1, 256),
    "threads": (1, 1024),
    # Lower ones are not for a server that is not root.
    "grpc_port": (1024, 65_535),
}
"""Settings with the lowest and highest value that makes sense."""


def variables(settings: ServingSettings) -> tuple[tuple[str, str], ...]:
    """What `settings` change of the server's defaults; raises ConfigError for a value it would not take."""
    found: dict[str, str] = {}
    for name, (low, high) in _NUMBERS.items():
        number = getattr(settings, name)
        if number is None:
            continue
        if not low <= number <= high:
            msg = f"serving.{name} is {number}"
            raise ConfigError(msg, hint=f"use a number from {low} to {high}")
        found[f"SERVEGEN_{name.upper()}"] = str(number)
    if settings.grpc_port == PORT:
        msg = f"serving.grpc_port is {PORT}, where the server speaks HTTP"
        raise ConfigError(msg, hint="use another port, such as 9000")
    for name in ("lenient", "debug_errors"):
        if getattr(settings, name):
            found[f"SERVEGEN_{name.upper()}"] = "true"
    if not settings.warmup:
        found["SERVEGEN_WARMUP"] = "skip"
    if settings.metrics_compat is not None:
        unknown = [name for name in settings.metrics_compat if name not in _COMPAT]
        if unknown:
            msg = f"serving.metrics_compat names {unknown[0]!r}"
            raise ConfigError(msg, hint=f"known: {', '.join(_COMPAT)}")
        found["SERVEGEN_METRICS_COMPAT"] = ",".join(settings.metrics_compat) or "none"
    return tuple(found.items())
