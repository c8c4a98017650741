"""What flows between the steps of a pipeline: columns as the client sends them, or a matrix of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from servegen.accelerate.graph import Graph, Unconvertible
from servegen.server.accelerated import Input
from servegen.server.signature import Column, Signature
from servegen.server.terms import Terms

MISSING = "\ue000missing"
"""Stands for a missing text inside a graph; a private character that no text should have."""
FLOAT32_LIMIT = 3.4028235677973366e38
"""The smallest number that becomes infinite as float32."""
SIGNATURE = "signature"
_WIDE = {"double": "float64", "float": "float32", "long": "int64", "integer": "int64", "boolean": "int64"}


@dataclass(frozen=True, kw_only=True)
class Cells:
    """One column, not yet a matrix."""

    name: str
    text: bool
    source: str
    """Input of the graph."""
    position: int
    """Its place in that input."""
    ref: str | None = None
    """Where a step has replaced it: (rows, 1)."""
    truth: bool = False
    """True or false: beside floats of 32 bits NumPy makes one of these of it, of a whole number a double."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns in order, as a DataFrame would have them."""

    columns: tuple[Cells, ...]

    @property
    def width(self) -> int:
        """How many columns there are."""
        return len(self.columns)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A number is `scale` times a cell of the request, plus `shift`."""

    name: str
    """Input of the graph."""
    position: int
    scale: float = 1.0
    shift: float = 0.0

    def cell(self, number: float) -> float:
        """The cell that becomes `number`, but for rounding."""
        return (number - self.shift) / self.scale


@dataclass(frozen=True, kw_only=True)
class Revealed:
    """What a model shows of the values that matter to it, for the rows of the proof."""

    trees: list[tuple[tuple[Origin | None, ...], Any]] = field(default_factory=list)
    """Trees, each with where its features come from."""
    spans: dict[tuple[str, int], list[tuple[float, float]]] = field(default_factory=dict)
    """By input and position: intervals in which cells usually are."""
    categories: dict[tuple[str, int], list[Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Numbers: (rows, width)."""

    ref: str
    width: int
    dtype: str = "float64"
    source: tuple[tuple[str, int], ...] = ()
    """For each column, the input and the place in it where it comes from unchanged; else empty."""
    origin: tuple[Origin | None, ...] = ()
    """For each column, the cell that it is a linear function of; else empty."""
    finite: bool = False
    """No input can make a number of it infinite or NaN."""


