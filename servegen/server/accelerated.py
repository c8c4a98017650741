"""acceleration.json: how cells become the arrays of an ONNX graph, and its outputs the model's answer.

The proof of the conversion runs this very code, so that what it shows is true of the server.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from servegen.server.signature import Signature, Tensor
from servegen.server.terms import Terms

FORMAT = 1
ANSWER = "example_answer"
"""Key in acceleration.json: what the original answers to the model's example."""

_WORDS = 60
_NOTHING = {"string": "", "boolean": False, "double": 0.0, "float": 0.0}


class UnfitError(Exception):
    """The original model raises an error for these cells, so the accelerated one refuses them, too."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input of the graph: an array (rows, columns) of some columns of the signature.

    A column is named by its text in the signature; in a signature without names by its position.
    """

    name: str
    dtype: str
    """numpy's name, or `str` for text."""
    columns: tuple[str, ...] | None
    """None: the whole array of a tensor signature, whose input is called `tensor`."""
    tensor: str | None = None
    terms: Terms | None = None
    """The one column is text, and the array counts its terms: (rows, vocabulary), float64."""
    refuses_nan: tuple[int, ...] = ()
    """Positions in `columns` (of a tensor: in its last axis) at which the model raises for NaN."""
    refuses_infinity: tuple[int, ...] = ()
    limit: float | None = None
    """Numbers of at least this size count as infinite at the positions of `refuses_infinity`."""
    allowed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Columns of which the model refuses all but these values."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Text columns that may lack a value, and the text that stands for it; others refuse such rows."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """One output of the graph as a part of the answer."""

    name: str
    dtype: str
    """numpy's name of what the original returns; `object` for text."""
    shape: tuple[int, ...]
    """With -1 for the rows; what the graph gives is brought into it."""
    key: str | None = None
    """Column or key in the answer; None where the answer is the array itself."""
    classes: tuple[Any, ...] | None = None
    """The graph gives positions in these labels."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a server needs to know of an accelerated model beside MLmodel."""

    inputs: tuple[Input, ...]
    answer: str
    """`array`: the one output; `records`: an object a row; `arrays`: an object of arrays by key."""
    outputs: tuple[Output, ...]
    refuses_empty: bool = True
    """The original raises for no row at all."""
    guard: str | None = None
    """A further output of the graph, one number: NaN where the original raises half-way."""

    @property
    def fetches(self) -> list[str]:
        """Names of the graph's outputs that `result` wants, in order."""
        return [each.name for each in self.outputs] + ([self.guard] if self.guard else [])

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Form:
        """The form in the content of acceleration.json; raises ValueError for one of another version."""
        if value.get("format") != FORMAT:
            msg = f"acceleration.json has format {value.get('format')!r}, this server reads {FORMAT}"
            raise ValueError(msg)
        return cls(
            inputs=tuple(_input(each) for each in value["inputs"]),
            answer=value["answer"],
            outputs=tuple(_output(each) for each in value["outputs"]),
            refuses_empty=value["refuses_empty"],
            guard=value.get("guard"),
        )

    def json(self) -> dict[str, Any]:
        """What `parse` reads."""
        return {
            "format": FORMAT,
            "inputs": [
                {key: _plain(item) for key, item in vars(each).items() if item not in (None, (), {})}
                for each in self.inputs
            ],
            "answer": self.answer,
            "outputs": [
                {key: _plain(item) for key, item in vars(each).items() if item is not None}
                for each in self.outputs
            ],
            "refuses_empty": self.refuses_empty,
            "guard": self.guard,
        }

    @classmethod
    def load(cls, path: Any) -> Form:
        """The form in the file `path`."""
        return cls.parse(json.loads(path.read_text(encoding="utf-8")))

    def request(self, signature: Signature) -> bytes:
        """The body of a request of one row, made up of what signature and model allow."""
        if signature.tensors:
            arrays = {t.name: _zeros(t) for t in signature.tensors}
            return json.dumps({"inputs": arrays.get(None, arrays)}).encode()
        usual: dict[str, Any] = {}
        for each in self.inputs:
            if each.terms:
                # As long as a text that was worth training on.
                usual[each.columns[0] if each.columns else ""] = " ".join(each.terms.vocabulary[:_WORDS])
            for name, values in each.allowed.items():
                usual[name] = next((v for v in values if v is not None), None)
        names, row = [], []
        for place, column in enumerate(signature.columns or ()):
            names.append(column.name if column.name is not None else str(place))
            cell = usual.get(names[-1])
            row.append(_NOTHING.get(column.type, 0) if cell is None else cell)
        return json.dumps({"dataframe_split": {"columns": names, "data": [row]}}).encode()

    def feeds(self, cells: Mapping[str, Sequence[Any]], rows: int) -> dict[str, Any]:
        """The arrays for the graph, of cast cells by column; raises UnfitError where the model raises."""
        if rows == 0 and self.refuses_empty:
            msg = "the model takes at least one row"
            raise UnfitError(msg)
        try:
            return {each.name: _array(each, cells, rows) for each in self.inputs}
        except KeyError as exc:
            # An optional column, without which the original raises an error.
            msg = f"the model does not do without the column {exc.args[0]}"
            raise UnfitError(msg) from None

    def tensors(self, value: Any) -> dict[str, Any]:
        """The arrays for the graph, of the ndarray or dict of them that a tensor signature let pass."""
        feeds = {}
        for each in self.inputs:
            part = value[each.tensor] if isinstance(value, dict) else value
            if self.refuses_empty and len(part) == 0:
                msg = "the model takes at least one row"
                raise UnfitError(msg)
            array = np.asarray(part, dtype=each.dtype)
            _check(each, array)
            feeds[each.name] = array
        return feeds

    def result(self, values: Sequence[Any]) -> Any:
        """The model's answer, from the graph's outputs in the order of `fetches`."""
        if self.guard:
            *values, guard = values
            if math.isnan(guard):
                msg = "the model does not take a number of this size"
                raise UnfitError(msg)
        parts = [_part(each, value) for each, value in zip(self.outputs, values, strict=True)]
        if self.answer == "array":
            return parts[0]
        if self.answer == "arrays":
            return {each.key: part for each, part in zip(self.outputs, parts, strict=True)}
        keys = [each.key for each in self.outputs]
        columns = [part.tolist() for part in parts]
        return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]


