"""The original and the converted model, row by row: equal answers and equal refusals, or a counterexample."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from servegen.accelerate.convert import Loaded, versions
from servegen.accelerate.graph import Unconvertible
from servegen.accelerate.rows import Block, blocks, columns
from servegen.accelerate.tables import Revealed
from servegen.server import encoding
from servegen.server.accelerated import Form, UnfitError
from servegen.server.casting import DTYPES
from servegen.server.inputs import Columns
from servegen.values.acceleration import Converted, Proof, Refused, Tolerance

_CHUNK = 20_000
_RUNTIME = "onnxruntime"
_FLOOR = 1e-6
"""Numbers this much smaller than usual ones are compared as if they were this large."""


@dataclass(frozen=True, kw_only=True)
class ProofOptions:
    """How much is compared."""

    count: int = 5_000
    """Rows drawn at random."""
    seed: int = 0
    tolerance: Tolerance = field(default_factory=Tolerance)
    alone: int = 24
    """Rows of a kind that are also asked one by one."""
    calls: int = 200
    """One-row calls whose time is measured; 0 for none."""


class _Failed:
    """Stands for an answer: the call raised an error."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class CounterexampleError(Exception):
    """The two models do not answer these rows alike."""

    def __init__(self, block: Block, original: Any, accelerated: Any, reason: str) -> None:
        super().__init__(reason)
        self.block, self.original, self.accelerated, self.reason = block, original, accelerated, reason


def prove(loaded: Loaded, converted: Converted, revealed: Revealed, options: ProofOptions) -> Proof | Refused:
    """What comparing both models shows."""
    both = Pair(loaded, converted, options.tolerance.relative)
    example = example_cells(loaded)
    known = columns(loaded.signature, both.form, revealed, example)
    rows: Counter[str] = Counter()
    try:
        for block in blocks(known, both.form, revealed, example, count=options.count, seed=options.seed):
            both.compare(block)
            rows[block.kind] += block.rows
            if rows["alone"] < 3 * options.alone and not block.kind.startswith("all"):
                rows["alone"] += both.alone(block, options.alone)
            if block.kind == "edges":
                rows["alone"] += both.lacking(block)
        rows["permuted"] += both.permuted(known, options.seed)
        rows["without a column"] += both.without(known, options.seed)
        both.no_row(known)
    except CounterexampleError as found:
        return Refused(
            step="proof",
            reason=f"{found.reason} ({found.block.kind})",
            counterexample=both.body(found.block),
            original=_shown(found.original),
            accelerated=_shown(found.accelerated),
        )
    if not both.answered:
        return Refused(step="proof", reason="the original refuses every row that was tried")
    times = both.times(known, options) if options.calls else (None, None)
    return Proof(
        rows={kind: number for kind, number in rows.items() if number},
        worst=both.worst,
        tolerance=options.tolerance.relative,
        seed=options.seed,
        libraries={**converted.libraries, **versions(("numpy", "onnxruntime", "mlflow", "pandas"))},
        refused=dict(both.refused),
        original_seconds=times[0],
        accelerated_seconds=times[1],
    )


