"""Requests to a registry, their answers, and the errors a user sees when an answer is not the wanted one."""

from __future__ import annotations

import http.client
import json
import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from servegen.errors import ImageNotFoundError, RegistryAuthError, RegistryError
from servegen.oci.descriptor import JSON
from servegen.oci.http import RETRIED

Body = bytes | Callable[[], BinaryIO] | None


@dataclass(frozen=True, kw_only=True)
class Request:
    """One call to the distribution API."""

    method: str
    url: str
    repository: str
    action: str = "pull"
    """`pull` or `pull,push`: what the token has to allow."""
    mount_from: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = None
    """A function opens a fresh stream for every try."""
    ok: tuple[int, ...] = (200,)

    @property
    def scope(self) -> str:
        """The token scopes it needs, in one token."""
        more = f" repository:{self.mount_from}:pull" if self.mount_from else ""
        return f"repository:{self.repository}:{self.action}{more}"

    @property
    def verb(self) -> str:
        """`push` or `pull`, for messages."""
        return "push" if "push" in self.action else "pull"


@dataclass(frozen=True, kw_only=True)
class Response:
    """An answer with a wanted status."""

    status: int
    headers: http.client.HTTPMessage
    data: bytes
    url: str

    def location(self) -> str:
        """The absolute URL of its `Location`; raises RegistryError when it has none."""
        where = self.headers.get("Location")
        if not where:
            host = urllib.parse.urlsplit(self.url).netloc
            msg = f"{host} did not say where to upload to"
            raise RegistryError(msg, hint="is this a container registry?")
        return urllib.parse.urljoin(self.url, where)


class TransientError(Exception):
    """No answer, or one that asks to try again; `error` is what to raise when all tries are used up."""

    def __init__(self, error: RegistryError, retry_after: str | None = None, *, reused: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after = retry_after
        self.reused = reused
        """The connection was an old one, which the server may just have closed: no reason to wait."""


class BlobUnknownError(RegistryError):
    """The registry refuses a manifest because it lacks blobs that the manifest lists."""

    def __init__(self, message: str, *, hint: str, digests: frozenset[str]) -> None:
        super().__init__(message, hint=hint)
        self.digests = digests
        """Those it named; some registries name none."""


def login_wanted(host: str, request: Request) -> RegistryAuthError:
    """For a registry that answers nobody without a login."""
    msg = f"{host} wants a login for {request.repository}"
    return RegistryAuthError(msg, hint=f"docker login {host}, or REGISTRY_AUTH_FILE")


def login_refused(host: str, request: Request, body: bytes) -> RegistryAuthError:
    """For a registry that does not accept the login we have."""
    msg = f"{host} refuses this login for {request.repository}{said(body)}"
    return RegistryAuthError(msg, hint=f"docker login {host} with a user who may {request.verb}")


def failed(host: str, request: Request, answer: http.client.HTTPResponse, body: bytes) -> Exception:
    """The error for an unwanted status; a TransientError when asking again can help."""
    text = said(body)
    status = answer.status
    if status in RETRIED:
        limits = ", ".join(
            f"{k}: {v}" for k, v in answer.headers.items() if k.lower().startswith("ratelimit")
        )
        msg = f"{host} answers HTTP {status}{text}" + (f" ({limits})" if limits else "")
        return TransientError(RegistryError(msg, hint="try again later"), answer.headers.get("Retry-After"))
    if status == 403:
        msg = f"{host} refuses {request.verb} to {request.repository}{text}"
        return RegistryAuthError(msg, hint=f"docker login {host} with a user who may {request.verb}")
    if any(each.get("code") == "MANIFEST_BLOB_UNKNOWN" for each in _errors(body)):
        digests = frozenset(re.findall("sha256:[0-9a-f]{64}", body.decode(errors="replace")))
        msg = f"{host} lacks blobs of an image for {request.repository}{text}"
        return BlobUnknownError(msg, hint="look at the registry's log and storage", digests=digests)
    if status == 404:
        msg = f"{host} has no {request.repository}, or not what was asked of it{text}"
        hint = (
            "check the name" if request.action == "pull" else "some registries want the repository made first"
        )
        return ImageNotFoundError(msg, hint=hint)
    if status == 413:
        msg = f"{host} takes no upload of this size{text}"
        return RegistryError(msg, hint="raise the body limit of the registry or of the proxy before it")
    if status == 400 and b"HTTP request to an HTTPS server" in body:
        msg = f"{host} speaks https"
        return RegistryError(
            msg, hint=f"leave out --insecure-registry {host}; --registry-ca FILE names its CA"
        )
    path = urllib.parse.urlsplit(request.url).path
    msg = f"{host} answers HTTP {status} to {request.method} {path}{text}"
    return RegistryError(msg, hint="look at the registry's log")


def said(body: bytes) -> str:
    """What the registry's error body says, as the end of a message."""
    text = "; ".join(f"{each.get('code', '')} {each.get('message', '')}".strip() for each in _errors(body))
    printable = re.sub(r"[^\x20-\x7e]+", " ", text)[:300].strip()
    return f": {printable}" if printable else ""


def _errors(body: bytes) -> list[JSON]:
    """The errors of an answer's body (distribution-spec, "Error Codes"); none when it is something else."""
    try:
        errors = json.loads(body)["errors"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return [each for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
