"""Blobs as the registry has them now, whatever the store on this machine holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from servegen.errors import ImageNotFoundError, RegistryError, TamperedError
from servegen.oci.calls import TransientError
from servegen.oci.descriptor import Descriptor, digest_of
from servegen.oci.repository import Repository

_PIECE = 1 << 20


def read_blob(repository: Repository, blob: Descriptor) -> bytes:
    """A small blob; TamperedError when it is absent or not what its digest says."""
    answer = repository.transport.call(repository.request("GET", f"blobs/{blob.digest}", ok=(200, 404)))
    if answer.status == 404:
        raise _absent(repository, blob)
    if digest_of(answer.data) != blob.digest:
        raise _other(repository, blob)
    return answer.data


def check_blob(repository: Repository, blob: Descriptor, counted: Callable[[int], None]) -> None:
    """Reads a blob of any size to its end; TamperedError when it is absent or not what its digest says."""

    def attempt() -> tuple[str, int]:
        hashing, size = hashlib.sha256(), 0
        with repository.transport.opened(repository.request("GET", f"blobs/{blob.digest}")) as (answer, _):
            while piece := answer.read(_PIECE):
                hashing.update(piece)
                size += len(piece)
                counted(len(piece))
                if size > blob.size:
                    return "", size
        if size < blob.size and answer.length:
            counted(-size)
            msg = f"{repository.transport.host} broke off the download of {blob.digest}"
            raise TransientError(RegistryError(msg, hint="check the network, then try again"))
        return "sha256:" + hashing.hexdigest(), size

    try:
        digest, size = repository.transport.retried(attempt)
    except ImageNotFoundError as exc:
        raise _absent(repository, blob) from exc
    if (digest, size) != (blob.digest, blob.size):
        raise _other(repository, blob)


def _absent(repository: Repository, blob: Descriptor) -> TamperedError:
    msg = f"{repository.name} lacks the blob {blob.digest}, which its image names"
    return TamperedError(msg, hint="push the image again, and ask who deletes in this registry")


def _other(repository: Repository, blob: Descriptor) -> TamperedError:
    msg = f"{repository.transport.host} sent other bytes than {blob.digest} of {repository.name}"
    return TamperedError(msg, hint="do not run this image; push it again, and ask who writes to this storage")