def _zeros(tensor: Tensor) -> Any:
    shape = [max(1, length) for length in tensor.shape]
    return np.zeros(shape, dtype="str" if tensor.dtype == "bytes" else tensor.dtype).tolist()


def _array(spec: Input, cells: Mapping[str, Sequence[Any]], rows: int) -> Any:
    columns = spec.columns or ()
    for name, allowed in spec.allowed.items():
        known = cells[name]
        if spec.dtype == "float32":
            # The categories are of this type, too, and 0.1 is another number in it.
            known = np.array(known, dtype=spec.dtype).tolist()
        _check_allowed(name, known, allowed)
    if spec.terms is not None:
        return spec.terms.counts(_texts(spec, columns[0], cells[columns[0]]))
    if spec.dtype == "str":
        texts = [_texts(spec, name, cells[name]) for name in columns]
        return np.array(texts, dtype=object).reshape(len(columns), rows).T
    array = np.array([cells[name] for name in columns], dtype=spec.dtype).reshape(len(columns), rows).T
    _check(spec, array)
    return array


def _check(spec: Input, array: Any) -> None:
    if spec.refuses_nan or spec.refuses_infinity:
        if spec.limit is None and np.isfinite(array).all():
            return
        if spec.refuses_nan and np.isnan(array[..., list(spec.refuses_nan)]).any():
            msg = "the model does not take NaN"
            raise UnfitError(msg)
        if spec.refuses_infinity:
            part = np.abs(array[..., list(spec.refuses_infinity)])
            if (part >= (math.inf if spec.limit is None else spec.limit)).any():
                msg = "the model does not take infinity, nor numbers as large"
                raise UnfitError(msg)


def _check_allowed(name: str, cells: Sequence[Any], allowed: tuple[Any, ...]) -> None:
    known = frozenset(allowed)
    for cell in cells:
        # NaN is not equal to itself.
        if cell not in known and not (None in known and (cell is None or cell != cell)):
            msg = f"the model does not know a value of {name}"
            raise UnfitError(msg)


def _texts(spec: Input, name: str, cells: Sequence[Any]) -> list[str]:
    texts = []
    for cell in cells:
        if type(cell) is str:
            texts.append(cell)
        elif (cell is None or (type(cell) is float and math.isnan(cell))) and name in spec.missing:
            texts.append(spec.missing[name])
        else:
            msg = f"the model takes nothing but text in {name}"
            raise UnfitError(msg)
    return texts


def _part(spec: Output, value: Any) -> Any:
    if spec.classes is not None:
        labels = np.array(spec.classes, dtype=spec.dtype)
        return labels[value.reshape(spec.shape)]
    return value.reshape(spec.shape).astype(spec.dtype, copy=False)


def _input(value: Mapping[str, Any]) -> Input:
    columns, terms = value.get("columns"), value.get("terms")
    return Input(
        name=value["name"],
        dtype=value["dtype"],
        columns=None if columns is None else tuple(columns),
        tensor=value.get("tensor"),
        terms=None if terms is None else Terms.parse(terms),
        refuses_nan=tuple(value.get("refuses_nan", ())),
        refuses_infinity=tuple(value.get("refuses_infinity", ())),
        limit=value.get("limit"),
        allowed={name: tuple(values) for name, values in value.get("allowed", {}).items()},
        missing=value.get("missing", {}),
    )


def _output(value: Mapping[str, Any]) -> Output:
    classes = value.get("classes")
    return Output(
        name=value["name"],
        dtype=value["dtype"],
        shape=tuple(value["shape"]),
        key=value.get("key"),
        classes=None if classes is None else tuple(classes),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Terms):
        return value.json()
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
