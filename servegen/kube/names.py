"""Names and label values that every supported API server accepts."""

from __future__ import annotations

import hashlib
import re
import unicodedata

NAME_LIMIT = 45
"""Longest instance name: leaves room for `-canary` and a Job's suffix within 63, and for a CronJob's 52."""
LABEL_LIMIT = 63

_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def slug(text: str, limit: int = NAME_LIMIT) -> str:
    """`text` as a DNS label of at most `limit` characters; a changed name ends in 8 digits of its hash.

    Two different texts therefore never share a name by accident.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if not name:
        name = "m"
    elif not name[0].isalpha():
        name = f"m-{name}"
    if name == text and len(name) <= limit:
        return name
    return f"{name[: limit - 9].rstrip('-')}-{_hash(text)}"


def label_value(text: str) -> str:
    """`text` if it is a label value, else the nearest one, ending in 8 digits of the text's hash."""
    if is_label_value(text):
        return text
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    value = re.sub(r"[^-A-Za-z0-9_.]+", "-", plain)[: LABEL_LIMIT - 9].strip("-_.")
    return f"{value}-{_hash(text)}" if value else _hash(text)


def is_label_value(text: str) -> bool:
    """Whether the API server takes `text` as a label's value; the empty text is one."""
    return not text or (len(text) <= LABEL_LIMIT and bool(_LABEL_VALUE.fullmatch(text)))


def is_key(text: str) -> bool:
    """Whether `text` is a key of labels or annotations: `name` or `domain/name`."""
    prefix, slash, name = text.rpartition("/")
    return (not slash or is_subdomain(prefix)) and bool(name) and is_label_value(name)


def is_dns_label(text: str, limit: int = LABEL_LIMIT) -> bool:
    """Whether `text` is a lower-case DNS label that begins with a letter."""
    return len(text) <= limit and bool(_DNS_LABEL.fullmatch(text))


def is_subdomain(text: str) -> bool:
    """Whether `text` can name a Secret, a class or a key's domain."""
    return len(text) <= 253 and bool(_DNS_SUBDOMAIN.fullmatch(text))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