@dataclass
class Front:
    """The inputs of the graph, and what the original refuses there."""

    graph: Graph
    inputs: dict[str, Input] = field(default_factory=dict)
    revealed: Revealed = field(default_factory=Revealed)

    def table(self, signature: Signature, *, exact_integers: bool = False) -> Table | Matrix:
        """Inputs for all columns of `signature`, grouped by dtype; raises Unconvertible for nested types.

        `exact_integers`: whole numbers are read as such, where the original never makes doubles of them.
        """
        if signature.tensors is not None:
            return self._tensor(signature)
        columns = signature.columns
        if not columns:
            raise Unconvertible(SIGNATURE, "the model has none, so its columns are not known")
        kinds = {each.type for each in columns}
        if odd := sorted(kinds - {*_WIDE, "string"}):
            raise Unconvertible(SIGNATURE, f"columns of type {', '.join(odd)} have no form as arrays")
        numbers = kinds - {"string"}
        alone = len({_WIDE[kind] for kind in numbers}) == 1
        exact = exact_integers or alone
        cells: list[Cells] = []
        groups: dict[str, list[str]] = {}
        for position, column in enumerate(columns):
            name = _name(column, position)
            if column.type == "string":
                source = f"text_{position}"
                self._add(source, "str", (name,))
                cells.append(Cells(name=name, text=True, source=source, position=0))
                continue
            dtype = _WIDE[column.type]
            if dtype == "int64" and not exact:
                dtype = "float64"
            source = {"float64": "numbers", "float32": "floats", "int64": "integers"}[dtype]
            group = groups.setdefault(source, [])
            truth = column.type == "boolean"
            cells.append(Cells(name=name, text=False, source=source, position=len(group), truth=truth))
            group.append(name)
        for source, names in groups.items():
            dtype = {"numbers": "float64", "floats": "float32", "integers": "int64"}[source]
            self._add(source, dtype, tuple(names))
        return Table(columns=tuple(cells))

    def _tensor(self, signature: Signature) -> Matrix:
        tensors = signature.tensors or ()
        if len(tensors) != 1 or len(tensors[0].shape) != 2 or tensors[0].shape[1] < 1:
            raise Unconvertible(SIGNATURE, "it is no matrix with a fixed number of columns")
        (tensor,) = tensors
        if tensor.dtype not in ("float64", "float32", "int64", "int32"):
            raise Unconvertible(SIGNATURE, f"a tensor of {tensor.dtype} is no matrix of numbers")
        dtype = "int64" if tensor.dtype == "int32" else tensor.dtype
        width = tensor.shape[1]
        self.inputs["numbers"] = Input(name="numbers", dtype=dtype, columns=None, tensor=tensor.name)
        self.graph.input("numbers", dtype, [None, width])
        source = tuple(("numbers", position) for position in range(width))
        return Matrix(ref="numbers", width=width, dtype=dtype, source=source, origin=_origins(source))

    def _dtype(self, column: Cells) -> str:
        return "float64" if column.ref else self.inputs[column.source].dtype

    def _add(self, name: str, dtype: str, columns: tuple[str, ...]) -> None:
        self.inputs[name] = Input(name=name, dtype=dtype, columns=columns)
        self.graph.input(name, dtype, [None, len(columns)])

    def matrix(self, value: Table | Matrix, step: str) -> Matrix:
        """`value` as numbers; raises Unconvertible when there is text in it."""
        if isinstance(value, Matrix):
            return value
        if texts := [each.name for each in value.columns if each.text]:
            raise Unconvertible(step, f"takes the text column {texts[0]} for numbers")
        parts: list[str] = []
        dtypes: list[str] = []
        columns = list(value.columns)
        others = {self._dtype(each) for each in columns if each.ref or not each.truth}
        while columns:
            run = [columns.pop(0)]
            if run[0].ref is None:
                while columns and columns[0].ref is None and columns[0].source == run[0].source:
                    run.append(columns.pop(0))
            parts.append(self._run(run))
            dtypes.append(self._dtype(run[0]))
        dtype = dtypes[0] if len(set(dtypes)) == 1 else "float64"
        if others == {"float32"}:
            dtype = "float32"
        pairs = zip(parts, dtypes, strict=True)
        parts = [p if d == dtype else self.graph.cast(p, dtype) for p, d in pairs]
        source = tuple((each.source, each.position) for each in value.columns)
        return Matrix(
            ref=parts[0] if len(parts) == 1 else self.graph.op("Concat", *parts, axis=1),
            width=value.width,
            dtype=dtype,
            source=() if any(each.ref for each in value.columns) else source,
            origin=tuple(
                None if each.ref else Origin(name=each.source, position=each.position)
                for each in value.columns
            ),
        )

    def _run(self, run: Sequence[Cells]) -> str:
        if run[0].ref is not None:
            return run[0].ref
        positions = [each.position for each in run]
        whole = len(self.inputs[run[0].source].columns or ())
        if positions == list(range(whole)):
            return run[0].source
        return self.graph.take(run[0].source, positions)

    def double(self, value: Matrix) -> Matrix:
        """`value` in double precision."""
        if value.dtype == "float64":
            return value
        return replace(value, ref=self.graph.cast(value.ref, "float64"), dtype="float64")

    def exact(self, value: Matrix, step: str) -> Matrix:
        """`value` for arithmetic; raises Unconvertible where the original's is not in double precision."""
        if value.dtype == "float32":
            raise Unconvertible(step, "computes in single precision, since its columns are floats of 32 bits")
        return self.double(value)

    def single(self, value: Matrix) -> Matrix:
        """`value` rounded to float32 and held in double precision, where comparing is exact."""
        if value.dtype == "float32":
            return self.double(value)
        rounded = self.graph.cast(value.ref, "float32")
        return replace(value, ref=self.graph.cast(rounded, "float64"), dtype="float64")

    def check(self, value: Matrix, *, nan: bool = True, infinity: bool = True, single: bool = False) -> None:
        """Refuse what the original refuses at this point: NaN, infinity, numbers too large for float32."""
        if value.finite or value.dtype == "int64":
            return
        if not value.source:
            at = self.single(value) if single else self.double(value)
            if nan or infinity:
                self.graph.guard(at.ref, nan=nan)
            return
        for source, position in value.source:
            spec = self.inputs[source]
            self.inputs[source] = replace(
                spec,
                refuses_nan=_with(spec.refuses_nan, position) if nan else spec.refuses_nan,
                refuses_infinity=_with(spec.refuses_infinity, position)
                if infinity
                else spec.refuses_infinity,
            )
            if single and infinity and spec.dtype == "float64":
                if spec.refuses_infinity and spec.limit is None:
                    # Some columns of this input may be large, others not.
                    part = self.graph.take(source, [position])
                    self.graph.guard(self.single(Matrix(ref=part, width=1)).ref, nan=False)
                else:
                    self.inputs[source] = replace(self.inputs[source], limit=FLOAT32_LIMIT)

    def reveal_trees(self, value: Matrix, trees: Sequence[Any]) -> None:
        """Note trees that look at `value`."""
        origin = value.origin or (None,) * value.width
        self.revealed.trees.extend((origin, tree) for tree in trees)

    def reveal_spans(self, value: Matrix, low: Any, high: Any) -> None:
        """Note between which numbers the columns of `value` usually are."""
        lows, highs = np.broadcast_to(low, (value.width,)), np.broadcast_to(high, (value.width,))
        for origin, one, other in zip(value.origin, lows, highs, strict=False):
            if origin is not None and origin.scale:
                ends = sorted((origin.cell(float(one)), origin.cell(float(other))))
                key = (origin.name, origin.position)
                self.revealed.spans.setdefault(key, []).append((ends[0], ends[1]))

    def reveal_categories(self, column: Table | Matrix, known: Sequence[Any]) -> None:
        """Note the categories of one column."""
        if isinstance(column, Table):
            cells = column.columns[0]
            key = (cells.source, cells.position)
        elif column.source:
            key = column.source[0]
        else:
            return
        self.revealed.categories.setdefault(key, []).extend(known)

    def text(self, column: Cells) -> str:
        """The texts of one column: (rows, 1)."""
        return column.ref or column.source

    def accept_missing(self, column: Cells) -> None:
        """Let `column` lack values; MISSING stands for them."""
        spec = self.inputs[column.source]
        self.inputs[column.source] = replace(spec, missing={**spec.missing, column.name: MISSING})

    def allow(self, column: Cells, values: Sequence[Any]) -> None:
        """Refuse all but these values of `column`."""
        spec = self.inputs[column.source]
        self.inputs[column.source] = replace(spec, allowed={**spec.allowed, column.name: tuple(values)})

    def terms(self, column: Cells, terms: Terms) -> Matrix:
        """The counts of the terms of a text column."""
        if column.ref is not None:
            step = f"column {column.name}"
            raise Unconvertible(step, "its text is changed before it is taken apart")
        name = f"terms_{len(self.inputs)}"
        self.inputs[name] = Input(name=name, dtype="float64", columns=(column.name,), terms=terms)
        width = len(terms.vocabulary)
        self.graph.input(name, "float64", [None, width])
        return Matrix(ref=name, width=width, finite=True)

    def used(self, names: Sequence[str]) -> tuple[Input, ...]:
        """The inputs that are left in the graph."""
        return tuple(each for each in self.inputs.values() if each.name in names)


