"""Whether the answer to merged calls has the type that each of them would have had alone.

pandas and numpy infer one dtype from all values of a column: an answer of 1 becomes 1.0 beside one that is
missing. Each client shall get the answer that it would get alone.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from servegen.server.imported import imported

_KEPT = 256
"""Kinds of calls that are remembered; those beyond are not merged, or params would fill the memory."""
_WIDTHLESS = frozenset("SU")
"""Kinds of numpy dtypes whose width says nothing about the values."""
_ANY = "O"


class Uniformity:
    """What answers to calls of one kind look like; used from several threads."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, Hashable | None] = {}

    def is_known(self, kind: Hashable) -> bool:
        """Whether a lone call of `kind` has been answered."""
        return kind in self._seen

    def may_merge(self, kind: Hashable) -> bool:
        """Whether nothing speaks against merging calls of `kind`."""
        seen = self._seen
        return seen[kind] is not None if kind in seen else len(seen) < _KEPT

    def learn(self, kind: Hashable, answer: Any) -> None:
        """Remember the answer to a lone call; two of different types end the merging of `kind`."""
        found = shape(answer)
        known = self._seen.get(kind)
        if known == found:
            return
        if kind in self._seen:
            self._seen[kind] = None
        elif len(self._seen) < _KEPT:
            self._seen[kind] = found

    def fits(self, kind: Hashable, answer: Any) -> bool:
        """Whether `answer`, to merged calls, has the type of those to lone ones."""
        return self._seen.get(kind) == shape(answer)


def shape(answer: Any) -> Hashable:
    """Type, dtypes and column names of `answer`: all that inference from other rows could change."""
    pandas = imported("pandas")
    if pandas is not None:
        if isinstance(answer, pandas.DataFrame):
            return ("frame", tuple(answer.columns), tuple(map(_dtype, answer.dtypes)))
        if isinstance(answer, pandas.Series):
            return ("series", answer.name, _dtype(answer.dtype))
    numpy = imported("numpy")
    if numpy is not None and isinstance(answer, numpy.ndarray):
        return ("array", _dtype(answer.dtype), answer.shape[1:])
    if type(answer) is list:
        return ("list", frozenset(map(type, answer)) - {type(None)})
    return type(answer).__qualname__


def _dtype(dtype: Any) -> str:
    kind: str = getattr(dtype, "kind", _ANY)
    if kind == _ANY:
        # Text or objects: every cell is what it is.
        return _ANY
    return kind if kind in _WIDTHLESS else str(dtype)
