"""Which deliveries of MLflow's registry webhooks are believed, and what they are about.

MLflow 3 signs `<delivery id>.<Unix time>.<body>` with HMAC-SHA256 and sends it as `v1,<base64>`, as the
specification Standard Webhooks has it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

BODY_LIMIT = 64 * 1024
"""Bytes; a description of a version is the one long part of an event."""
WINDOW_SECONDS = 300
"""How old or how far ahead a delivery may be: MLflow's retries take two minutes at most, clocks differ."""
_VERSION = "v1"
_LONGEST_ID = 128
_FOLLOWED = {
    ("model_version_alias", "created"),
    ("model_version_alias", "deleted"),
    ("model_version", "created"),
}


class RefusedError(Exception):
    """A delivery that is not believed; `status` is that of the HTTP answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something of a registered model may mean another version now; what it means, only the registry says."""

    model: str
    text: str
    """For the log, such as `alias champion set to 8`."""


class Gate:
    """Lets a delivery through once, if it was signed with the secret a moment ago; safe for many threads."""

    def __init__(self, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret.encode()
        self._clock = clock
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    def admit(self, headers: Mapping[str, str], body: bytes) -> Event | None:
        """What happened, None for what nobody follows; RefusedError for a delivery that is not believed.

        `headers` have names in lower case.
        """
        delivery, stamp = headers.get("x-mlflow-delivery-id", ""), headers.get("x-mlflow-timestamp", "")
        signatures = headers.get("x-mlflow-signature", "")
        if not delivery or not stamp or not signatures:
            raise RefusedError(401, "it is not signed")
        if len(delivery) > _LONGEST_ID or not (stamp.isascii() and stamp.isdigit() and len(stamp) < 13):
            raise RefusedError(400, "its delivery id or time is none")
        if not self._signed(f"{delivery}.{stamp}.".encode() + body, signatures):
            raise RefusedError(401, "its signature is not made with this secret")
        now = self._clock()
        if abs(now - int(stamp)) > WINDOW_SECONDS:
            age = now - int(stamp)
            raise RefusedError(401, f"it is {abs(age):.0f} s {'old' if age > 0 else 'ahead'}")
        # Remembered from here on only, or strangers could fill the memory.
        self._first(delivery, now)
        return event(body)

    def _signed(self, content: bytes, signatures: str) -> bool:
        digest = hmac.new(self._secret, content, hashlib.sha256).digest()
        wanted = f"{_VERSION},{base64.b64encode(digest).decode()}".encode()
        # There may be several while a secret is being replaced.
        return any(hmac.compare_digest(wanted, one.encode()) for one in signatures.split()[:8])

    def _first(self, delivery: str, now: float) -> None:
        with self._lock:
            # A delivery is too old by itself once it has been forgotten here.
            self._seen = {one: until for one, until in self._seen.items() if until >= now}
            if delivery in self._seen:
                raise RefusedError(409, "it was delivered before")
            self._seen[delivery] = now + 2 * WINDOW_SECONDS


def event(body: bytes) -> Event | None:
    """What a delivery tells; None for kinds of events that move no model."""
    try:
        told = json.loads(body)
        kind = told["entity"], told["action"]
        if kind not in _FOLLOWED:
            return None
        data = told["data"]
        name = data["name"]
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise RefusedError(400, "it is no event of MLflow") from exc
    if not isinstance(name, str):
        raise RefusedError(400, "it is no event of MLflow")
    return Event(model=name, text=_text(kind, data))


def _text(kind: tuple[str, str], data: Mapping[str, object]) -> str:
    if kind == ("model_version", "created"):
        return f"version {data.get('version')} created"
    if kind[1] == "deleted":
        return f"alias {data.get('alias')} deleted"
    return f"alias {data.get('alias')} set to {data.get('version')}"