class Pair:
    """The two models and what comparing them has shown so far."""

    def __init__(self, loaded: Loaded, converted: Converted, tolerance: float) -> None:
        self._loaded = loaded
        self._session = session(converted.model)
        self._tolerance = tolerance
        self.form = Form.parse(json.loads(json.dumps(converted.form)))
        self.worst = 0.0
        self.answered = 0
        self.refused: Counter[str] = Counter()
        self._usual: dict[int, float] = {}

    def compare(self, block: Block) -> None:
        """Raise CounterexampleError unless all rows of `block` have equal answers in both."""
        for start in range(0, block.rows, _CHUNK):
            self._compare(block.some(np.arange(start, min(start + _CHUNK, block.rows))))

    def _compare(self, block: Block) -> None:
        ours = self.accelerated(block)
        if isinstance(ours, _Failed) and block.rows > 1:
            self._sorted(block)
            return
        theirs = self.original(block)
        if isinstance(theirs, _Failed) and block.rows > 1:
            self._halves(block)
            return
        if isinstance(theirs, _Failed) and isinstance(ours, _Failed):
            self.refused[block.kind] += 1
            return
        if isinstance(theirs, _Failed):
            reason = "the original raises an error, the converted model answers"
            raise CounterexampleError(block, theirs, ours, reason)
        if isinstance(ours, _Failed):
            reason = "the original answers, the converted model refuses"
            raise CounterexampleError(block, theirs, ours, reason)
        self._same(block, theirs, ours)
        self.answered += block.rows

    def _sorted(self, block: Block) -> None:
        """Compare the rows that are refused one by one, and the others together."""
        single = [block.some(np.array([row])) for row in range(block.rows)]
        refused = [isinstance(self.accelerated(row), _Failed) for row in single]
        for row, is_refused in zip(single, refused, strict=True):
            if is_refused:
                self._compare(row)
        taken = np.flatnonzero(~np.array(refused))
        if 0 < len(taken) < block.rows:
            self._compare(block.some(taken))
        elif len(taken):
            self._halves(block)

    def _halves(self, block: Block) -> None:
        middle = block.rows // 2
        self._compare(block.some(np.arange(middle)))
        self._compare(block.some(np.arange(middle, block.rows)))

    def alone(self, block: Block, count: int) -> int:
        """Ask single rows of `block`; how many."""
        count = min(block.rows, count)
        for row in np.linspace(0, block.rows - 1, count).astype(int):
            self._compare(block.some(np.array([row])))
        return count

    def lacking(self, block: Block) -> int:
        """Ask a single row of `block` without a text, of each column that has one; how many.

        pandas may keep a lone None as it is, and make NaN of one that is among texts.
        """
        texts = [column.tolist() for column in block.cells if column.dtype == object]
        rows = {cells.index(None) for cells in texts if None in cells}
        for row in sorted(rows):
            self._compare(block.some(np.array([row])))
        return len(rows)

    def permuted(self, known: Sequence[Any], seed: int) -> int:
        """Ask rows in another order; how many."""
        random = np.random.default_rng(seed + 1)
        block = Block(kind="permuted", cells=tuple(c.draw(random, 64) for c in known), rows=64)
        order = random.permutation(64)
        first, second = self.accelerated(block), self.accelerated(block.some(order))
        if isinstance(first, _Failed) or isinstance(second, _Failed):
            return 0
        # A batch may be summed in another order than a row, within the tolerance.
        ordered = {key: array[order] for key, array in _parts(first)}
        self._same(block.some(order), ordered, dict(_parts(second)))
        self.compare(block.some(order))
        return 64

    def without(self, known: Sequence[Any], seed: int) -> int:
        """Leave out each optional column, which the original must not take; how many rows that were."""
        random = np.random.default_rng(seed + 2)
        block = Block(kind="without a column", cells=tuple(c.draw(random, 1) for c in known), rows=1)
        optional = [c.name for c in self._loaded.signature.columns or () if not c.required and c.name]
        for name in optional:
            theirs = self._called(self.value(block).drop(columns=[name]))
            if not isinstance(theirs, _Failed):
                ours = _Failed(f"there is no column {name}")
                raise CounterexampleError(block, theirs, ours, f"the original does without column {name}")
        return len(optional)

    def no_row(self, known: Sequence[Any]) -> None:
        """Ask for the answer to no row at all, which must be the same JSON or be refused by both."""
        block = Block(kind="no row", cells=tuple(c.array([]) for c in known), rows=0)
        theirs, ours = self.original(block), self.accelerated(block)
        texts = [None if isinstance(each, _Failed) else encoding.dumps(each) for each in (theirs, ours)]
        if texts[0] != texts[1]:
            raise CounterexampleError(block, theirs, ours, "no row at all is answered differently")

    def original(self, block: Block) -> Any:
        """What the original answers."""
        return self._called(self.value(block))

    def _called(self, value: Any) -> Any:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                return self._loaded.pyfunc.predict(value)
            except Exception as exc:  # noqa: BLE001 (a model may raise anything)
                return _Failed(f"{type(exc).__name__}: {exc}")

    def accelerated(self, block: Block) -> Any:
        """What the converted model answers."""
        with np.errstate(all="ignore"):
            try:
                return self.form.result(self._session.run(self.form.fetches, self.feeds(block)))
            except UnfitError as exc:
                return _Failed(str(exc))
            except Exception as exc:  # noqa: BLE001 (a refusal, too, as far as a client can see)
                return _Failed(f"{type(exc).__name__}: {exc}")

    def value(self, block: Block) -> Any:
        """The rows as MLflow would hand them on."""
        signature = self._loaded.signature
        if signature.columns is None:
            return self._tensor(block)
        from servegen.server.predictors.frames import frame

        return frame(
            Columns(
                names=self._names(),
                dtypes=tuple(DTYPES[c.type] for c in signature.columns),
                cells=block.cells,
                rows=block.rows,
            )
        )

    def feeds(self, block: Block) -> dict[str, Any]:
        """The rows as the server would hand them on."""
        if self._loaded.signature.columns is None:
            return self.form.tensors(self._tensor(block))
        return self.form.feeds(dict(zip(self._names(), block.cells, strict=True)), block.rows)

    def _tensor(self, block: Block) -> Any:
        (tensor,) = self._loaded.signature.tensors or ()
        return np.stack(block.cells, axis=1).reshape(block.rows, *tensor.shape[1:])

    def _names(self) -> tuple[str, ...]:
        columns = self._loaded.signature.columns or ()
        return tuple(c.name if c.name is not None else str(i) for i, c in enumerate(columns))

    def body(self, block: Block) -> str:
        """The rows as the body of a request, at most eight of them."""
        cells = [[_cell(value) for value in column[:8].tolist()] for column in block.cells]
        data = [list(row) for row in zip(*cells, strict=True)]
        if self._loaded.signature.columns is None:
            (tensor,) = self._loaded.signature.tensors or ()
            shaped = np.array(data, dtype=object).reshape(len(data), *tensor.shape[1:])
            return json.dumps({"inputs": shaped.tolist()})
        return json.dumps({"dataframe_split": {"columns": list(self._names()), "data": data}})

    def _same(self, block: Block, theirs: Any, ours: Any) -> None:
        original, accelerated = _parts(theirs), _parts(ours)
        if [key for key, _ in original] != [key for key, _ in accelerated]:
            raise self._at(block, 0, "the names in the answer differ")
        for number, ((_, one), (_, other)) in enumerate(zip(original, accelerated, strict=True)):
            if one.shape != other.shape:
                raise self._at(block, 0, f"the answer has shape {other.shape}, not {one.shape}")
            if _kind(one) != _kind(other):
                raise self._at(block, 0, f"the answer holds {other.dtype}, not {one.dtype}")
            if one.dtype.kind == "f":
                self._near(block, number, one.astype(np.float64), other.astype(np.float64))
            elif not (equal := one == other).all():
                raise self._at(block, _first(~equal), "the answers differ")

    def _near(self, block: Block, number: int, one: Any, other: Any) -> None:
        with np.errstate(all="ignore"):
            usual = self._usual.setdefault(number, _median(one))
            size = np.maximum(np.maximum(np.abs(one), np.abs(other)), usual * _FLOOR)
            apart = np.abs(one - other) / size
        # Equal infinities and two NaN are no difference; NaN beside a number is the largest there is.
        apart = np.where((one == other) | (np.isnan(one) & np.isnan(other)), 0.0, apart)
        apart = np.where(np.isnan(apart), np.inf, apart)
        worst = float(apart.max(initial=0.0))
        if worst > self._tolerance:
            raise self._at(
                block, _first(apart > self._tolerance), f"numbers differ by {worst:.2g} (relative)"
            )
        self.worst = max(self.worst, worst)

    def _at(self, block: Block, row: int, reason: str) -> CounterexampleError:
        single = block.some(np.array([row]))
        return CounterexampleError(single, self.original(single), self.accelerated(single), reason)

    def times(self, known: Sequence[Any], options: ProofOptions) -> tuple[float, float]:
        """Median seconds of one call with one row, of both."""
        random = np.random.default_rng(options.seed)
        block = Block(kind="timed", cells=tuple(c.draw(random, 1) for c in known), rows=1)
        value, feeds = self.value(block), self.feeds(block)
        few = max(5, options.calls // 10)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            original = _median_seconds(lambda: self._loaded.pyfunc.predict(value), few)
        fetches = self.form.fetches
        return original, _median_seconds(lambda: self._session.run(fetches, feeds), options.calls)


def session(model: bytes) -> Any:
    """An inference session as the server opens it: one thread, so that sums have one order."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as exc:
        reason = f"it does not run the graph: {' '.join(str(exc).split())[:200]}"
        raise Unconvertible(_RUNTIME, reason) from exc


def example_cells(loaded: Loaded) -> list[list[Any]]:
    """The cells of the model's example by column; nothing when it has none that fits."""
    file = loaded.path / "serving_input_example.json"
    if not file.is_file():
        return []
    body = json.loads(file.read_text(encoding="utf-8"))
    names = [c.name for c in loaded.signature.columns or ()]
    if split := body.get("dataframe_split"):
        place = {name: position for position, name in enumerate(split.get("columns", ()))}
        if not set(names) <= set(place):
            return []
        return [[row[place[name]] for row in split["data"]] for name in names]
    value = body.get("inputs", body.get("instances"))
    if isinstance(value, list) and value and isinstance(value[0], list) and not names:
        return [list(column) for column in zip(*value, strict=True)]
    return []


def _parts(value: Any) -> list[tuple[Any, Any]]:
    """The arrays of an answer, each with its name."""
    if isinstance(value, dict):
        return [(key, np.asarray(item)) for key, item in value.items()]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [(str(key), np.array([row[key] for row in value])) for key in value[0]]
    if type(value).__name__ == "Series":
        value = value.to_frame()
    if type(value).__name__ == "DataFrame":
        return [(str(name), value.iloc[:, place].to_numpy()) for place, name in enumerate(value.columns)]
    return [(None, np.asarray(value))]


def _kind(array: Any) -> str:
    """What JSON tells apart."""
    return {"f": "number", "i": "whole", "u": "whole", "b": "boolean"}.get(array.dtype.kind, "text")


def _median(values: Any) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(np.median(finite)) if finite.size else 1.0


def _first(flags: Any) -> int:
    return int(np.argwhere(flags)[0][0])


def _cell(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value).replace("inf", "Infinity")
    return value


def _shown(value: Any) -> str:
    if isinstance(value, _Failed):
        return f"an error: {' '.join(value.reason.split())[:200]}"
    return json.dumps([[key, array.tolist()] if key else array.tolist() for key, array in _parts(value)])[
        :400
    ]


def _median_seconds(call: Callable[[], object], count: int) -> float:
    times = []
    for _ in range(count + 1):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    # The first call is no usual one.
    return sorted(times[1:])[count // 2]
