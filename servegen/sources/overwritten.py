"""Whether the files of a registered version are still those that were packaged."""

from __future__ import annotations

from pathlib import Path

from servegen.errors import ModelError
from servegen.scratch import scratch_folder
from servegen.sources.registry import download, resolve_with_mlflow
from servegen.sources.resolve import StoreOptions, local_folder
from servegen.sources.tree import hash_files, tree_digest
from servegen.sources.uri import RegistryURI


def content_digest(name: str, version: str, options: StoreOptions) -> str:
    """The digest of the version's files as they are now, as `Pin.digest` has it; nothing is kept.

    A store on another machine has to be downloaded from: no store of artifacts tells digests of its files.
    Raises ModelError for a version or files that are gone, ModelStoreError for a store that is silent.
    """
    uri = f"models:/{name}/{version}"
    stores = options.tracking_uri, options.registry_uri
    found = resolve_with_mlflow(RegistryURI(name=name, version=version), *stores, uri)
    folder = local_folder(found.download_uri)
    if folder is not None:
        if not folder.is_dir():
            msg = f"{uri} lies in {folder}, which is not there"
            raise ModelError(msg, hint="its artifacts were deleted, or are on another machine")
        return tree_digest(hash_files(folder))
    with scratch_folder(options.cache, "overwritten-") as scratch:
        return tree_digest(hash_files(Path(download(found.download_uri, str(scratch), *stores))))
