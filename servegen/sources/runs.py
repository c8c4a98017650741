"""What MLflow knows of registered versions: metrics, parameters and tags of their runs, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from servegen.sources.registry import asking, logged_model_id, present

_INTERNAL = "mlflow."
"""Prefix of tags that MLflow writes for itself."""


@dataclass(frozen=True, kw_only=True)
class VersionFacts:
    """One version of a registered model, with what was measured of it."""

    name: str
    version: str
    run_id: str | None = None
    created: float | None = None
    """Seconds since 1970."""
    description: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The last value of each; one about a named dataset is called `METRIC (DATASET)`."""
    params: Mapping[str, str] = field(default_factory=dict)
    run_tags: Mapping[str, str] = field(default_factory=dict)
    """Without those of MLflow itself."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Of the version."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """One metric or parameter of two versions; None where a version lacks it."""

    name: str
    before: float | str | None
    after: float | str | None

    @property
    def changed(self) -> bool:
        """Whether the versions differ in it."""
        return self.before != self.after


def version_facts(
    name: str, versions: Iterable[str], tracking_uri: str | None, registry_uri: str | None
) -> tuple[VersionFacts, ...]:
    """What is known of each of `versions`, in their order; of a run that was deleted, nothing.

    Raises ModelError for a version that does not exist, ModelStoreError where the store does not answer.
    """
    with asking(f"models:/{name}", tracking_uri) as mlflow:
        client = mlflow.MlflowClient(tracking_uri=tracking_uri, registry_uri=registry_uri or tracking_uri)
        return tuple(_facts(client, mlflow, name, version) for version in versions)


def metrics_beside(before: VersionFacts | None, after: VersionFacts) -> tuple[Beside, ...]:
    """Every metric of either version, by name."""
    return _beside(before.metrics if before else {}, after.metrics)


def params_beside(before: VersionFacts | None, after: VersionFacts) -> tuple[Beside, ...]:
    """Every parameter of either version, by name."""
    return _beside(before.params if before else {}, after.params)


def _beside(
    before: Mapping[str, float] | Mapping[str, str], after: Mapping[str, float] | Mapping[str, str]
) -> tuple[Beside, ...]:
    names = sorted({*before, *after})
    return tuple(Beside(name=name, before=before.get(name), after=after.get(name)) for name in names)


def _facts(client: Any, mlflow: Any, name: str, number: str) -> VersionFacts:
    version = client.get_model_version(name, number)
    run = present(mlflow, client.get_run, version.run_id)
    # A registry in a database tells the logged model by the source alone.
    model_id = getattr(version, "model_id", None) or logged_model_id(version.source)
    logged = present(mlflow, client.get_logged_model, model_id)
    metrics, params = (dict(run.data.metrics), dict(run.data.params)) if run else ({}, {})
    if logged:
        # What was measured of this very model tells more than what was measured in its run.
        measured = logged.metrics or ()
        metrics = {key: value for key, value in metrics.items() if key not in {one.key for one in measured}}
        metrics |= _of_model(measured)
        params |= logged.params or {}
    created = version.creation_timestamp
    return VersionFacts(
        name=name,
        version=str(version.version),
        run_id=version.run_id or None,
        created=None if created is None else created / 1000,
        description=version.description or "",
        metrics=metrics,
        params=params,
        run_tags=_others(run.data.tags) if run else {},
        tags=_others(version.tags),
    )


def _of_model(metrics: Iterable[Any]) -> dict[str, float]:
    ordered = sorted(metrics, key=lambda one: (one.step or 0, one.timestamp or 0))
    return {
        f"{one.key} ({one.dataset_name})" if one.dataset_name else one.key: float(one.value)
        for one in ordered
    }


def _others(tags: Mapping[str, str] | None) -> dict[str, str]:
    return {key: value for key, value in (tags or {}).items() if not key.startswith(_INTERNAL)}
