"""Rows for the proof: what the model knows, what it has never seen, and what lies on its edges."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from servegen.accelerate.graph import Unconvertible
from servegen.accelerate.tables import SIGNATURE, Revealed
from servegen.accelerate.thresholds import Place, comparisons, neighbours
from servegen.server.accelerated import Form, Input
from servegen.server.casting import DTYPES
from servegen.server.signature import Signature

_EXTREMES = (
    *(0.0, -0.0, 1.0, -1.0, 1e-310, 1e-45, 1e10, -1e10, 1e30, -1e30, 1e38, -1e38),
    *(3.4028235677973362e38, -3.4028235677973362e38, 3.4028235677973366e38, 1e300, -1e300),
)
_WHOLE = (0, 1, -1, 255, 2**24 + 1, -(2**24) - 1, 2**31 - 1, -(2**31))
_LONG = (2**31, 2**53 + 1, 2**63 - 1, -(2**63))
_TEXTS = (
    *(
        "",
        " ",
        "a",
        "A",
        "Ä ß ﬁ İ",
        "naïve café",
        "日本語 テキスト",
        "🙂",
        "x" * 300,
        "1 22 333",
        "it's re-do",
    ),
    *("tab\tline\nend", "under_score", "ΑΒΓ αβγ", "e\u0301", "NaN", "nan", "None", "null"),
)
_TABLE_PLACES = {"float64": "double", "float32": "float", "int64": "long", "int32": "integer"}


@dataclass(frozen=True, kw_only=True)
class Block:
    """Rows of one kind, column by column in the order of the signature."""

    kind: str
    cells: tuple[Any, ...]
    """An array a column: numbers of the signature's type, or objects for text."""
    rows: int

    def some(self, positions: Any) -> Block:
        """The rows at `positions`."""
        picked = tuple(each[positions] for each in self.cells)
        return Block(kind=self.kind, cells=picked, rows=len(picked[0]))


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the requests, and what is known of its values."""

    name: str
    type: str
    """As in a signature."""
    spans: tuple[tuple[float, float], ...]
    categories: tuple[Any, ...]
    words: tuple[str, ...]
    examples: tuple[Any, ...]

    @property
    def is_text(self) -> bool:
        """Whether it holds text."""
        return self.type == "string"

    def array(self, values: Sequence[Any]) -> Any:
        """`values` in the column's type; what does not fit is brought into it."""
        if self.is_text:
            made = np.empty(len(values), dtype=object)
            made[:] = list(values)
            return made
        if self.type == "boolean":
            return np.array([bool(v) and not (isinstance(v, float) and math.isnan(v)) for v in values])
        if self.type in ("double", "float"):
            with np.errstate(over="ignore"):
                found = np.asarray(values, dtype=np.float64)
                return found.astype(np.float32) if self.type == "float" else found
        bits = 63 if self.type == "long" else 31
        low, high = -(2**bits), 2**bits - 1
        whole = [int(v) if math.isfinite(v) else 0 for v in values]
        return np.array([min(max(v, low), high) for v in whole], dtype=DTYPES[self.type])

    def draw(self, random: np.random.Generator, count: int) -> Any:
        """Usual values."""
        if self.is_text:
            return self.array([self._text(random) for _ in range(count)])
        if self.type == "boolean":
            return random.random(count) < 0.5
        known = np.array([c for c in self.categories if c is not None] + list(self.examples), dtype=float)
        spans = np.array(self.spans or ((-3.0, 3.0),))
        chosen = spans[random.integers(len(spans), size=count)]
        values = chosen[:, 0] + (chosen[:, 1] - chosen[:, 0]) * random.random(count)
        known = known[np.isfinite(known)]
        if len(known):
            share = 0.9 if self.categories else 0.2
            values = np.where(
                random.random(count) < share, known[random.integers(len(known), size=count)], values
            )
        if self.type in ("long", "integer"):
            values = np.round(values)
        return self.array(values)

    def _text(self, random: np.random.Generator) -> str:
        if self.words:
            count = int(random.integers(0, 12))
            words = [self.words[i] for i in random.integers(len(self.words), size=count)]
            if count and random.random() < 0.3:
                words[0] = words[0].upper()
            if random.random() < 0.2:
                words.append(str(_TEXTS[random.integers(len(_TEXTS))]))
            return str(random.choice([" ", ", ", "  ", "-"])).join(words)
        texts = [c for c in (*self.categories, *self.examples) if isinstance(c, str)] or list(_TEXTS)
        return texts[random.integers(len(texts))]

    def edges(self) -> list[Any]:
        """Values that are unusual."""
        if self.is_text:
            return [*self.categories, *_TEXTS, *(c.upper() for c in self.categories if c), None]
        if self.type == "boolean":
            return [False, True]
        whole = [c for c in self.categories if c is not None]
        unseen = [c + 1 for c in whole] + [c + 0.5 for c in whole]
        if self.type in ("long", "integer"):
            return [*whole, *unseen, *_WHOLE, *(_LONG if self.type == "long" else ())]
        ends = [end for span in self.spans for end in span]
        return [*whole, *unseen, *ends, *_EXTREMES, math.nan, math.inf, -math.inf]


