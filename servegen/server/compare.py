"""What the model answers in process, read and written by MLflow's own code, against what a server sent."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from servegen.server.forms import LLM_KEYS
from servegen.server.modelfile import FORM_FILE, ModelFile
from servegen.server.settings import Settings

_RELATIVE, _ABSOLUTE = 1e-6, 1e-9
_GENERATIVE = frozenset(("transformers", "openai", "langchain", "llama_index", "dspy", "anthropic"))
"""Flavors that may answer the same input differently each time: only the form is compared."""
_SHOWN = 200


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first place where two answers differ."""

    path: str
    served: str
    expected: str


def first_difference(model: ModelFile, *, served: bytes, expected: Any) -> Difference | None:
    """Where the answer `served` to the example differs from the `expected` one; None when nowhere."""
    return differ(json.loads(served), expected, values_matter=model.flavor not in _GENERATIVE)


def expected(model: ModelFile, settings: Settings) -> Any:
    """The JSON value that MLflow's scoring server would answer to the example.

    Of a converted model: what it did answer with the original, when that was converted.
    """
    if model.accelerated:
        return json.loads((model.path / FORM_FILE).read_bytes())["example_answer"]
    import mlflow.pyfunc
    from mlflow.utils.proto_json_utils import (
        NumpyEncoder,
        _get_jsonable_obj,
        dataframe_from_parsed_json,
        parse_tf_serving_input,
    )

    config = dict(settings.model_config) if settings.model_config else None
    loaded = mlflow.pyfunc.load_model(str(model.path), suppress_warnings=True, model_config=config)
    schema = loaded.metadata.get_input_schema()
    body = json.loads(model.example or b"{}")
    wrapped = not any(key in body for key in LLM_KEYS)
    params = body.get("params")
    data: Any
    if not wrapped:
        declared = {p.name for p in model.signature.params or ()}
        params = {key: value for key, value in body.items() if key in declared}
        data = {key: value for key, value in body.items() if key not in declared}
    elif model.signature.type_hints:
        data = body["inputs"]
    elif "dataframe_split" in body:
        data = dataframe_from_parsed_json(body["dataframe_split"], pandas_orient="split", schema=schema)
    elif "dataframe_records" in body:
        data = dataframe_from_parsed_json(body["dataframe_records"], pandas_orient="records", schema=schema)
    else:
        data = parse_tf_serving_input(
            {k: body[k] for k in ("inputs", "instances") if k in body}, schema=schema
        )
    answer = _get_jsonable_obj(loaded.predict(data, params=params), pandas_orient="records")
    value = json.loads(json.dumps(answer, cls=NumpyEncoder))
    return {"predictions": value} if wrapped else value


def differ(served: Any, wanted: Any, *, values_matter: bool = True, path: str = "$") -> Difference | None:
    """The first difference of two JSON values: form and types exactly, numbers nearly, NaN equal to null."""
    served, wanted = _finite(served), _finite(wanted)
    if type(served) is not type(wanted):
        return _difference(path, served, wanted)
    if isinstance(wanted, dict):
        if list(served) != list(wanted):
            return _difference(path, sorted(served), sorted(wanted))
        pairs = [(f"{path}.{key}", served[key], wanted[key]) for key in wanted]
    elif isinstance(wanted, list):
        if values_matter and len(served) != len(wanted):
            return _difference(path, f"{len(served)} items", f"{len(wanted)} items")
        pairs = [(f"{path}[{i}]", *pair) for i, pair in enumerate(zip(served, wanted, strict=False))]
    else:
        return None if not values_matter or _equal(served, wanted) else _difference(path, served, wanted)
    for at, one, other in pairs:
        found = differ(one, other, values_matter=values_matter, path=at)
        if found is not None:
            return found
    return None


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _equal(served: Any, wanted: Any) -> bool:
    if isinstance(wanted, float):
        return math.isclose(served, wanted, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
    return bool(served == wanted)


def _difference(path: str, served: Any, wanted: Any) -> Difference:
    return Difference(path=path, served=json.dumps(served)[:_SHOWN], expected=json.dumps(wanted)[:_SHOWN])
