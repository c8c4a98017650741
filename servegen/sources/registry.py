"""What a model URI stands for, asked of MLflow once."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from servegen.errors import ModelError, ModelStoreError
from servegen.redact import redacted
from servegen.sources.uri import LoggedModelURI, RegistryURI, RunURI

_NO_ANSWER = (
    "Max retries exceeded",
    "Connection refused",
    "Failed to establish",
    "Name or service not known",
    "unable to open database",
    "timed out",
    "Connection aborted",
)
_REFUSED = ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED")


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """One version of a model, and the URI under which MLflow downloads it."""

    resolved: str
    name: str
    version: str | None
    run_id: str | None
    model_id: str | None
    download_uri: str


def resolve_with_mlflow(
    uri: RegistryURI | LoggedModelURI | RunURI, tracking_uri: str | None, registry_uri: str | None, what: str
) -> Resolved:
    """Ask the tracking server or registry; ModelError for an unknown model, ModelStoreError for silence."""
    with _session(what, tracking_uri, registry_uri) as mlflow:
        client = mlflow.MlflowClient(tracking_uri=tracking_uri, registry_uri=registry_uri or tracking_uri)
        if isinstance(uri, RegistryURI):
            return _registered(client, uri)
        if isinstance(uri, LoggedModelURI):
            logged = client.get_logged_model(uri.model_id)
            return Resolved(
                resolved=f"models:/{uri.model_id}",
                name=logged.name,
                version=None,
                run_id=logged.source_run_id,
                model_id=uri.model_id,
                download_uri=logged.artifact_location,
            )
        client.get_run(uri.run_id)
        location = f"runs:/{uri.run_id}/{uri.path}"
        return Resolved(
            resolved=location,
            name=uri.path.rstrip("/").rpartition("/")[2],
            version=None,
            run_id=uri.run_id,
            model_id=None,
            download_uri=location,
        )


def _registered(client: Any, uri: RegistryURI) -> Resolved:
    if uri.alias:
        found = client.get_model_version_by_alias(uri.name, uri.alias)
    elif uri.version:
        found = client.get_model_version(uri.name, uri.version)
    elif uri.stage:
        versions = client.get_latest_versions(uri.name, [uri.stage])
        found = max(versions, key=lambda v: int(v.version), default=None)
    else:
        found = newest_version(client, uri.name)
        if found is None:
            client.get_registered_model(uri.name)
    if found is None:
        wanted = f"stage {uri.stage!r}" if uri.stage else "version"
        msg = f"model {uri.name!r} has no {wanted}"
        raise ModelError(msg, hint="list what there is: mlflow models list-versions, or the registry's page")
    return Resolved(
        resolved=f"models:/{uri.name}/{found.version}",
        name=uri.name,
        version=str(found.version),
        run_id=found.run_id or None,
        model_id=getattr(found, "model_id", None) or logged_model_id(found.source),
        download_uri=_download_uri(client, uri.name, found.version),
    )


def newest_version(client: Any, name: str) -> Any:
    """The version of a registered model with the highest number; None where it has none."""
    versions = client.search_model_versions(f"name={_quoted(name)}")
    return max(versions, key=lambda v: int(v.version), default=None)


def _download_uri(client: Any, name: str, version: str) -> str:
    # Unity Catalog hands out credentials only to MLflow's own repository class for models:/ URIs.
    if in_unity_catalog(client):
        return f"models:/{name}/{version}"
    return str(client.get_model_version_download_uri(name, version))


def in_unity_catalog(client: Any) -> bool:
    """Whether the registry of an MlflowClient is Databricks' own, which answers some questions otherwise."""
    return str(getattr(client, "_registry_uri", "")).startswith(("databricks", "uc:"))


def present(mlflow: Any, get: Callable[[str], Any], wanted: str | None) -> Any:
    """What `get` finds; None for nothing wanted, and for what is not there or was deleted."""
    if not wanted:
        return None
    try:
        return get(wanted)
    except mlflow.exceptions.MlflowException as exc:
        if exc.error_code not in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
            raise
        return None


