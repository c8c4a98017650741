"""Nested lists to the arrays of a tensor signature, with numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servegen.server import strict
from servegen.server.encoding import is_array
from servegen.server.errors import LossyError, bad_request, invalid_schema
from servegen.server.inputs import Arrays, Form
from servegen.server.signature import Tensor

_NUMBERS = frozenset("biuf")


class TensorReader:
    """Reads data keys for one tensor signature."""

    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        import numpy as np

        self._np = np
        self.tensors = tensors
        self._by_name = {t.name: t for t in tensors}
        self._named = tensors[0].name is not None
        self._numeric = all(_kind(np, t.dtype) in _NUMBERS for t in tensors)

    def read(self, key: str, value: Any) -> Arrays | Form:
        """The arrays under the data key `key`; frames and other than numbers are left to MLflow's parser."""
        if self._numeric and key in ("inputs", "instances"):
            if self._named:
                arrays = self._read_named(key, value)
                if arrays is not None:
                    return arrays
            # An empty list is one of objects to MLflow, null is nothing it takes.
            elif value not in ([], None) and not _holds_objects(value):
                tensor = self.tensors[0]
                array = fitted(self.cast(value, tensor), tensor)
                self.check(value, tensor)
                return Arrays(value=array)
        return self.form(key, value)

    def form(self, key: str, value: Any) -> Form:
        """The untouched form, for MLflow to decide about."""
        return Form(key=key, value=value, refusal=strict.lossy_tensor(key, value, self.tensors))

    def cast(self, value: Any, tensor: Tensor) -> Any:
        """`value` as an array of the tensor's dtype, whether or not a number changes."""
        try:
            # `check` names what overflows.
            with self._np.errstate(over="ignore", invalid="ignore"):
                return self._np.array(value, self._np.dtype(tensor.dtype))
        except (ValueError, TypeError, OverflowError, RecursionError):
            msg = f"{_what(tensor)} cannot be read as an array of {tensor.dtype}"
            raise bad_request(msg) from None

    def check(self, value: Any, tensor: Tensor) -> None:
        """Raise LossyError when a number in `value`, which has been cast, has changed by it."""
        sent, dtype = self._np.array(value), self._np.dtype(tensor.dtype)
        if {sent.dtype.kind, dtype.kind} <= _NUMBERS and not self._may_change(sent, dtype):
            return
        reason = strict.lossy_tensor_value(tensor.dtype, value.tolist() if is_array(value) else value)
        if reason:
            msg = f"{_what(tensor)} needs {tensor.dtype}: a value {reason}"
            raise LossyError(msg)

    def _may_change(self, sent: Any, dtype: Any) -> bool:
        np = self._np
        if sent.size == 0 or sent.dtype == dtype:
            # Infinities may stand for a literal that overflowed.
            return bool(dtype.kind == "f" and not np.isfinite(sent).all())
        if dtype.kind == "b":
            return not bool(((sent == 0) | (sent == 1)).all())
        if sent.dtype.kind == "b":
            return False
        if not np.isfinite(sent).all():
            return True
        if dtype.kind == "f":
            return bool(np.abs(sent).max() >= np.finfo(dtype).max)
        info = np.iinfo(dtype)
        outside = sent.min() < info.min or sent.max() >= info.max
        return bool(outside or (sent.dtype.kind == "f" and (sent != np.floor(sent)).any()))

    def _read_named(self, key: str, value: Any) -> Arrays | None:
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            if key == "inputs" or any(row.keys() != value[0].keys() for row in value):
                return None
            value = {name: [row[name] for row in value] for name in value[0]}
        elif isinstance(value, list) and len(self.tensors) == 1:
            value = {self.tensors[0].name: value}
        if not isinstance(value, dict) or any(_holds_objects(v) for v in value.values()):
            return None
        arrays = {name: self.cast(value[name], t) for name, t in self._by_name.items() if name in value}
        # They are dropped, but MLflow reads them before.
        for name in value.keys() - arrays.keys():
            self._read_extra(value[name])
        if key == "instances":
            lengths = {len(a) if a.ndim else None for a in arrays.values()}
            if len(lengths) > 1 or None in lengths:
                msg = "the values under `instances` have different lengths"
                raise bad_request(msg)
        complete = self.complete(arrays)
        for tensor in self.tensors:
            self.check(value[tensor.name], tensor)
        return Arrays(value=complete)

    def _read_extra(self, value: Any) -> None:
        try:
            self._np.array(value)
        except ValueError:
            msg = "an input that the model does not have is a ragged list"
            raise bad_request(msg) from None

    def complete(self, arrays: Mapping[Any, Any]) -> dict[str | None, Any]:
        """`arrays` in the signature's order; raises RefusedError when one is missing or ill-shaped."""
        missing = [str(t.name) for t in self.tensors if t.name not in arrays]
        if missing:
            msg = f"missing inputs: {', '.join(map(repr, missing))}"
            raise invalid_schema(msg)
        return {t.name: fitted(arrays[t.name], t) for t in self.tensors}


def fitted(array: Any, tensor: Tensor) -> Any:
    """`array` itself; raises RefusedError when its shape is not the tensor's."""
    if len(array.shape) != len(tensor.shape) or any(
        want not in (-1, have) for have, want in zip(array.shape, tensor.shape, strict=True)
    ):
        msg = f"{_what(tensor)} has shape {tuple(array.shape)}; the signature says {tensor.shape}"
        raise invalid_schema(msg)
    return array


def _what(tensor: Tensor) -> str:
    return f"input {tensor.name!r}" if tensor.name else "the input"


def _kind(np: Any, dtype: str) -> str:
    return str(np.dtype(dtype).kind)


def _holds_objects(value: Any) -> bool:
    if isinstance(value, list):
        return any(isinstance(item, (dict, list)) and _holds_objects(item) for item in value)
    return isinstance(value, dict)