def columns(signature: Signature, form: Form, revealed: Revealed, example: Sequence[Any]) -> list[Column]:
    """The columns of requests; `example` holds the cells of the model's example by column."""
    places = _places(form)
    points: dict[Place, list[float]] = {}
    for origins, tree in revealed.trees:
        inner = tree.left >= 0
        for feature, threshold in zip(tree.feature[inner], tree.threshold[inner], strict=True):
            origin = origins[int(feature)]
            if origin is not None and origin.scale and math.isfinite(threshold):
                cell = origin.cell(float(threshold))
                points.setdefault((origin.name, origin.position), []).append(cell)
    found = []
    for position, (name, kind) in enumerate(_named(signature)):
        place, spec = places.get(name, (None, None))
        own = sorted(set(points.get(place, ()))) if place else []
        spans = list(revealed.spans.get(place, ())) if place else []
        examples = example[position] if example else ()
        numbers = [float(v) for v in (*own, *examples) if isinstance(v, (int, float)) and math.isfinite(v)]
        if numbers and kind != "string":
            low, high = min(numbers), max(numbers)
            margin = (high - low) / 10 or max(1.0, abs(high))
            spans.append((low - margin, high + margin))
        terms = spec.terms if spec else None
        found.append(
            Column(
                name=name,
                type=kind,
                spans=tuple(spans),
                categories=tuple(dict.fromkeys(revealed.categories.get(place, ()))) if place else (),
                words=terms.vocabulary if terms else (),
                examples=tuple(v for v in examples if v is not None),
            )
        )
    return found


def _named(signature: Signature) -> list[tuple[str, str]]:
    if signature.columns is not None:
        return [(c.name if c.name is not None else str(i), c.type) for i, c in enumerate(signature.columns)]
    (tensor,) = signature.tensors or ()
    width = math.prod(tensor.shape[1:])
    if width < 1 or tensor.dtype not in _TABLE_PLACES:
        raise Unconvertible(SIGNATURE, f"rows of {tensor.dtype} {tensor.shape} cannot be made up")
    return [(str(position), _TABLE_PLACES[tensor.dtype]) for position in range(width)]


def _places(form: Form) -> Mapping[str, tuple[Place, Input]]:
    found: dict[str, tuple[Place, Input]] = {}
    for spec in form.inputs:
        if spec.columns is None:
            # A matrix as wide as nobody knows here; names are positions.
            found.update({str(i): ((spec.name, i), spec) for i in range(100_000)})
        for position, name in enumerate(spec.columns or ()):
            found[name] = ((spec.name, position), spec)
    return found


def blocks(
    known: Sequence[Column], form: Form, revealed: Revealed, example: Sequence[Any], *, count: int, seed: int
) -> Iterator[Block]:
    """Rows of every kind; `count` are drawn at random."""
    random = np.random.default_rng(seed)
    if example:
        cells = tuple(c.array(values) for c, values in zip(known, example, strict=True))
        yield Block(kind="example", cells=cells, rows=len(cells[0]))
    yield _drawn("ranges", known, random, min(count, 256))
    yield from _compared(known, form, revealed, random)
    yield _edges(known, random)
    yield _together(known, random)
    left = count - 256
    while left > 0:
        yield _drawn("ranges", known, random, min(left, 50_000))
        left -= 50_000


def _drawn(kind: str, known: Sequence[Column], random: np.random.Generator, count: int) -> Block:
    return Block(kind=kind, cells=tuple(c.draw(random, count) for c in known), rows=count)


def _compared(
    known: Sequence[Column], form: Form, revealed: Revealed, random: np.random.Generator
) -> Iterator[Block]:
    """Each comparison of each tree, with the compared cell at the threshold and beside it."""
    by_place = {place: name for name, (place, _) in _places(form).items()}
    position = {c.name: number for number, c in enumerate(known)}
    found = comparisons(revealed.trees)
    while part := list(itertools.islice(found, 2_000)):
        sets: list[tuple[int, int, float]] = []
        rows = 0
        for fixed, place, threshold in part:
            compared = position[by_place[place]]
            others = [(position[by_place[p]], value) for p, value in fixed.items()]
            whole = known[compared].type not in ("double", "float")
            values = neighbours(threshold)
            if whole:
                # Large ones are rounded, once or twice: each decides at another number.
                values = sorted({math.floor(value) + more for value in values for more in (0, 1)})
            for value in values:
                sets += [(rows, other, cell) for other, cell in others]
                sets.append((rows, compared, value))
                rows += 1
        block = _drawn("thresholds", known, random, rows)
        for number, column in enumerate(known):
            own = [(row, value) for row, place_, value in sets if place_ == number]
            if own and not column.is_text:
                at = [row for row, _ in own]
                block.cells[number][at] = column.array([value for _, value in own])
        yield block


def _edges(known: Sequence[Column], random: np.random.Generator) -> Block:
    """Usual rows in which one cell is unusual."""
    wanted = [(number, value) for number, column in enumerate(known) for value in column.edges()]
    block = _drawn("edges", known, random, len(wanted))
    for row, (number, value) in enumerate(wanted):
        block.cells[number][row : row + 1] = known[number].array([value])
    return block


def _together(known: Sequence[Column], random: np.random.Generator) -> Block:
    """Rows in which all cells are unusual."""
    count = 64
    cells = []
    for column in known:
        values = column.edges()
        chosen = [values[i] for i in random.integers(len(values), size=count)]
        cells.append(column.array(chosen))
    return Block(kind="all edges", cells=tuple(cells), rows=count)
