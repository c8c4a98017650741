"""Quantities in the form the API server stores, so that what we write never shows as drift."""

from __future__ import annotations

import re
from fractions import Fraction

_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|Pi|Ei|m|k|M|G|T|P|E|)")


def value(text: str) -> Fraction:
    """The number that `text` writes; raises ValueError for anything but digits and one suffix."""
    match = _QUANTITY.fullmatch(text)
    if not match:
        msg = f"{text!r} is not a quantity such as 500m, 2 or 1536Mi"
        raise ValueError(msg)
    number, suffix = Fraction(match[1]), match[2]
    factor = Fraction(1024) ** _BINARY[suffix] if suffix in _BINARY else Fraction(1000) ** _DECIMAL[suffix]
    return number * factor


def canonical(text: str) -> str:
    """`text` as the server would store it: the largest suffix of its family that leaves a whole number."""
    number = value(text)
    binary = text.endswith("i")
    suffixes, base = (_BINARY, Fraction(1024)) if binary else (_DECIMAL, Fraction(1000))
    for suffix, power in reversed(suffixes.items()):
        mantissa = number / base**power
        if mantissa.denominator == 1 and mantissa > 0:
            return f"{int(mantissa)}{suffix}"
    if not number:
        return "0"
    if binary and number.denominator == 1:
        return str(int(number))
    msg = f"{text!r} is finer than {'one byte' if binary else 'a thousandth'}"
    raise ValueError(msg)
