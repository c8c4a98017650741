"""`params` of a request against the model's ParamSchema, by MLflow's rules."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any

from servegen.server.body import plain
from servegen.server.errors import invalid_params
from servegen.server.inputs import Params
from servegen.server.signature import Param

_ACCEPTED: Mapping[str, tuple[type, ...]] = {
    "long": (int,),
    "integer": (int,),
    "double": (int, float),
    "float": (int, float),
    "boolean": (bool,),
    "string": (str,),
}
_PYTHON: Mapping[str, Callable[[Any], Any]] = {
    "long": int,
    "integer": int,
    "double": float,
    "float": float,
    "boolean": bool,
    "string": str,
}


class ParamReader:
    """Checks `params` for one model."""

    def __init__(self, schema: tuple[Param, ...] | None) -> None:
        self._schema = {p.name: p for p in schema} if schema is not None else None
        self._defaults = {p.name: self._value(p, p.default) for p in schema or ()}

    @property
    def names(self) -> frozenset[str]:
        """The parameters that the model declares."""
        return frozenset(self._schema or ())

    def read(self, params: Any) -> Params:
        """What the model gets: known names as their types, then the defaults of the absent ones."""
        if self._schema is None:
            # MLflow ignores params without a schema, but hands over an empty dict instead.
            return None if params is None else {}
        if params is None:
            return dict(self._defaults)
        if not isinstance(params, dict):
            msg = "`params` must be a JSON object"
            raise invalid_params(msg)
        given = {
            name: self._value(self._schema[name], plain(value))
            for name, value in params.items()
            if name in self._schema
        }
        return {**given, **{name: v for name, v in self._defaults.items() if name not in given}}

    def _value(self, param: Param, value: Any) -> Any:
        if not param.many:
            return _scalar(param, value)
        if not isinstance(value, list) or any(isinstance(item, list) for item in value):
            msg = f"parameter {param.name!r} needs a list of {param.type}"
            raise invalid_params(msg)
        return [_scalar(param, item) for item in value]


def _scalar(param: Param, value: Any) -> Any:
    if param.type == "object":
        return _object(param, value)
    if value is None:
        return None
    if param.type == "datetime":
        return _datetime(param, value)
    accepted = _ACCEPTED[param.type]
    if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
        msg = f"parameter {param.name!r} needs {param.type}"
        raise invalid_params(msg)
    try:
        return _PYTHON[param.type](value)
    except OverflowError:
        msg = f"parameter {param.name!r} needs {param.type}"
        raise invalid_params(msg) from None


def _datetime(param: Param, value: Any) -> datetime.date | None:
    import numpy as np

    try:
        moment = np.datetime64(value).item()
    except (ValueError, TypeError):
        moment = value
    # Empty text is numpy's NaT, which is None.
    if moment is not None and not isinstance(moment, datetime.date):
        msg = f"parameter {param.name!r} needs a date and time as ISO text"
        raise invalid_params(msg)
    return moment


def _object(param: Param, value: Any) -> Any:
    properties = param.spec.get("properties") or {}
    if not isinstance(value, dict) or not value.keys() <= properties.keys():
        msg = f"parameter {param.name!r} needs an object with the declared properties"
        raise invalid_params(msg)
    missing = [n for n, spec in properties.items() if spec.get("required", True) and n not in value]
    if missing:
        msg = f"parameter {param.name!r} lacks {', '.join(map(repr, missing))}"
        raise invalid_params(msg)
    return value
