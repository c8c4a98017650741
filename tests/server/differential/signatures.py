"""Signatures of the models that are compared."""

import random
from typing import Any

import numpy as np
from mlflow.models import ModelSignature
from mlflow.types.schema import (
    AnyType,
    Array,
    ColSpec,
    Map,
    Object,
    ParamSchema,
    ParamSpec,
    Property,
    Schema,
    TensorSpec,
)

from tests.server.differential.cells import SCALARS

TYPES: dict[str, Any] = {name: name for name in SCALARS} | {
    "longs": Array("long"),
    "doubles": Array("double"),
    "texts": Array("string"),
    "grid": Array(Array("double")),
    "map": Map("double"),
    "any": AnyType(),
    "object": Object([Property("p", "long"), Property("q", "string", required=False)]),
}
PARAMS = ParamSchema([ParamSpec("raw", "boolean", False)])
ALL_PARAMS = ParamSchema(
    [
        ParamSpec("raw", "boolean", False),
        ParamSpec("l", "long", 1),
        ParamSpec("i", "integer", 2),
        ParamSpec("d", "double", 1.5),
        ParamSpec("f", "float", 2.5),
        ParamSpec("s", "string", "é"),
        ParamSpec("t", "datetime", np.datetime64("2021-01-31T00:00:00")),
        ParamSpec("many", "double", [1.0, 2.0], (-1,)),
        ParamSpec("words", "string", ["x"], (-1,)),
    ]
)


KINDS = {
    **dict.fromkeys(("float64", "float32", "float16"), "double"),
    **dict.fromkeys(("int64", "int32", "int8", "uint8", "uint64"), "long"),
    "bool": "boolean",
    "str": "string",
}
"""By dtype, the kind of cells that fit."""


def columns(*specs: str) -> ModelSignature:
    """A signature from texts such as `a:long` and `b:double?`; without a name, columns are unnamed."""
    made = []
    for spec in specs:
        name, _, kind = spec.rpartition(":")
        made.append(ColSpec(TYPES[kind.rstrip("?")], name or None, required=not kind.endswith("?")))
    return ModelSignature(inputs=Schema(made), params=PARAMS)


def tensors(*specs: tuple[str | None, str, tuple[int, ...]]) -> ModelSignature:
    """A tensor signature from names, dtypes and shapes."""
    made = [TensorSpec(np.dtype(dtype), shape, name) for name, dtype, shape in specs]
    return ModelSignature(inputs=Schema(made), params=PARAMS)


def _any_columns(rng: random.Random) -> ModelSignature:
    kinds = [k for k in (*SCALARS, *SCALARS, *TYPES) if k not in ("binary", "datetime") or rng.random() < 0.5]
    names = rng.sample(["a", "b", "c", "é", "0", "long name", "index"], rng.randint(1, 5))
    return columns(*(f"{name}:{rng.choice(kinds)}{rng.choice(['', '', '?'])}" for name in names))


def _any_tensors(rng: random.Random) -> ModelSignature:
    names: list[Any] = [None] if rng.random() < 0.5 else rng.sample(["a", "b", "c"], rng.randint(1, 3))
    shapes = [(-1,), (-1, 1), (-1, 2), (-1, -1), (2, 2), (-1, 2, 1), (2,)]
    return tensors(*((name, rng.choice(list(KINDS)), rng.choice(shapes)) for name in names))


SIGNATURES: dict[str, ModelSignature | None] = {
    **{kind: columns(f"a:{kind}") for kind in (*SCALARS, "doubles", "texts", "map", "object", "any", "grid")},
    "numbers": columns("a:double", "b:double", "c:double"),
    "mixed": columns("a:double", "b:long", "c:string", "d:boolean", "e:integer", "f:float"),
    "optional": columns("a:double?", "b:long?", "c:string?", "d:boolean?", "e:integer", "f:float?"),
    "unnamed": columns("double", "double"),
    "unnamed flag": columns("boolean"),
    "unnamed mixed": columns("long", "string", "boolean"),
    "all params": ModelSignature(inputs=columns("a:double", "b:string").inputs, params=ALL_PARAMS),
    "params alone": ModelSignature(params=ALL_PARAMS),
    "floats": tensors((None, "float32", (-1, 2))),
    "flat integers": tensors((None, "int64", (-1,))),
    "named tensors": tensors(("a", "int32", (-1,)), ("b", "float64", (-1, 2))),
    "flags": tensors((None, "bool", (-1,))),
    "free": None,
    **{f"columns {n}": _any_columns(random.Random(n)) for n in range(9)},
    **{f"tensors {n}": _any_tensors(random.Random(n)) for n in range(5)},
}
"""By name, of the models that are compared."""
