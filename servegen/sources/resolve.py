"""The stage: a model URI becomes a pinned model on this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servegen.errors import ModelError, ModelStoreError
from servegen.progress import Progress
from servegen.redact import redacted
from servegen.sources.cache import (
    ModelCache,
    database_settled,
    database_state,
    folder_settled,
    folder_state,
)
from servegen.sources.database import resolve_in_database
from servegen.sources.mlmodel import model_facts, read_model
from servegen.sources.uri import (
    FolderURI,
    LoggedModelURI,
    RegistryURI,
    RemoteURI,
    RunURI,
    parse,
)
from servegen.typed import typed
from servegen.values.model import Model, Pin


@dataclass(frozen=True, kw_only=True)
class StoreOptions:
    """Where models are looked up and kept."""

    tracking_uri: str | None
    registry_uri: str | None
    cache: Path
    python: str | None = None
    """Overrides the Python version that the model was logged with."""
    refresh: bool = False
    """Ask and download again even where nothing seems to have changed."""


def resolve(text: str, options: StoreOptions, progress: Progress) -> Model:
    """The model that `text` stands for right now; ModelError and its subclasses when there is none."""
    uri = parse(text)
    cache = ModelCache(options.cache)
    if isinstance(uri, FolderURI):
        return _folder(text, uri, options, cache, progress)
    if isinstance(uri, RemoteURI):
        return _remote(text, uri, options, cache, progress)
    return _registered(text, uri, options, cache, progress)


def _folder(text: str, uri: FolderURI, options: StoreOptions, cache: ModelCache, progress: Progress) -> Model:
    root = uri.path.expanduser().resolve()
    if not root.is_dir():
        hint = f"models:/{text}/latest for a registered model, or a folder that holds an MLmodel file"
        msg = f"{text!r} is no folder here"
        raise ModelError(
            msg, hint=hint if re.fullmatch(r"[\w.-]+", text) else "name a folder that holds an MLmodel file"
        )
    if not (root / "MLmodel").is_file():
        msg = f"{text!r} holds no MLmodel file"
        raise ModelError(msg, hint="name the folder that mlflow.<flavor>.save_model or log_model wrote")
    digest = _from_folder(root, options, cache, progress)
    facts = model_facts(cache.path(digest), text)
    name = root.name if root.name != "artifacts" else facts["model_id"] or root.name
    pin = Pin(
        uri=text,
        resolved=text,
        name=name,
        version=None,
        digest=digest,
        run_id=facts["run_id"],
        model_id=facts["model_id"],
    )
    return _read(pin, cache, options)


def _remote(text: str, uri: RemoteURI, options: StoreOptions, cache: ModelCache, progress: Progress) -> Model:
    from servegen.sources.registry import download

    shown = redacted(text)
    progress.step(f"downloading {shown}")
    digest = cache.add(
        lambda d: Path(download(uri.location, str(d), options.tracking_uri, options.registry_uri))
    )
    facts = model_facts(cache.path(digest), shown)
    name = shown.rstrip("/").rpartition("/")[2]
    pin = Pin(
        uri=shown,
        resolved=shown,
        name=name,
        version=None,
        digest=digest,
        run_id=facts["run_id"],
        model_id=facts["model_id"],
    )
    return _read(pin, cache, options)


def _registered(
    text: str,
    uri: RegistryURI | LoggedModelURI | RunURI,
    options: StoreOptions,
    cache: ModelCache,
    progress: Progress,
) -> Model:
    if options.tracking_uri is None and not Path("mlruns").is_dir():
        # MLflow would create an empty database in this folder and find nothing in it.
        msg = f"no MLflow store is named to look up {text!r} in"
        raise ModelStoreError(msg, hint="--tracking-uri, MLFLOW_TRACKING_URI, or servegen.yaml: tracking_uri")
    key = f"{text}\0{options.tracking_uri}\0{options.registry_uri}"
    state = _store_state(options)
    record = None if options.refresh or state is None else cache.recorded(key)
    pin = _recorded_pin(record, state) if record else None
    if pin:
        # An SQLite store that did not change cannot resolve an alias otherwise than last time, and
        # MLflow takes three seconds to be imported and to open it.
        return _read(pin, cache, options)

    progress.step(f"resolving {text}")
    found = None
    if isinstance(uri, RegistryURI):
        found = resolve_in_database(uri, options.registry_uri or options.tracking_uri)
    if found is None:
        from servegen.sources.registry import resolve_with_mlflow

        found = resolve_with_mlflow(uri, options.tracking_uri, options.registry_uri, text)
    folder = local_folder(found.download_uri)
    if folder is not None:
        if not folder.is_dir():
            msg = f"{found.resolved} lies in {folder}, which is not there"
            raise ModelError(msg, hint="the store was made on another machine or its artifacts were deleted")
        digest = _from_folder(folder, options, cache, progress)
    else:
        digest = _downloaded(found.resolved, found.download_uri, options, cache, progress)
    facts = model_facts(cache.path(digest), text)
    pin = Pin(
        uri=text,
        resolved=found.resolved,
        name=found.name,
        version=found.version,
        run_id=found.run_id or facts["run_id"],
        model_id=found.model_id or facts["model_id"],
        digest=digest,
    )
    model = _read(pin, cache, options)
    if state is not None and state == _store_state(options) and _store_settled(options):
        origin = {"folder": str(folder), "state": folder_state(folder)} if folder else None
        cache.record(key, {"digest": digest, "store": state, "pin": _plain(pin), "origin": origin})
    return model


def _from_folder(root: Path, options: StoreOptions, cache: ModelCache, progress: Progress) -> str:
    key, state = f"folder\0{root}", folder_state(root)
    record = None if options.refresh else cache.recorded(key)
    if record and record.get("state") == state:
        return str(record["digest"])
    progress.step(f"reading {root.name}")
    digest = cache.add(lambda _: root)
    if folder_state(root) == state and folder_settled(root):
        cache.record(key, {"digest": digest, "state": state})
    return digest


def _downloaded(
    resolved: str, location: str, options: StoreOptions, cache: ModelCache, progress: Progress
) -> str:
    from servegen.sources.registry import download

    # A version, a logged model and a run's artifact are written once; a raw location never gets here.
    key = f"download\0{resolved}\0{location}\0{options.tracking_uri}"
    record = None if options.refresh else cache.recorded(key)
    if record:
        return str(record["digest"])
    progress.step(f"downloading {resolved}")
    digest = cache.add(lambda d: Path(download(location, str(d), options.tracking_uri, options.registry_uri)))
    cache.record(key, {"digest": digest})
    return digest


def _store_state(options: StoreOptions) -> str | None:
    states = [database_state(path) for path in _databases(options) or []]
    return " ".join(s for s in states if s) if states and all(states) else None


def _store_settled(options: StoreOptions) -> bool:
    return all(database_settled(path) for path in _databases(options) or [])


def _databases(options: StoreOptions) -> list[Path] | None:
    """The SQLite files that decide what a URI stands for; None when a server does."""
    stores = sorted({options.registry_uri or options.tracking_uri or "", options.tracking_uri or ""})
    prefix = "sqlite:///"
    if not all(store.startswith(prefix) for store in stores):
        return None
    return [Path(store.removeprefix(prefix).partition("?")[0]).absolute() for store in stores]


def _recorded_pin(record: dict[str, Any], state: str | None) -> Pin | None:
    """The pin in a record, if neither the store nor the folder it came from changed since."""
    try:
        pin, origin = typed(Pin, record.get("pin")), record.get("origin")
    except ValueError:
        return None
    if record.get("store") != state:
        return None
    if isinstance(origin, dict):
        folder = Path(str(origin.get("folder")))
        return pin if folder.is_dir() and folder_state(folder) == origin.get("state") else None
    return pin


def local_folder(location: str) -> Path | None:
    """The folder on this machine that a download URI names; None for what has to be downloaded."""
    if location.startswith(("models:", "runs:")):
        return None
    uri = parse(location)
    return uri.path if isinstance(uri, FolderURI) else None


def _read(pin: Pin, cache: ModelCache, options: StoreOptions) -> Model:
    files = cache.files(pin.digest)
    if files is None:
        msg = f"the cached copy of {pin.resolved} was changed while it was read"
        raise ModelError(msg, hint="run the command again")
    return read_model(cache.path(pin.digest), pin, files, options.python)


def _plain(pin: Pin) -> dict[str, str | None]:
    return {name: getattr(pin, name) for name in Pin.__dataclass_fields__}
