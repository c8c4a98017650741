"""The forms of model URI that MLflow takes, told apart before anything is asked of a server."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from servegen.errors import ModelURIError

REMOTE_SCHEMES = (
    "abfss",
    "b2",
    "dbfs",
    "ftp",
    "gs",
    "hdfs",
    "http",
    "https",
    "mlflow-artifacts",
    "r2",
    "s3",
    "sftp",
    "viewfs",
    "wasbs",
)
"""Artifact stores that MLflow's own code downloads from."""

_HINT = (
    "models:/NAME@ALIAS, models:/NAME/VERSION, models:/m-ID, runs:/RUN_ID/PATH, a folder, or s3://, gs://, …"
)


@dataclass(frozen=True, kw_only=True)
class RegistryURI:
    """`models:/name/3`, `models:/name@alias`, `models:/name/latest` or `models:/name/Stage`."""

    name: str
    version: str | None = None
    alias: str | None = None
    stage: str | None = None


@dataclass(frozen=True, kw_only=True)
class LoggedModelURI:
    """`models:/m-…`: a logged model by its id."""

    model_id: str


@dataclass(frozen=True, kw_only=True)
class RunURI:
    """`runs:/id/path`: an artifact of a run."""

    run_id: str
    path: str


@dataclass(frozen=True, kw_only=True)
class FolderURI:
    """A folder on this machine, given as path or as `file:` URI."""

    path: Path


@dataclass(frozen=True, kw_only=True)
class RemoteURI:
    """A location in an artifact store."""

    location: str


ModelURI = RegistryURI | LoggedModelURI | RunURI | FolderURI | RemoteURI


def parse(text: str) -> ModelURI:
    """Tell which form `text` has; ModelURIError when MLflow knows no such form."""
    if not text.strip() or any(ord(c) < 32 for c in text):
        msg = f"{text!r} is not a model URI"
        raise ModelURIError(msg, hint=_HINT)
    scheme, colon, rest = text.partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+", scheme):
        return FolderURI(path=Path(text))
    if scheme == "models":
        return _models(text, rest)
    if scheme == "runs":
        run_id, _, path = rest.strip("/").partition("/")
        if not run_id or not path:
            msg = f"{text!r} names no artifact of a run"
            raise ModelURIError(msg, hint="runs:/RUN_ID/PATH, as MLflow prints it after log_model")
        return RunURI(run_id=run_id, path=path)
    if scheme == "file":
        return FolderURI(path=_file_path(text))
    if scheme in REMOTE_SCHEMES:
        return RemoteURI(location=text)
    msg = f"{text!r} has the unknown scheme {scheme!r}"
    raise ModelURIError(msg, hint=_HINT)


def _models(text: str, rest: str) -> ModelURI:
    parts = rest.lstrip("/").split("/")
    if not rest.startswith("/") or rest.startswith("//") or len(parts) > 2 or not parts[0].strip():
        msg = f"{text!r} is not a models:/ URI"
        raise ModelURIError(
            msg, hint="models:/NAME@ALIAS, models:/NAME/VERSION, models:/NAME/latest or models:/m-ID"
        )
    if len(parts) == 2:
        name, suffix = parts
        if not suffix.strip():
            msg = f"{text!r} names no version"
            raise ModelURIError(msg, hint=f"models:/{name}/VERSION or models:/{name}@ALIAS")
        if suffix.isdigit():
            return RegistryURI(name=name, version=suffix)
        if suffix.lower() == "latest":
            return RegistryURI(name=name)
        return RegistryURI(name=name, stage=suffix)
    name, at, alias = parts[0].rpartition("@")
    if at:
        if not name or not alias:
            msg = f"{text!r} names no {'model' if not name else 'alias'}"
            raise ModelURIError(msg, hint="models:/NAME@ALIAS")
        return RegistryURI(name=name, alias=alias)
    if not parts[0].startswith("m-"):
        msg = f"{text!r} names neither version nor alias"
        raise ModelURIError(
            msg, hint=f"models:/{parts[0]}/latest, models:/{parts[0]}/VERSION or models:/{parts[0]}@ALIAS"
        )
    return LoggedModelURI(model_id=parts[0])


def _file_path(text: str) -> Path:
    parts = urllib.parse.urlsplit(text)
    if parts.netloc not in ("", "localhost"):
        msg = f"{text!r} is on the host {parts.netloc!r}"
        raise ModelURIError(msg, hint="file:///PATH names a folder on this machine")
    return Path(urllib.parse.unquote(parts.path))
