"""An MLflow model, by `loader_module`, that answers with the object its input describes."""

import datetime
import json
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pydantic
from hypothesis import strategies as st


class Point(pydantic.BaseModel):
    """A pydantic model as an answer."""

    x: float
    label: str | None = None


def made(recipe: Any) -> Any:
    """The object of a recipe: JSON values are themselves, `[kind, argument]` is what the kind makes of it."""
    kind, argument = recipe
    return _KINDS[kind](argument)


_KINDS: dict[str, Any] = {
    "plain": lambda value: value,
    "list": lambda items: [made(item) for item in items],
    "tuple": lambda items: tuple(made(item) for item in items),
    "dict": lambda pairs: {made(key): made(item) for key, item in pairs},
    "frame": lambda pairs: pd.DataFrame({made(key): [made(cell) for cell in cells] for key, cells in pairs}),
    "series": lambda cells: pd.Series([made(cell) for cell in cells]),
    "named series": lambda cells: pd.Series([made(cell) for cell in cells], name="s"),
    "float": float,
    "bytes": lambda text: text.encode(),
    "bytearray": lambda text: bytearray(text.encode()),
    "date": datetime.date.fromisoformat,
    "datetime": datetime.datetime.fromisoformat,
    "time": datetime.time.fromisoformat,
    "timestamp": pd.Timestamp,
    "nat": lambda _: pd.NaT,
    "point": lambda x: Point(x=float(x)),
    "scalar": lambda pair: np.array(pair[1], dtype=pair[0])[()],
    "array": lambda pair: np.array(pair[1], dtype=pair[0]),
    "objects": lambda items: np.array([made(item) for item in items], dtype=object),
    "object": lambda item: np.array(made(item), dtype=object),
    "set": set,
    "decimal": Decimal,
    "complex": lambda pair: complex(*pair),
    "iterator": iter,
}

_PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
_FLOATS = st.sampled_from(["nan", "inf", "-inf", "0.1", "-0.0", "1e300"])
_MOMENTS = st.sampled_from(["2021-01-31", "2021-01-31T10:20:30", "2021-01-31T10:20:30.123456"])


def _of(kind: str, argument: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(st.just(kind), argument).map(list)


_NUMPY = st.one_of(
    st.tuples(st.sampled_from(["float16", "float32", "float64"]), _FLOATS.filter(lambda v: v != "1e300")),
    st.tuples(st.sampled_from(["int8", "uint8", "int64"]), st.integers(0, 100)),
    st.tuples(st.just("bool"), st.booleans()),
    st.tuples(st.sampled_from(["datetime64[ns]", "datetime64[D]", "datetime64[us]"]), _MOMENTS),
    st.tuples(st.sampled_from(["str", "S5", "O"]), st.sampled_from(["x", "abc"])),
)
_SCALARS = st.one_of(
    _of("plain", _PLAIN),
    _of("float", _FLOATS),
    _of("bytes", st.text(max_size=80)),
    _of("bytearray", st.text(max_size=3)),
    _of("date", st.just("2021-01-31")),
    _of("datetime", _MOMENTS),
    _of("time", st.just("10:20:30")),
    _of("timestamp", _MOMENTS),
    _of("nat", st.none()),
    _of("point", _FLOATS),
    _of("scalar", _NUMPY.map(list)),
)
_STRANGE = st.one_of(
    _of("set", st.just([1])),
    _of("decimal", st.just("1.5")),
    _of("complex", st.just([1, 2])),
    _of("iterator", st.just([1])),
)
_KEYS = _of("plain", st.text(max_size=3) | st.integers() | st.none() | st.booleans() | st.floats(0, 9)) | _of(
    "float", _FLOATS
)
_LABELS = _of("plain", st.text(max_size=3) | st.integers(0, 5))


def _level(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    items = st.lists(inner, max_size=3)
    return st.one_of(
        _of("list", items),
        _of("tuple", items),
        _of("dict", st.lists(st.tuples(_KEYS, inner).map(list), max_size=3)),
        _of("array", st.tuples(_NUMPY, st.sampled_from([(), (1,), (2,), (2, 2)])).map(_tiled)),
        _of("objects", items),
        _of("object", inner),
    )


def _tiled(parts: Any) -> list[Any]:
    (dtype, value), shape = parts
    for length in reversed(shape):
        value = [value] * length
    return [dtype, value]


_NESTED = st.recursive(_SCALARS, _level, max_leaves=6)
_CELLS = st.lists(_SCALARS, min_size=2, max_size=2)
recipes = st.one_of(
    _NESTED,
    _NESTED,
    _of("frame", st.lists(st.tuples(_LABELS, _CELLS).map(list), max_size=3)),
    _of("series", _CELLS),
    _of("named series", _CELLS),
    _STRANGE,
    _level(_STRANGE | _SCALARS),
)
"""Recipes of what models may answer, well or badly."""


class Answering:
    """Answers with what is asked for."""

    def predict(self, model_input: Any, params: Any = None) -> Any:
        text = model_input["prompt"] if "prompt" in model_input else str(model_input["recipe"])
        return made(json.loads(text))


def _load_pyfunc(path: str) -> Answering:
    return Answering()
