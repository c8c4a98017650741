"""Environment variables of the server's container."""

from __future__ import annotations

from servegen.errors import RenderError
from servegen.kube import quantity
from servegen.kube.additions import MODEL_PATH
from servegen.values.deployment import EnvVar, Resources, Settings, Timing

_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
# The root is read-only; everything that libraries like to write goes below /tmp. PROMETHEUS_MULTIPROC_DIR is
# not here: with it prometheus-client fails unless the folder exists, and /tmp starts empty. BentoML sets it.
_WRITABLE = (
    ("HOME", "/tmp"),  # noqa: S108 (paths in the container)
    ("XDG_CACHE_HOME", "/tmp/cache"),  # noqa: S108
    ("MPLCONFIGDIR", "/tmp/mpl"),  # noqa: S108
    ("NUMBA_CACHE_DIR", "/tmp/numba"),  # noqa: S108
    ("HF_HOME", "/tmp/huggingface"),  # noqa: S108
    ("TRITON_CACHE_DIR", "/tmp/triton"),  # noqa: S108
    ("BENTOML_HOME", "/tmp/bentoml"),  # noqa: S108
    ("PYTHONDONTWRITEBYTECODE", "1"),
)
_SETTINGS = {
    "SERVEGEN_QUEUE_SIZE": "queue_size",
    "SERVEGEN_REQUEST_TIMEOUT": "request_timeout_seconds",
    "SERVEGEN_DRAIN_DELAY": "drain_delay_seconds",
    "SERVEGEN_DRAIN_TIMEOUT": "request_timeout_seconds",
    "SERVEGEN_MODEL": "model_volume",
    "SERVEGEN_MODEL_NAME": "name",
}
"""Variables that follow from a setting, and the setting that changes them."""


def environment(
    *, model_name: str, resources: Resources, timing: Timing, settings: Settings
) -> tuple[EnvVar, ...]:
    """Ours in a fixed order, then the user's in theirs; a user's value replaces ours where it may."""
    for name in (*settings.env, *settings.secret_env, *settings.field_env):
        if setting := _SETTINGS.get(name):
            msg = f"variable {name} follows from another setting"
            raise RenderError(msg, hint=f"set deploy.{setting} instead of deploy.env.{name}")
    # Otherwise numerical libraries start one thread per core of the node.
    threads = str(max(1, int(quantity.value(resources.cpu))))
    ours = dict.fromkeys(_THREADS, threads) | dict(_WRITABLE)
    server = {
        "SERVEGEN_QUEUE_SIZE": str(settings.queue_size),
        "SERVEGEN_REQUEST_TIMEOUT": str(timing.request_timeout),
        "SERVEGEN_DRAIN_DELAY": str(timing.drain_delay),
        "SERVEGEN_DRAIN_TIMEOUT": str(timing.drain_timeout),
        # Kubernetes would put another variable's value in place of `$(NAME)`.
        "SERVEGEN_MODEL_NAME": model_name.replace("$(", "$$("),
    }
    if settings.model_volume:
        server["SERVEGEN_MODEL"] = MODEL_PATH
    literals = {**ours, **server, **settings.env}
    for name in (*settings.secret_env, *settings.field_env):
        literals.pop(name, None)
    return (
        *(EnvVar(name=name, value=value) for name, value in literals.items()),
        *(_from_secret(name, place) for name, place in settings.secret_env.items()),
        *(EnvVar(name=name, field=path) for name, path in settings.field_env.items()),
    )


def _from_secret(name: str, place: str) -> EnvVar:
    secret, _, key = place.partition("/")
    return EnvVar(name=name, secret=secret, key=key)
