"""Whether each of several merged calls gets the answer that it would have had alone.

Python's libraries infer one type from all values: beside a 2.5 they make 3.0 of a 3, beside text "3", and
beside a 3 they make 1 of a True. So an answer to merged calls must look like those to lone ones, and a value
that inference could have changed counts only once a lone answer had one like it: then nothing is inferred.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from servegen.server import batching
from servegen.server.imported import imported

_KEPT = 4096
"""Kinds of calls that are remembered; the oldest is forgotten first and learned again."""
_CHANGED = {"f": "a whole number", "i": "0 or 1", "u": "0 or 1", "U": "text of a number"}
"""By kind of numpy dtype: values that may have been of a simpler type before others joined them."""
Doubt = tuple[Hashable, str]
"""Where in an answer such values are, and what they are."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What an answer looks like."""

    shape: Hashable
    """Types, dtypes, columns and keys."""
    doubts: frozenset[Doubt]
    """Places all of whose values inference could have changed."""


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
        parts = batching.split(answer, [rows])
        found = None if parts is None else look(answer)
        with self._lock:
            known = self._known.get(key, found)
            if known is not None:
                same = found is not None and found.shape == known.shape
                known = (
                    Look(shape=known.shape, doubts=known.doubts | found.doubts) if found and same else None
                )
            if key not in self._known and len(self._known) >= _KEPT:
                del self._known[next(iter(self._known))]
            self._known[key] = known

    def alike(self, kind: Hashable, answer: Any, parts: Sequence[Any]) -> list[bool]:
        """For each part of an `answer` to merged calls, whether it is what a lone answer would have been."""
        known = self._known.get(hash(kind))
        if known is None:
            return [False] * len(parts)
        if type(answer) is list:
            looks = [look(part) for part in parts]
            return [each.shape == known.shape and each.doubts <= known.doubts for each in looks]
        shape, columns = _arrays(answer)
        if shape != known.shape:
            return [False] * len(parts)
        fine = [True] * len(parts)
        for place, array in columns:
            what = _CHANGED.get(array.dtype.kind)
            if what is None or (place, what) in known.doubts:
                continue
            changed = _changed(array)
            if not changed.any():
                continue
            start = 0
            for number, part in enumerate(parts):
                end = start + len(part)
                fine[number] &= not changed[start:end].all()
                start = end
        return fine


def look(answer: Any) -> Look:
    """What `answer`, which has a row for each row asked, looks like."""
    if type(answer) is list:
        types: set[Hashable] = set()
        doubts: dict[Hashable, str] = {}
        _walk(answer, (), types, doubts)
        return Look(shape=frozenset(types), doubts=frozenset((p, what) for p, what in doubts.items() if what))
    shape, columns = _arrays(answer)
    found = [
        (place, what)
        for place, array in columns
        # Mostly the first value settles it.
        if (what := _CHANGED.get(array.dtype.kind)) and _doubt(array.flat[0]) and _changed(array).all()
    ]
    return Look(shape=shape, doubts=frozenset(found))


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


def _changed(array: Any) -> Any:
    """For each row of `array`, as an array of booleans: whether inference could have changed all of it."""
    import numpy as np

    kind = array.dtype.kind
    if kind == "f":
        cells = np.isfinite(array) & (array == np.floor(array))
    elif kind in "iu":
        cells = (array == 0) | (array == 1)
    else:
        cells = np.array([_is_number(text) for text in array.ravel().tolist()], dtype=bool).reshape(
            array.shape
        )
    return cells.reshape(len(array), -1).all(axis=1)


def _walk(value: Any, place: tuple[Hashable, ...], types: set[Hashable], doubts: dict[Hashable, str]) -> None:
    """Collect types and doubts of `value`, which is of Python's own containers."""
    kind = type(value)
    if kind is dict:
        types.add((place, tuple(value)))
        for key, item in value.items():
            _walk(item, (*place, key), types, doubts)
    elif kind is list or kind is tuple:
        inner = (*place, kind)
        if set(map(type, value)) == {float}:
            # A list of thousands of fractions is told by its first.
            types.add((inner, float))
            _note(inner, "a whole number" if all(map(float.is_integer, value)) else "", doubts)
            return
        for item in value:
            _walk(item, inner, types, doubts)
    else:
        types.add((place, kind))
        _note(place, _doubt(value), doubts)


def _note(place: Hashable, what: str, doubts: dict[Hashable, str]) -> None:
    # One value that inference has left alone vouches for the others of its place.
    doubts[place] = what if doubts.get(place, what) == what else ""


def _doubt(value: Any) -> str:
    if hasattr(value, "dtype") and not getattr(value, "shape", ()):
        value = value.item()
    if isinstance(value, float):
        return "a whole number" if value.is_integer() else ""
    if isinstance(value, int) and not isinstance(value, bool):
        return "0 or 1" if value in (0, 1) else ""
    return "text of a number" if isinstance(value, str) and _is_number(value) else ""


def _is_number(text: str) -> bool:
    if text in ("True", "False", "None"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True
