"""Whether a model answers each row by itself, so that rows of several clients may share a call."""

from __future__ import annotations

import json
import math
from typing import Any

from servegen.server import batching
from servegen.server.app import App
from servegen.server.compare import differ
from servegen.server.inputs import Arrays, Call, Columns, Input
from servegen.server.predictors import Predictor

_TIMES = 2
"""A difference counts when it shows up so often: the first call of a model may differ from all others."""
_LARGEST = 2**31 - 2
"""Integers up to this size have neighbours in any type of column."""


def answers_row_by_row(app: App, predictor: Predictor, example: bytes) -> bool:
    """Whether rows of `example` are answered alike alone and among others; True if nobody can tell."""
    call = app.lanes[b"/invocations"].read(example)
    if call is None or batching.kind(call) is None:
        return True
    probe = _Probe(call, predictor)
    try:
        if any(probe.answers_alike() for _ in range(_TIMES)):
            return True
        # A model that answers at random says nothing about its rows.
        return not probe.is_repeatable()
    except Exception:  # noqa: BLE001  a model may raise anything at other numbers of rows than it was shown
        return False


class _Probe:
    def __init__(self, call: Call, predictor: Predictor) -> None:
        self._call = call
        self._predictor = predictor
        self._rows = batching.rows(call.input)

    def answers_alike(self) -> bool:
        data, count = self._call.input, self._rows
        alone = self._ask(data)
        if alone is None:
            return False
        whole = self._written(alone)
        among = self._among(data)
        if among is None or any(differ(self._written(answer), whole) for answer in among):
            return False
        if count == 1:
            return True
        rows = batching.split(alone, [1] * count) or ()
        for place in {0, count - 1}:
            single = self._ask(batching.part(data, place, place + 1))
            if single is None or differ(self._written(single), self._written(rows[place])):
                return False
        return True

    def is_repeatable(self) -> bool:
        first, second = (self._written(self._ask(self._call.input)) for _ in range(2))
        return differ(first, second) is None

    def _among(self, data: Input) -> list[Any] | None:
        """The answers to `data` before and after other rows; None when the answer is not one a row."""
        try:
            parts = self._ask_together([data, changed(data, step=3), changed(data, step=-1), data])
        except Exception:  # noqa: BLE001  the model may refuse values that nobody has sent
            parts = self._ask_together([data] * 3)
        return None if parts is None else [parts[0], parts[-1]]

    def _ask_together(self, inputs: list[Input]) -> list[Any] | None:
        answer = self._predictor.predict(batching.merge(inputs), self._call.params)
        return batching.split(answer, [self._rows] * len(inputs))

    def _ask(self, data: Input) -> Any:
        """The answer to `data`; None when it does not have a row for each."""
        rows = batching.rows(data)
        parts = batching.split(self._predictor.predict(data, self._call.params), [rows])
        return None if parts is None else parts[0]

    def _written(self, answer: Any) -> Any:
        return json.loads(self._call.encode(answer))


def changed(data: Input, *, step: int) -> Input:
    """As many rows as `data`, of its kind, with numbers moved up or down by at least `step`."""
    if isinstance(data, Columns):
        return data._replace(cells=tuple([_other(cell, step) for cell in column] for column in data.cells))
    if isinstance(data, Arrays):
        value = data.value
        if isinstance(value, dict):
            return Arrays(value={name: _other_array(array, step) for name, array in value.items()})
        return Arrays(value=_other_array(value, step))
    return data


def _other(cell: Any, step: int) -> Any:
    if isinstance(cell, bool):
        return not cell
    if isinstance(cell, int):
        return cell + step if abs(cell) <= _LARGEST else cell
    if isinstance(cell, float) and math.isfinite(cell):
        return cell + step * (1 + abs(cell) / 2)
    return cell


def _other_array(array: Any, step: int) -> Any:
    kind = array.dtype.kind
    if kind == "b":
        return ~array
    if kind == "f":
        return (array + step * (1 + abs(array) / 2)).astype(array.dtype)
    if kind in "iu":
        # Not added to: it would wrap around.
        return array ^ 1
    return array[::-1]
