"""Recognises secrets written as literals; they belong into a Secret and are referenced from there."""

from __future__ import annotations

import itertools
import re

_WORDS = frozenset(
    ("PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL", "CREDENTIALS", "APIKEY")
)
_PAIRS = frozenset((word, "KEY") for word in ("API", "ACCESS", "SECRET", "PRIVATE", "AUTH"))
_ABOUT = frozenset(("FILE", "PATH", "DIR", "URL", "URI", "ID", "NAME", "TTL", "TIMEOUT"))
"""Last words of variables that say where a secret is, or something about it."""
_HARMLESS = re.compile(r"|\d+(\.\d+)?|true|false|yes|no|on|off|none|/[^\s:@]*", re.IGNORECASE)
_VALUES = re.compile(
    # Not `password=$(NAME)`: that is filled in from another variable.
    r"(?i:\b(?:password|passwd|pwd|account_?key|api[-_]?key)\s*=\s*[^\s;&$<{]{3}"
    r"|\b(?:bearer|basic)\s+(?=\S*\d)[A-Za-z0-9._~+/=-]{8})"
    r"|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|xox[abps]-[A-Za-z0-9-]{10}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.|://[^/\s:@]+:[^/\s@]+@"
)


def holds_secret(value: str) -> bool:
    """Whether a key, token or password can be recognised in `value`, whatever it is called."""
    return bool(_VALUES.search(value))


def looks_secret(name: str, value: str) -> bool:
    """Whether the variable `name` with the literal `value` seems to hold a password, key or token."""
    if holds_secret(value):
        return True
    words = [word for word in re.split(r"[^A-Z0-9]+", name.upper()) if word]
    if not words or words[-1] in _ABOUT or _HARMLESS.fullmatch(value):
        return False
    return not _WORDS.isdisjoint(words) or not _PAIRS.isdisjoint(itertools.pairwise(words))
