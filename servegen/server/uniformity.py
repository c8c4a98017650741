"""Whether each of several merged calls gets the answer that it would have had alone.

Python's libraries infer one type from all values: beside a 2.5 they make 3.0 of a 3, beside text "3", and
beside a 3 they make 1 of a True. So an answer to merged calls must look like those to lone ones, and a value
that inference could have changed counts only once a lone answer had one like it: then nothing is inferred.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from servegen.server import batching
from servegen.server.imported import imported

_KEPT = 4096
"""Kinds of calls that are remembered; the oldest is forgotten first and learned again."""
_WHOLE, _MISSING, _FLAG, _TEXT = "a whole number", "missing", "0 or 1", "text of a number"
"""Values that may have been of another type before others joined them: 3, None, True, 3."""
_SHORT, _ITEMS = 64, "items"
"""Items of an inner list that may be a row, each inferred with its column; in longer ones all are alike."""
Place = tuple[Hashable, ...]
Doubt = tuple[Hashable, str]
"""Where in an answer such values are, and what they are."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What an answer looks like."""

    shape: Hashable
    """Types, dtypes, columns and keys."""
    doubts: frozenset[Doubt]
    """Places all of whose values inference could have changed."""
    rows: frozenset[int] = frozenset()
    """Rows of the lone calls that were answered so."""


