"""What a model URI was resolved to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Pin:
    """A model URI resolved once; an alias never goes further than this."""

    uri: str
    """As the user gave it, without credentials."""
    resolved: str
    """`models:/name/3`, `models:/m-…`, `runs:/id/path` or a location; never an alias."""
    name: str
    """Registered name, or the last part of the location."""
    version: str | None
    """Registry version, None outside a registry."""
    run_id: str | None
    model_id: str | None
    digest: str
    """`sha256:` of the sorted lines `<sha256>  <path>` of every file of the artifact tree."""


@dataclass(frozen=True, kw_only=True)
class TreeFile:
    """One file of the artifact tree."""

    path: str
    """Relative, with `/`."""
    size: int
    sha256: str
    executable: bool = False


@dataclass(frozen=True, kw_only=True)
class Flavor:
    """One way MLflow can load the model, such as `python_function` or `sklearn`."""

    name: str
    version: str | None
    """Version of the flavor's library at training time."""


@dataclass(frozen=True, kw_only=True)
class ModelIndexes:
    """Where the model's own requirement files say that distributions are."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    """URLs, and folders relative to the model's."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A pinned model on this machine, with everything that later stages need to know of it."""

    pin: Pin
    path: Path
    files: tuple[TreeFile, ...]
    flavors: tuple[Flavor, ...]
    signature: str | None
    """The `signature` block of MLmodel as compact JSON; inputs, outputs and params are JSON texts in it."""
    serving_example: str | None
    """Content of serving_input_example.json: a body for `/invocations`."""
    python: str
    """Python version the model was logged with, such as `3.11.7`."""
    mlflow: str | None
    """MLflow version the model was logged with."""
    requirements: tuple[str, ...]
    """Requirement lines as logged, without comments and options; a wheel of the model is
    `name @ path#sha256=…`, the path relative to the model's folder."""
    constraints: tuple[str, ...] = ()
    """Lines of the constraint files that the requirements name."""
    indexes: ModelIndexes = field(default_factory=ModelIndexes)
    conda: tuple[str, ...] = ()
    """What conda.yaml wants from conda itself, as it stands there; without Python and its installers."""
    uv_lock: bool = False
    """Whether uv.lock and pyproject.toml were logged, which then decide the versions."""
    accelerated: str | None = None
    """What the proof showed, as compact JSON, where the files are those of the converted model."""

    @property
    def python_minor(self) -> str:
        """Major and minor version, such as `3.11`."""
        return ".".join(self.python.split(".")[:2])
