"""An API server's answer that is not a success, in words a user can act on."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from servegen.errors import DeployError


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One of the reasons a server gives."""

    reason: str
    field: str
    message: str


class RefusalError(DeployError):
    """The API server answered `status`; the message is the server's own."""

    def __init__(self, status: int, message: str, *, hint: str, causes: tuple[Cause, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.causes = causes


def refusal(status: int, body: str, *, verb: str, path: str, context: str) -> RefusalError:
    """The error for an answer `body` with `status` to `verb` on `path`."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = {}
    answer = answer if isinstance(answer, dict) else {}
    message = one_line(str(answer.get("message") or body or f"HTTP {status}"))
    details = answer.get("details") or {}
    causes = tuple(
        Cause(
            reason=str(cause.get("reason", "")),
            field=str(cause.get("field", "")),
            message=str(cause.get("message", "")),
        )
        for cause in details.get("causes") or ()
    )
    return RefusalError(
        status, message, hint=_hint(status, message, f"{verb} {path}", context), causes=causes
    )


def one_line(text: str, limit: int = 400) -> str:
    """`text` with every run of white space as one space, cut to `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _hint(status: int, message: str, request: str, context: str) -> str:
    if status == 401:
        return f"log in again: the credentials of context {context} are missing or expired"
    if "violates PodSecurity" in message:
        return "the namespace enforces a Pod Security level that these pods break"
    if "exceeded quota" in message:
        return "ask for more quota, or lower deploy.resources or the number of replicas"
    if status == 403 and re.search(r"cannot \w+ resource", message):
        return f"ask for a Role that allows: {request}"
    if status == 403:
        return "an admission policy of the cluster refuses this object"
    if "field not declared in schema" in message:
        return "render for the cluster's version: set deploy.kube_version"
    if "field is immutable" in message:
        return "an immutable field differs: delete the object first, or choose another deploy.name"
    return f"the cluster of context {context} refused: {request}"