class Uniformity:
    """What answers to lone calls look like, by kind of call; used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By hash: a kind holds names and params of clients.
        self._known: dict[int, Look | None] = {}

    def is_known(self, kind: Hashable) -> bool:
        """Whether a lone call of `kind` has been answered."""
        return hash(kind) in self._known

    def may_merge(self, kind: Hashable) -> bool:
        """Whether nothing speaks against merging calls of `kind`."""
        return self._known.get(hash(kind), _NOTHING) is not None

    def learn(self, kind: Hashable, answer: Any, rows: int) -> None:
        """Remember the answer to a lone call of `rows` rows; one that does not fit ends merging its kind."""
        key = hash(kind)
        if not self.may_merge(kind):
            return
        found = _look(answer, rows)
        with self._lock:
            known = self._known.get(key, found)
            if known is not None:
                same = found is not None and found.shape == known.shape
                known = _joined(known, found) if found and same else None
            if key not in self._known and len(self._known) >= _KEPT:
                del self._known[next(iter(self._known))]
            self._known[key] = known

    def alike(self, kind: Hashable, answer: Any, parts: Sequence[Any]) -> list[bool]:
        """For each part of an `answer` to merged calls, whether it is what a lone answer would have been."""
        known = self._known.get(hash(kind))
        # A model that always answers three items has a row for each of three only by chance.
        if known is None or known.rows == {len(answer)}:
            return [False] * len(parts)
        if type(answer) is list:
            looks = [look(part) for part in parts]
            return [each.shape == known.shape and each.doubts <= known.doubts for each in looks]
        shape, columns = _arrays(answer)
        if shape != known.shape:
            return [False] * len(parts)
        fine = [True] * len(parts)
        for place, array in columns:
            for number, doubts in enumerate(_doubts(place, array, [len(part) for part in parts])):
                fine[number] &= doubts <= known.doubts
        return fine


def look(answer: Any) -> Look:
    """What `answer`, which has a row for each row asked, looks like."""
    if type(answer) is list:
        types: set[Hashable] = set()
        doubts: dict[Hashable, str] = {}
        for item in answer:
            _walk(item, (), (), types, doubts)
        return Look(shape=frozenset(types), doubts=_true(doubts))
    shape, columns = _arrays(answer)
    found = [_doubts(place, array, [len(array)])[0] for place, array in columns]
    return Look(shape=shape, doubts=frozenset().union(*found))


def _look(answer: Any, rows: int) -> Look | None:
    """What the answer to a lone call looks like; None when it cannot be taken apart."""
    try:
        parts = batching.split(answer, [rows])
        return None if parts is None else replace(look(answer), rows=frozenset((rows,)))
    except Exception:  # noqa: BLE001  a model may return anything; this one is not merged
        return None


def _joined(one: Look, other: Look) -> Look:
    # Two are enough to differ from any number.
    rows = one.rows if len(one.rows) > 1 else one.rows | other.rows
    if other.doubts <= one.doubts and rows == one.rows:
        return one
    return Look(shape=one.shape, doubts=one.doubts | other.doubts, rows=rows)


_NOTHING = Look(shape=None, doubts=frozenset())


def _arrays(answer: Any) -> tuple[Hashable, list[tuple[Hashable, Any]]]:
    """Shape of a frame, series or array, and by their places the arrays in it whose dtype numpy knows."""
    shape: Hashable
    pandas = imported("pandas")
    if pandas is not None and isinstance(answer, pandas.DataFrame):
        shape = ("frame", tuple(answer.columns), tuple(map(_dtype, answer.dtypes)))
        dtypes = list(answer.dtypes)
        if len(set(dtypes)) == 1 and _is_numpys(dtypes[0]):
            return shape, list(enumerate(answer.to_numpy().T))
        return shape, [(n, answer.iloc[:, n].to_numpy()) for n, t in enumerate(dtypes) if _is_numpys(t)]
    if pandas is not None and isinstance(answer, pandas.Series):
        shape = ("series", answer.name, _dtype(answer.dtype))
        return shape, [(0, answer.to_numpy())] if _is_numpys(answer.dtype) else []
    return ("array", _dtype(answer.dtype), answer.shape[1:]), [(0, answer)]


def _dtype(dtype: Any) -> str:
    kind: str = getattr(dtype, "kind", "O")
    # Of text the width says nothing, and objects are what they are.
    return kind if kind in "OSU" else str(dtype)


def _is_numpys(dtype: Any) -> bool:
    return type(dtype).__module__.startswith("numpy")


def _doubts(place: Hashable, array: Any, sizes: Sequence[int]) -> list[frozenset[Doubt]]:
    """For each part of `array`, of `sizes` rows, what inference could have changed in it."""
    import numpy as np

    kind = array.dtype.kind
    nothing: frozenset[Doubt] = frozenset()
    if kind in "OU":
        found, start = [], 0
        for size in sizes:
            doubts: dict[Hashable, str] = {}
            for item in array[start : start + size].tolist():
                _walk(item, (), (place,), set(), doubts)
            found.append(_true(doubts))
            start += size
        return found
    if kind not in "fiu" or not array.size:
        return [nothing] * len(sizes)
    flat = array.reshape(len(array), -1)
    if kind == "f":
        missing = np.isnan(flat)
        cells, what = missing | (np.isfinite(flat) & (flat == np.floor(flat))), _WHOLE
    else:
        missing, cells, what = None, (flat == 0) | (flat == 1), _FLAG
    changed = cells.all(axis=1)
    if not changed.any():
        return [nothing] * len(sizes)
    found, start = [], 0
    for size in sizes:
        end = start + size
        doubt = what if changed[start:end].all() else ""
        if doubt and missing is not None and missing[start:end].all():
            doubt = _MISSING
        found.append(frozenset(((place, doubt),)) if doubt else nothing)
        start = end
    return found


def _walk(value: Any, place: Place, spot: Place, types: set[Hashable], doubts: dict[Hashable, str]) -> None:
    """Collect types by `place` and doubts by `spot` of `value`, which may be one of Python's containers.

    Items of one type are in one place, since lists may differ in length, and each in a spot of its own.
    """
    kind = type(value)
    if kind is dict:
        types.add((place, tuple(value)))
        for key, item in value.items():
            _walk(item, (*place, key), (*spot, key), types, doubts)
    elif kind is list or kind is tuple:
        kinds = set(map(type, value))
        types.add((place, kind))
        if len(value) > _SHORT and kinds == {float}:
            types.add(((*place, _ITEMS), float))
            _note((*spot, _ITEMS), _WHOLE if all(map(float.is_integer, value)) else "", doubts)
            return
        for number, item in enumerate(value):
            inner = (*place, _ITEMS if len(kinds) == 1 else number)
            _walk(item, inner, (*spot, number if len(value) <= _SHORT else _ITEMS), types, doubts)
    elif getattr(value, "ndim", 0):
        types.add((place, "array", _dtype(value.dtype)))
        (found,) = _doubts(spot, value, [len(value)])
        for _, what in found or ((spot, ""),):
            _note(spot, what, doubts)
    else:
        types.add((place, kind))
        _note(spot, _doubt(value), doubts)


def _note(place: Hashable, what: str, doubts: dict[Hashable, str]) -> None:
    # One value that inference has left alone vouches for the others of its place.
    doubts[place] = what if doubts.get(place, what) == what else ""


def _true(doubts: dict[Hashable, str]) -> frozenset[Doubt]:
    return frozenset((place, what) for place, what in doubts.items() if what)


def _doubt(value: Any) -> str:
    if hasattr(value, "dtype"):
        value = value.item()
    if isinstance(value, float):
        return _MISSING if value != value else (_WHOLE if value.is_integer() else "")
    if isinstance(value, int) and not isinstance(value, bool):
        return _FLAG if value in (0, 1) else ""
    return _TEXT if isinstance(value, str) and _is_number(value) else ""


def _is_number(text: str) -> bool:
    if text in ("True", "False", "None"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True
