"""Debian's order of package versions."""

from __future__ import annotations

import re
from functools import cmp_to_key

_CLAUSE = re.compile(
    r"\s*([A-Za-z0-9][A-Za-z0-9+.-]*)(?::[a-z0-9]+)?\s*(?:\(\s*(<<|<=|=|>=|>>)\s*([^)\s]+)\s*\))?"
)


def compare(left: str, right: str) -> int:
    """Below, equal to or above 0, as `left` is older than, equal to or newer than `right`."""
    epoch_left, upstream_left, revision_left = _parts(left)
    epoch_right, upstream_right, revision_right = _parts(right)
    return (
        epoch_left - epoch_right
        or _compare(upstream_left, upstream_right)
        or _compare(revision_left, revision_right)
    )


order = cmp_to_key(compare)
"""Sort key for versions."""


def parse_relation(text: str) -> tuple[str, str | None, str | None]:
    """Package, operator and version of one alternative of a `Depends` clause, such as `libc6 (>= 2.36)`."""
    match = _CLAUSE.match(text)
    return (match[1], match[2], match[3]) if match else (text.strip(), None, None)


def fulfils(version: str, operator: str | None, wanted: str | None) -> bool:
    """Whether a package of this version meets the relation."""
    if operator is None or wanted is None:
        return True
    difference = compare(version, wanted)
    return {
        "<<": difference < 0,
        "<=": difference <= 0,
        "=": difference == 0,
        ">=": difference >= 0,
        ">>": difference > 0,
    }[operator]


def _parts(version: str) -> tuple[int, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    return int(epoch) if epoch.isdigit() else 0, upstream if dash else rest, revision if dash else "0"


def _rank(char: str) -> int:
    """'~' sorts before the end, letters before everything else."""
    if not char:
        return 0
    if char == "~":
        return -1
    return ord(char) if char.isalpha() else ord(char) + 256


def _compare(left: str, right: str) -> int:
    while left or right:
        text_left, text_right = _head(r"\D*", left), _head(r"\D*", right)
        for i in range(max(len(text_left), len(text_right))):
            difference = _rank(text_left[i : i + 1]) - _rank(text_right[i : i + 1])
            if difference:
                return difference
        left, right = left[len(text_left) :], right[len(text_right) :]
        number_left, number_right = _head(r"\d*", left), _head(r"\d*", right)
        difference = int(number_left or 0) - int(number_right or 0)
        if difference:
            return difference
        left, right = left[len(number_left) :], right[len(number_right) :]
    return 0


def _head(pattern: str, text: str) -> str:
    match = re.match(pattern, text)
    return match.group() if match else ""
