"""What aliases, stages and `latest` of registered models mean now; no artifact is touched."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from servegen.sources.registry import asking, in_unity_catalog, newest_version, present
from servegen.sources.uri import RegistryURI

PAGE = 1000
"""Registered models of one answer, the most that MLflow allows."""
_WORTH = 8
"""Models that are asked for one by one rather than looked up in one page of all models."""


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What a URI of the registry stands for at the moment."""

    uri: RegistryURI
    version: str | None
    """None where it stands for nothing, because of `why`."""
    since: float | None = None
    """Seconds since 1970, where the registry keeps it: for stages and `latest`, not for aliases."""
    why: str | None = None
    """Such as `the alias is not set`."""

    @property
    def pin(self) -> str | None:
        """The URI of that very version."""
        return None if self.version is None else f"models:/{self.uri.name}/{self.version}"


def meanings(
    uris: Iterable[RegistryURI], tracking_uri: str | None, registry_uri: str | None
) -> dict[RegistryURI, Meaning]:
    """What each of `uris` means; raises ModelStoreError where the registry does not answer or refuses.

    Takes at most one call a model and an eighth more, and one in all where the registry is small.
    """
    wanted = tuple(dict.fromkeys(uris))
    if not wanted:
        return {}
    with asking(f"models:/{wanted[0].name}", tracking_uri) as mlflow:
        client = mlflow.MlflowClient(tracking_uri=tracking_uri, registry_uri=registry_uri or tracking_uri)
        found = dict(_models(client, mlflow, {uri.name for uri in wanted}))
        return {uri: _meaning(uri, found.get(uri.name), client) for uri in wanted}


def _models(client: Any, mlflow: Any, names: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Name and entity of each of `names`; None for what is not registered, or the name is left out."""
    missing = set(names)
    token, pages = None, 0
    # Unity Catalog lists models without their aliases.
    while not in_unity_catalog(client) and pages < len(names) // _WORTH:
        page = client.search_registered_models(max_results=PAGE, page_token=token)
        pages, token = pages + 1, page.token
        for model in page:
            if model.name in missing:
                missing.discard(model.name)
                yield model.name, model
        if not token:
            return
        if not missing:
            return
    for name in sorted(missing):
        yield name, present(mlflow, client.get_registered_model, name)


def _meaning(uri: RegistryURI, model: Any, client: Any) -> Meaning:
    if model is None:
        return Meaning(uri=uri, version=None, why="there is no such registered model")
    if uri.alias:
        aliases: Mapping[str, object] = model.aliases or {}
        version = aliases.get(uri.alias)
        if version is None:
            return Meaning(uri=uri, version=None, why="the alias is not set")
        return Meaning(uri=uri, version=str(version))
    if uri.version:
        return Meaning(uri=uri, version=uri.version)
    newest = {one.current_stage: one for one in model.latest_versions or ()}
    if uri.stage:
        named = next((one for stage, one in newest.items() if _same(stage, uri.stage)), None)
        if named is None:
            return Meaning(uri=uri, version=None, why="no version is in that stage")
        return Meaning(uri=uri, version=str(named.version), since=_seconds(named.last_updated_timestamp))
    # The newest of all is the newest of its stage; Unity Catalog has no stages and lists none.
    last = max(newest.values(), key=_number, default=None) or newest_version(client, uri.name)
    if last is None:
        return Meaning(uri=uri, version=None, why="the model has no version")
    return Meaning(uri=uri, version=str(last.version), since=_seconds(last.creation_timestamp))


def _same(stage: str | None, wanted: str) -> bool:
    return str(stage).lower() == wanted.lower()


def _number(version: Any) -> int:
    return int(version.version)


def _seconds(milliseconds: Any) -> float | None:
    return None if milliseconds is None else float(milliseconds) / 1000