def concat(front: Front, parts: Sequence[Matrix]) -> Matrix:
    """Matrices side by side, in double precision unless all are in single."""
    parts = [part for part in parts if part.width]
    dtype = "float32" if {part.dtype for part in parts} == {"float32"} else "float64"
    if dtype == "float64":
        parts = [front.double(part) for part in parts]
    if len(parts) == 1:
        return parts[0]
    sources = [part.source for part in parts]
    return Matrix(
        ref=front.graph.op("Concat", *(part.ref for part in parts), axis=1),
        width=sum(part.width for part in parts),
        dtype=dtype,
        finite=all(part.finite for part in parts),
        source=tuple(pair for source in sources for pair in source) if all(sources) else (),
        origin=tuple(each for part in parts for each in (part.origin or (None,) * part.width)),
    )


def pick(front: Front, value: Table | Matrix, positions: Sequence[int]) -> Table | Matrix:
    """Some columns of `value`, in the order of `positions`."""
    if isinstance(value, Table):
        return Table(columns=tuple(value.columns[position] for position in positions))
    if list(positions) == list(range(value.width)):
        return value
    return replace(
        value,
        ref=front.graph.take(value.ref, positions),
        width=len(positions),
        source=tuple(value.source[position] for position in positions) if value.source else (),
        origin=tuple(value.origin[position] for position in positions) if value.origin else (),
    )


def as_matrix(value: Table | Matrix) -> Matrix:
    """`value`, which is a matrix."""
    assert isinstance(value, Matrix)  # noqa: S101 (picked from one)
    return value


def as_double(values: Any) -> Any:
    """Fitted numbers as float64."""
    return np.asarray(values, dtype=np.float64)


def scaled(value: Matrix, ref: str, scale: Any, shift: Any) -> Matrix:
    """`value` times `scale` plus `shift`, which `ref` is."""
    scales, shifts = np.broadcast_to(scale, (value.width,)), np.broadcast_to(shift, (value.width,))
    origin = tuple(
        None
        if each is None
        else replace(each, scale=each.scale * float(s), shift=each.shift * float(s) + float(t))
        for each, s, t in zip(value.origin, scales, shifts, strict=False)
    )
    return replace(value, ref=ref, dtype="float64", source=(), origin=origin)


def _origins(source: Sequence[tuple[str, int]]) -> tuple[Origin, ...]:
    return tuple(Origin(name=name, position=position) for name, position in source)


def _with(positions: tuple[int, ...], position: int) -> tuple[int, ...]:
    return tuple(sorted({*positions, position}))


def _name(column: Column, position: int) -> str:
    return column.name if column.name is not None else str(position)
