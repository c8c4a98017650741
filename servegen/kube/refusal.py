"""An API server's answer that is not a success, in words a user can act on."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from servegen.errors import AdmissionError, ClusterUnreachableError, DeployError, ForbiddenError, QuotaError

_ANONYMOUS = 'User "system:anonymous"'
_DENIED = re.compile(r'cannot (\w+) resource "([^"]+)" in API group "([^"]*)"')
_LIMITS = r"exceeded quota|failed quota|(minimum|maximum) \S+ usage per|limit to request ratio per"
_ADMISSION = r"violates? PodSecurity|admission webhook|calling webhook|ValidatingAdmissionPolicy"
_HINTS = (
    ("violates PodSecurity", "the namespace enforces a Pod Security level that these pods break"),
    ("failed quota.*must specify", "the quota wants that set: deploy.resources.cpu_limit, for example"),
    ("exceeded quota", "ask for more quota, or lower deploy.resources or the number of replicas"),
    ("no PriorityClass with name", "set deploy.priority_class to one that exists"),
    (r"RuntimeClass .*not found", "set deploy.runtime_class to one that exists"),
    (
        r"(minimum|maximum) \S+ usage per|limit to request ratio per",
        "a LimitRange of the namespace bounds deploy.resources",
    ),
    (
        "calling webhook",
        "a webhook of the cluster does not answer, so nothing passes it; its owner has to mend or remove it",
    ),
    (
        "admission webhook|ValidatingAdmissionPolicy",
        "a policy of the cluster refuses this; its message says why",
    ),
    ("field not declared in schema", "render for the cluster's version: set deploy.kube_version"),
    (
        "field is immutable",
        "an immutable field differs: delete the object first, or choose another deploy.name",
    ),
)
"""Text of a refusal to what helps."""


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
        self.kind = kind_of(status, message)
        """The class of error that tells the cause; its exit code is ours."""
        self.exit_code = self.kind.exit_code


class LoginError(RefusalError):
    """The API server does not know who asks."""

    def __init__(self, status: int, message: str, *, hint: str) -> None:
        super().__init__(status, message, hint=hint)
        self.kind = ClusterUnreachableError
        self.exit_code = self.kind.exit_code


def kind_of(status: int, message: str) -> type[DeployError]:
    """The class of error for a refusal with this text, be it an answer or the reason for a missing pod."""
    if _DENIED.search(message):
        return ForbiddenError
    if re.search(_LIMITS, message):
        return QuotaError
    if status == 403 or re.search(_ADMISSION, message):
        return AdmissionError
    return DeployError


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
    if status == 401 or _ANONYMOUS in message:
        return LoginError(
            status,
            f"the cluster of context {context} does not know the login: {message}",
            hint=f"log in again: the credentials of context {context} are missing or expired",
        )
    return RefusalError(
        status, message, hint=_hint(status, message, f"{verb} {path}", context), causes=causes
    )


def one_line(text: str, limit: int = 400) -> str:
    """`text` with every run of white space as one space, cut to `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _hint(status: int, message: str, request: str, context: str) -> str:
    if status == 403 and (denied := _DENIED.search(message)):
        verb, resource, group = denied.groups()
        return f"ask for a Role that allows: {verb} {resource}{'.' if group else ''}{group}"
    for pattern, hint in _HINTS:
        if re.search(pattern, message):
            return hint
    if status == 403:
        return "an admission policy of the cluster refuses this object"
    return f"the cluster of context {context} refused: {request}"
