"""What a model URI stands for, read from an SQLite store without importing MLflow, which takes seconds."""

from __future__ import annotations

import contextlib
import sqlite3
import urllib.parse
from pathlib import Path

from servegen.sources.registry import Resolved
from servegen.sources.uri import RegistryURI

_SCHEME = "sqlite:///"
_WORKSPACE = "default"


def resolve_in_database(uri: RegistryURI, store: str | None) -> Resolved | None:
    """The version that `uri` names; None where only MLflow can tell, also why there is none."""
    if not store or not store.startswith(_SCHEME) or uri.stage:
        return None
    path = Path(store.removeprefix(_SCHEME).partition("?")[0]).absolute()
    try:
        # Opened for reading only: nothing is created, migrated or locked.
        with contextlib.closing(
            sqlite3.connect(f"file:{urllib.parse.quote(str(path))}?mode=ro", uri=True, timeout=5)
        ) as database:
            return _resolved(database, uri)
    except sqlite3.Error:
        # Absent, damaged, or of another version of MLflow, which knows what to say.
        return None


def _resolved(database: sqlite3.Connection, uri: RegistryURI) -> Resolved | None:
    version: object = uri.version
    if uri.alias:
        query = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
        version = _only(database, query, uri.name, uri.alias)
    elif version is None:
        query = "SELECT max(version) FROM model_versions WHERE name = ?"
        version = _only(database, query, uri.name)
    if version is None:
        return None
    row = database.execute(
        "SELECT version, source, run_id, storage_location, current_stage, workspace FROM model_versions"
        " WHERE name = ? AND version = ?",
        (uri.name, version),
    ).fetchall()
    if len(row) != 1 or row[0][4] == "Deleted_Internal" or row[0][5] != _WORKSPACE:
        return None
    number, source, run_id, location, _, _ = row[0]
    prefix = "models:/"
    model_id = source.removeprefix(prefix) if str(source).startswith(prefix + "m-") else None
    # MLflow itself has to look up what is no plain location.
    if not (location or source) or str(location or source).startswith(("models:", "runs:")):
        return None
    return Resolved(
        resolved=f"models:/{uri.name}/{number}",
        name=uri.name,
        version=str(number),
        run_id=run_id or None,
        model_id=model_id,
        download_uri=str(location or source),
    )


def _only(database: sqlite3.Connection, query: str, *values: object) -> object:
    """The value in the one row that there is; None for no row, and for one of several workspaces."""
    rows = database.execute(query, values).fetchall()
    return rows[0][0] if len(rows) == 1 else None
