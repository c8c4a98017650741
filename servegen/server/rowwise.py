"""Whether a model answers each row by itself, so that rows of several clients may share a call."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from servegen.server import batching
from servegen.server.app import App
from servegen.server.inputs import Arrays, Call, Columns, Input
from servegen.server.predictors import Predictor
from servegen.server.warmup import StartError

_TIMES = 2
"""A difference counts when it shows up so often: the first call of a model may differ from all others."""
_NEARLY = 1e-4
"""Of the largest number of a column: sums in another order differ, those of float32 by 1e-6 and more."""


def answers_row_by_row(app: App, predictor: Predictor, example: bytes) -> bool:
    """Whether rows of `example` are answered alike alone and among others; True if nobody can tell.

    Raises StartError when the model does not answer `example` any more after that.
    """
    call = app.lanes[b"/invocations"].read(example)
    if call is None or batching.kind(call) is None:
        return True
    probe = _Probe(call, predictor)
    try:
        # A model that answers at random says nothing about its rows.
        found = any(probe.answers_alike() for _ in range(_TIMES)) or not probe.is_repeatable()
    except Exception:  # noqa: BLE001  a model may raise anything at other numbers of rows than it was shown
        found = False
    try:
        probe.answers()
    except Exception as exc:
        msg = (
            "the model stopped answering when it was asked for other rows than its example; "
            "SERVEGEN_BATCH_MAX_ROWS=1 asks for none"
        )
        raise StartError(msg) from exc
    return found


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
        if among is None or any(not alike(self._written(answer), whole) for answer in among):
            return False
        if count == 1:
            return True
        rows = batching.split(alone, [1] * count) or ()
        for place in {0, count - 1}:
            single = self._ask(batching.part(data, place, place + 1))
            if single is None or not alike(self._written(single), self._written(rows[place])):
                return False
        return True

    def answers(self) -> None:
        """Ask for the example once more; raises what the model raises."""
        self._predictor.predict(self._call.input, self._call.params)

    def is_repeatable(self) -> bool:
        first, second = (self._written(self._ask(self._call.input)) for _ in range(2))
        return alike(first, second)

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


def alike(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same but for rounding, each number beside those of its column."""
    scales: dict[tuple[Any, ...], float] = {}
    for place, number in _numbers(other, ()):
        scales[place] = max(abs(number), scales.get(place, 0.0))
    return _alike(one, other, (), scales)


def _alike(one: Any, other: Any, place: tuple[Any, ...], scales: dict[tuple[Any, ...], float]) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(
            _alike(value, other[key], (*place, key), scales) for key, value in one.items()
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(
            _alike(a, b, (*place, list), scales) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, float):
        return abs(one - float(other)) <= _NEARLY * scales[place]
    return bool(one == other)


def _numbers(value: Any, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], float]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, (*place, key))
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item, (*place, list))
    elif isinstance(value, float):
        yield place, value


def changed(data: Input, *, step: int) -> Input:
    """As many rows as `data`, of its kind: fractions moved by at least `step`, whole numbers halved.

    A whole number may count something or name a row of a table; one that is too large could break the model.
    """
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
        return cell // 2
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
        return array // 2
    return array[::-1]
