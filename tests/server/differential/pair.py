"""One model behind MLflow's own server and behind ours, and what may differ between their answers."""

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import httpx
import mlflow.pyfunc
import numpy as np
import pandas as pd
import yaml
from mlflow.models import ModelSignature
from mlflow.pyfunc import scoring_server
from mlflow.types import DataType

from servegen.server import modelfile
from servegen.server.app import App, Phase
from servegen.server.predictors.pyfunc import PyfuncPredictor
from servegen.server.settings import Settings
from tests.server.asgi import ask
from tests.server.differential.bodies import FORMS, JSON, Request
from tests.server.differential.echoing import Echo

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a client sees of a response."""

    status: int
    body: bytes
    seen: Any
    """What the model was given."""

    @property
    def code(self) -> str | None:
        """The `error_code` of a JSON body."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return value.get("error_code") if isinstance(value, dict) else None


class Pair:
    """One model under both servers."""

    def __init__(self, path: Path) -> None:
        self.signature = mlflow.models.Model.load(str(path)).signature
        self._loop = asyncio.new_event_loop()
        self._theirs = httpx.AsyncClient(
            transport=httpx.ASGITransport(
                app=scoring_server.init(mlflow.pyfunc.load_model(str(path))), raise_app_exceptions=False
            ),
            base_url="http://mlflow",
        )
        model, settings = modelfile.read(path, name=None, version=None), Settings(model=path)
        self._ours = App(model, settings, version="0")
        self._run(self._serve(PyfuncPredictor(model, settings)))

    def ours(self, request: Request) -> Answer:
        """The answer of our server."""
        kind, body = request
        headers = {} if kind is None else {"content-type": kind}
        Echo.seen = None
        got = self._run(ask(self._ours, "POST", "/invocations", body, headers))
        return Answer(status=got.status, body=got.body, seen=Echo.seen)

    def mlflow(self, request: Request) -> Answer:
        """The answer of MLflow's server."""
        kind, body = request
        headers = {} if kind is None else {"content-type": kind}
        Echo.seen = None
        got = self._run(self._theirs.post("/invocations", content=body, headers=headers))
        return Answer(status=got.status_code, body=got.content, seen=Echo.seen)

    def close(self) -> None:
        """Free the loop."""
        self._run(self._theirs.aclose())
        self._run(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _serve(self, predictor: PyfuncPredictor) -> None:
        self._ours.serve([predictor])
        self._ours.enter(Phase.READY)

    def _run(self, work: Awaitable[_T]) -> _T:
        return self._loop.run_until_complete(work)


@contextmanager
def pair(path: Path) -> Iterator[Pair]:
    """Both servers of the model in `path`."""
    made = Pair(path)
    try:
        yield made
    finally:
        made.close()


def save(folder: Path, signature: ModelSignature | None, *, code: str = "echoing") -> Path:
    """A model with `signature` in `folder`; for MLflow, its code is the module `code`."""
    folder.mkdir()
    mlmodel: dict[str, Any] = {
        "flavors": {"python_function": {"loader_module": f"tests.server.differential.{code}"}}
    }
    if signature is not None:
        mlmodel["signature"] = signature.to_dict()
    (folder / "MLmodel").write_text(yaml.safe_dump(mlmodel))
    return folder


def deviation(request: Request, signature: ModelSignature | None, ours: Answer, theirs: Answer) -> str:
    """The row of HTTP.md that says why the answers differ, empty when they do not.

    Raises AssertionError when there is no such row.
    """
    kind, body = request
    shown = f"\n{kind}\n{body!r}\nours   {ours}\nMLflow {theirs}"
    # An answer that MLflow cannot write comes after the cast, too.
    is_unwritten = theirs.status == 500 and theirs.seen is not None
    if (theirs.status == 200 or is_unwritten) and changes(request, signature, theirs.seen):
        if (ours.status, ours.code) == (400, "BAD_REQUEST"):
            return "lossy-cast"
        assert ours.status == theirs.status, f"refused for another reason than a cast:{shown}"
        assert not changes(request, signature, ours.seen), f"a value changes:{shown}"
        return "lossy-cast"
    if theirs.status == 200:
        assert ours.status == 200, f"refused, though nothing changes:{shown}"
        if ours.body == theirs.body:
            return ""
        assert ours.body == with_nulls(theirs.body), f"another answer:{shown}"
        return "null-for-nan"
    if kind is not None and kind.startswith(JSON) and theirs.status == 500 and _is_unreadable(body):
        assert (ours.status, ours.code) == (400, "BAD_REQUEST"), shown
        return "unreadable-json"
    if theirs.code is not None:
        assert (ours.status, ours.code) == (theirs.status, theirs.code), f"another refusal:{shown}"
        return ""
    if kind is None:
        assert (theirs.status, ours.status, ours.code) == (500, 415, "BAD_REQUEST"), shown
        return "media-type-required"
    assert ours.status == theirs.status, shown
    assert ours.code == {415: "BAD_REQUEST", 500: "INTERNAL_ERROR"}[theirs.status], shown
    return "json-errors"


_TOKENS = re.compile(rb'("(?:[^"\\]|\\.)*")|-?\b(?:NaN|Infinity)\b')


def _is_unreadable(body: bytes) -> bool:
    """Whether `body` is JSON with more levels, or an integer of more digits, than Python reads."""
    try:
        json.loads(body)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return False
    except (ValueError, RecursionError):
        return True
    return False


def with_nulls(body: bytes) -> bytes:
    """`body` with null for each NaN and infinity outside of strings."""
    return _TOKENS.sub(lambda found: found[1] or b"null", body)


def changes(request: Request, signature: ModelSignature | None, seen: Any) -> bool:
    """Whether the model saw another value than was sent.

    It knows nothing of the servers: what was sent is read with all its digits and held against what was seen.
    """
    kind, body = request
    schema = signature.inputs if signature is not None else None
    if schema is None or kind is None or not kind.startswith(JSON):
        return False
    sent = json.loads(body, parse_float=Decimal)
    if not isinstance(sent, dict) or {"messages", "prompt", "input"} & sent.keys():
        return False
    key = next(k for k in FORMS if k in sent)
    by_frame = key.startswith("dataframe_")
    names = schema.input_names() if schema.has_input_names() else None
    if schema.is_tensor_spec():
        given = _columns(key, sent[key], names)
        if not names:
            rows = zip(*given.values(), strict=True) if by_frame else ()
            given = {None: [cell for row in rows for cell in row] if by_frame else sent[key]}
        if by_frame:
            # A column has lists, or whatever it has stands for itself.
            given = {name: v if isinstance(v[0], list) else _Flat(v) for name, v in given.items() if v}
        pairs = [
            (spec.type.name, _scalars(given.get(spec.name)), (seen[spec.name] if names else seen).ravel())
            for spec in schema.inputs
        ]
    else:
        given = _columns(key, sent[key], names)
        pairs = [
            (spec.type.name, given[label], seen[label] if names else seen.iloc[:, n])
            for n, (label, spec) in enumerate(
                zip(names or range(len(schema.inputs)), schema.inputs, strict=True)
            )
            if isinstance(spec.type, DataType) and label in given
        ]
    if any(kind in _FLAGS and not all(map(_is_flag, cells)) for kind, cells, _ in pairs):
        # Whatever became of it.
        return True
    return any(
        not _faithful(kind, one, other, by_frame=by_frame)
        for kind, cells, array in pairs
        # pandas repeats a single row for every label of the index.
        if len(cells) in (1, len(array))
        for one, other in zip(cells * len(array) if len(cells) == 1 else cells, array.tolist(), strict=True)
    )


def _columns(key: str, value: Any, names: list[str] | None) -> dict[Any, list[Any]]:
    """The cells that were sent for each column; by position where `names` is None."""
    if key == "dataframe_split":
        labels = value.get("columns") or range(max(map(len, value["data"]), default=0))
        rows = [dict(zip(labels, row, strict=False)) for row in value["data"]]
    elif isinstance(value, list) and all(isinstance(row, dict) for row in value):
        rows = value
    elif isinstance(value, dict):
        return {k: _listed(v) for k, v in value.items()}
    elif names and len(names) == 1:
        return {names[0]: value}
    else:
        rows = [dict(enumerate(row if isinstance(row, list) else [row])) for row in _listed(value)]
    found = dict.fromkeys(label for row in rows for label in row)
    order = dict(enumerate(found)) if names is None else {label: label for label in found}
    # Under `instances`, a column is shorter where rows lack it; else there is a null.
    return {
        place: [row.get(label) for row in rows if key != "instances" or label in row]
        for place, label in order.items()
    }


class _Flat(list[Any]):
    """Cells of a frame, in which a list is no part of the shape."""


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _scalars(value: Any) -> list[Any]:
    if isinstance(value, _Flat):
        return value
    if not isinstance(value, list):
        return [value]
    return [scalar for item in value for scalar in _scalars(item)]


def _faithful(kind: str, sent: Any, seen: Any, *, by_frame: bool) -> bool:
    """Whether `seen` is what `sent` says, as far as the type can hold it."""
    if kind in _FLAGS:
        return _is_flag(sent) and bool(sent) == seen
    if isinstance(sent, (list, dict)):
        # As if it were a cell of another type: MLflow refuses it or hands it on.
        return True
    if kind in ("double", "float") or kind.startswith("float"):
        return _is_rounded(sent, seen, single=kind in ("float", "float32"), half=kind == "float16")
    if kind in ("long", "integer") or kind.startswith(("int", "uint")):
        return int(sent) == seen if isinstance(sent, str) else sent == seen
    if kind == "binary" and by_frame:
        return re.fullmatch("[A-Za-z0-9+/]*=*", "".join(sent.split())) is not None
    if kind == "datetime" and sent is not None:
        return _is_moment(sent, seen)
    return True


_FLAGS = ("boolean", "bool")


def _is_flag(sent: Any) -> bool:
    return isinstance(sent, (bool, int, float, Decimal)) and sent in (0, 1)


def _is_rounded(sent: Any, seen: float, *, single: bool, half: bool) -> bool:
    if sent is None or (isinstance(sent, (float, Decimal)) and math.isnan(sent)):
        return math.isnan(seen)
    if isinstance(sent, str):
        try:
            sent = Decimal(sent.replace("_", "").strip())
        except ArithmeticError:
            return True
        if sent.is_nan():
            return math.isnan(seen)
    if isinstance(seen, float) and math.isinf(seen):
        return bool(sent == seen)
    with np.errstate(over="ignore"):
        wanted = float(sent)
        return bool(seen == (np.float16(wanted) if half else np.float32(wanted) if single else wanted))


def _is_moment(sent: Any, seen: Any) -> bool:
    if isinstance(sent, str):
        digits = re.search(r"\.(\d+)", sent)
        if digits and len(digits[1].rstrip("0")) > 9:
            return False
        year = re.match(r"[+-]?\d{4,}", sent)
        return year is None or seen is pd.NaT or abs(int(year[0]) - seen.year) <= 1
    return bool(seen is pd.NaT or sent == pd.Timestamp(seen).as_unit("ns").value)