def _quoted(name: str) -> str:
    return '"' + name + '"' if "'" in name else "'" + name + "'"


def logged_model_id(source: str | None) -> str | None:
    """The logged model that is the source of a version; None where another thing is."""
    prefix = "models:/"
    return source[len(prefix) :] if source and source.startswith(prefix + "m-") else None


@contextlib.contextmanager
def _session(what: str, tracking_uri: str | None, registry_uri: str | None) -> Iterator[Any]:
    """As `asking`, with the process-wide stores set to these, too."""
    undo: list[Callable[[], None]] = []
    try:
        with asking(what, tracking_uri) as mlflow:
            # Some of MLflow's repositories ignore the stores they are given and read the process-wide ones.
            if tracking_uri:
                # None where nobody chose one: the default would stay chosen, for whatever comes afterwards.
                before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
                undo.append(partial(mlflow.set_tracking_uri, before))
                mlflow.set_tracking_uri(tracking_uri)
            if registry_uri:
                variable = mlflow.environment_variables.MLFLOW_REGISTRY_URI
                chosen = variable.is_set()
                undo += [] if chosen else [variable.unset]
                undo.append(partial(mlflow.set_registry_uri, mlflow.get_registry_uri() if chosen else None))
                mlflow.set_registry_uri(registry_uri)
            yield mlflow
    finally:
        for step in reversed(undo):
            step()


@contextlib.contextmanager
def asking(what: str, tracking_uri: str | None) -> Iterator[Any]:
    """The `mlflow` module; whatever it raises becomes one line and a hint.

    Nothing of the process is changed, so that several threads may ask at a time.
    """
    try:
        yield _import_mlflow()
    except (ModelError, KeyboardInterrupt):
        raise
    except ImportError as exc:
        msg = f"{what}: MLflow needs the package {exc.name or exc} for this store"
        raise ModelStoreError(msg, hint=f"pip install {exc.name or 'the package that MLflow names'}") from exc
    except Exception as exc:
        raise _translated(exc, what, tracking_uri) from exc


def _import_mlflow() -> Any:
    # The database store runs its migrations through alembic, which reports each of them.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import mlflow

    return mlflow


def _translated(exc: Exception, what: str, tracking_uri: str | None) -> ModelError:
    # Before it is cut, or half a login might stay.
    text = redacted(" ".join(str(exc).split()))
    code = getattr(exc, "error_code", "")
    store = tracking_uri or "the default MLflow store"
    if "unsupported URI" in text:
        return ModelStoreError(
            f"{store} is no store that MLflow knows: {_short(text)}",
            hint="--tracking-uri http://…, sqlite:///…, databricks, or a folder",
        )
    if code in _REFUSED or " 401" in text or " 403" in text:
        return ModelStoreError(
            f"{store} refuses access: {_short(text)}",
            hint="MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN",
        )
    if code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE") and not _silent(text):
        return ModelError(
            f"{what} is not in {store}: {_short(text)}",
            hint="check name, version and alias, and --tracking-uri",
        )
    if _silent(text) or type(exc).__module__.startswith(("requests", "urllib3", "sqlalchemy")):
        return ModelStoreError(
            f"{store} does not answer: {_short(text)}",
            hint="is the server up? --tracking-uri or MLFLOW_TRACKING_URI",
        )
    return ModelStoreError(
        f"{what} cannot be had from {store}: {_short(text)}", hint="run with -v for MLflow's own traceback"
    )


def _silent(text: str) -> bool:
    return any(sign in text for sign in _NO_ANSWER)


def _short(text: str, limit: int = 240) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def download(uri: str, directory: str, tracking_uri: str | None, registry_uri: str | None) -> str:
    """Download the artifact tree of `uri` below `directory` with MLflow's own code; returns its folder."""
    with _session(uri, tracking_uri, registry_uri) as mlflow:
        return str(
            mlflow.artifacts.download_artifacts(
                artifact_uri=uri, dst_path=directory, tracking_uri=tracking_uri, registry_uri=registry_uri
            )
        )
