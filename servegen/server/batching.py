"""Which calls of the model may be merged into one, how, and how its answer is taken apart again.

Pure: the clock, the queue and the threads are in dispatch.py.
"""

from __future__ import annotations

import datetime
from collections.abc import Hashable, Mapping, Sequence
from itertools import chain
from typing import Any

from servegen.server.imported import imported
from servegen.server.inputs import Arrays, Call, Columns, Input

_TEXT = {str}
_SCALARS = {int, float, bool, type(None), datetime.date, datetime.datetime}
_SIZED = {str, list}
_SMALL = 1000
"""Characters or items of the params of calls that are merged; no two clients send the same large ones."""


def kind(call: Call) -> Hashable | None:
    """What calls of one batch have in common; None for a call that runs alone.

    Columns must agree in names, order and dtypes, arrays in dtype and trailing shape; both in their params.
    """
    data = call.input
    if type(data) is Columns:
        found = _columns_kind(data)
    elif type(data) is Arrays:
        found = _arrays_kind(data.value)
    else:
        return None
    if found is None or call.params is None:
        return found
    # As text: 1, 1.0 and True are equal, so are 0.0 and -0.0, and so are dicts in another order.
    return (found, repr(call.params)) if _is_small(call.params) else None


def _is_small(params: Mapping[str, Any]) -> bool:
    return all(type(v) in _SCALARS or (type(v) in _SIZED and len(v) <= _SMALL) for v in params.values())


def rows(data: Input) -> int:
    """How many rows `data`, which has a kind, adds to a batch."""
    if isinstance(data, Columns):
        return data.rows
    if isinstance(data, Arrays):
        value = data.value
        return len(next(iter(value.values())) if isinstance(value, dict) else value)
    return 1


def merge(inputs: Sequence[Input]) -> Input:
    """The rows of `inputs`, all of one kind, as one input in the same order."""
    first = inputs[0]
    if isinstance(first, Columns):
        parts = [data.cells for data in inputs if isinstance(data, Columns)]
        return Columns(
            names=first.names,
            dtypes=first.dtypes,
            cells=tuple(list(chain.from_iterable(column)) for column in zip(*parts, strict=True)),
            rows=sum(map(rows, inputs)),
        )
    import numpy as np

    values = [data.value for data in inputs if isinstance(data, Arrays)]
    if isinstance(values[0], dict):
        return Arrays(value={name: np.concatenate([v[name] for v in values]) for name in values[0]})
    return Arrays(value=np.concatenate(values))


def part(data: Input, start: int, end: int) -> Input:
    """The rows from `start` to before `end` of `data`, which has a kind."""
    if isinstance(data, Columns):
        cells = tuple(column[start:end] for column in data.cells)
        return data._replace(cells=cells, rows=end - start, labels=None)
    if isinstance(data, Arrays):
        value = data.value
        if isinstance(value, dict):
            return Arrays(value={name: array[start:end] for name, array in value.items()})
        return Arrays(value=value[start:end])
    return data


def split(answer: Any, sizes: Sequence[int]) -> list[Any] | None:
    """`answer` cut into parts of `sizes` rows; None when it does not have a row for each row asked."""
    total = sum(sizes)
    pandas = imported("pandas")
    if pandas is not None and isinstance(answer, (pandas.DataFrame, pandas.Series)):
        if len(answer) != total:
            return None
        return [answer.iloc[start:end] for start, end in _bounds(sizes)]
    numpy = imported("numpy")
    is_array = numpy is not None and isinstance(answer, numpy.ndarray) and answer.ndim > 0
    if (is_array or type(answer) is list) and len(answer) == total:
        return [answer[start:end] for start, end in _bounds(sizes)]
    return None


def _bounds(sizes: Sequence[int]) -> list[tuple[int, int]]:
    bounds, start = [], 0
    for size in sizes:
        bounds.append((start, start + size))
        start += size
    return bounds


def _columns_kind(data: Columns) -> Hashable | None:
    if not data.rows or not (data.labels is None or list(data.labels) == list(range(data.rows))):
        # Row labels are the client's own; a model might look at them.
        return None
    if "text" in data.dtypes:
        for dtype, cells in zip(data.dtypes, data.cells, strict=True):
            # pandas infers the dtype from all cells: a number among them would change it for other clients.
            if dtype == "text" and set(map(type, cells)) != _TEXT:
                return None
    return data.names, data.dtypes


def _arrays_kind(value: Any) -> Hashable | None:
    if not isinstance(value, dict):
        return (value.dtype.str, value.shape[1:]) if value.ndim and len(value) else None
    arrays = list(value.values())
    if not arrays or not all(a.ndim and len(a) == len(arrays[0]) > 0 for a in arrays):
        return None
    return tuple((name, a.dtype.str, a.shape[1:]) for name, a in value.items())
