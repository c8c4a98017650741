"""Keeping logins out of what is printed, raised or stored: the one place that knows how."""

from __future__ import annotations

import re

_LOGIN = re.compile(
    # User and password end at the last "@" of the host part …
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?:[^/?#\s]*@"
    # … but a password with a raw "/" makes what follows the colon no port: then at the next "@".
    r"|(?!\[)[^/?#\s:]+:(?!\d+(?:[/?#\s]|$))\S*?@)"
)
_QUERY = re.compile(r"(?P<url>[A-Za-z][A-Za-z0-9+.-]*://[^\s?#'\"`<>]+)\?[^\s#'\"`<>)]+")


def redacted(text: str) -> str:
    """`text` without user, password and query (which may be a signature) in every URL in it."""
    return _QUERY.sub(r"\g<url>", _LOGIN.sub(r"\g<scheme>", text))
