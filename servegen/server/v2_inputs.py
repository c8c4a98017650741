"""One input tensor of a request of the Open Inference Protocol."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any

from servegen.server import strict
from servegen.server.body import has_lone_surrogate, loads, plain
from servegen.server.casting import INTEGER_LIMITS, CellError, to_booleans, to_floats, to_integers
from servegen.server.datatypes import DTYPES, MOST_DIMENSIONS
from servegen.server.encoding import is_array
from servegen.server.errors import bad_request


class GivenInput:
    """One input of a request, its data flat and checked against its own datatype."""

    def __init__(self, spec: Any) -> None:
        if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
            msg = "every input must be an object with a name"
            raise bad_request(msg)
        self.name: str = spec["name"]
        if _is_broken(self.name):
            msg = "the name of an input has half of a surrogate pair in it"
            raise bad_request(msg)
        shape, datatype = spec.get("shape"), spec.get("datatype")
        if (
            not isinstance(shape, list)
            or len(shape) > MOST_DIMENSIONS
            or not all(type(n) is int and 0 <= n <= INTEGER_LIMITS["int64"][1] for n in shape)
        ):
            msg = f"input {self.name!r} needs a shape: a list of at most {MOST_DIMENSIONS} whole numbers"
            raise bad_request(msg)
        if not isinstance(datatype, str) or (datatype != "BYTES" and datatype not in DTYPES):
            msg = f"input {self.name!r} has an unknown datatype"
            raise bad_request(msg)
        if not isinstance(spec.get("data"), list) and not is_array(spec.get("data")):
            msg = f"input {self.name!r} needs data: a list"
            raise bad_request(msg)
        self.shape: tuple[int, ...] = tuple(shape)
        self.datatype: str = datatype
        self._content = parameters(spec, f"input {self.name!r}").get("content_type")
        flat = spec["data"]
        while isinstance(flat, list) and any(isinstance(item, list) for item in flat):
            if not all(isinstance(item, list) for item in flat):
                msg = f"input {self.name!r} has ragged data"
                raise bad_request(msg)
            flat = [cell for item in flat for cell in item]
        if len(flat) != math.prod(shape):
            msg = f"input {self.name!r} has {len(flat)} values; its shape needs {math.prod(shape)}"
            raise bad_request(msg)
        # An array was raw bytes of the datatype: there is nothing to check.
        self.data: Any = flat if is_array(flat) else self._checked(flat)

    def _checked(self, flat: list[Any]) -> list[Any]:
        try:
            if self.datatype == "BYTES":
                if not all(isinstance(item, str) or item is None for item in flat):
                    msg = f"input {self.name!r} needs text"
                    raise bad_request(msg)
                if any(item is not None and _is_broken(item) for item in flat):
                    msg = f"input {self.name!r} has half of a surrogate pair in a text"
                    raise bad_request(msg)
                return flat
            if any(isinstance(item, (str, dict)) for item in flat):
                msg = f"input {self.name!r} needs numbers"
                raise bad_request(msg)
            if self.datatype == "BOOL":
                return list(to_booleans(flat))
            if self.datatype.startswith("FP"):
                return list(to_floats(DTYPES[self.datatype])(flat))
            return list(to_integers(DTYPES[self.datatype])(flat))
        except CellError as exc:
            msg = f"input {self.name!r}: value {exc.row} {exc.reason}"
            raise bad_request(msg) from None

    def rows(self) -> int:
        """The length as a column of a frame."""
        if len(self.shape) not in (1, 2) or self.shape[1:] not in ((), (1,)):
            msg = f"input {self.name!r} needs the shape [n] or [n, 1]"
            raise bad_request(msg)
        return self.shape[0]

    def cells(self, content: str) -> list[Any]:
        """The cells of a column, decoded as far as MLflow's frame forms do not do it themselves."""
        if self.datatype == "BYTES" and (self._content or content) == "pd_json":
            return [item if item is None else self._document(item) for item in self.data]
        return self.data.tolist() if is_array(self.data) else list(self.data)

    def column(self) -> tuple[str, Any]:
        """Type and cells of a column without a signature."""
        if self.datatype != "BYTES":
            return DTYPES[self.datatype], self.cells("")
        flat = self.flat()
        return ("text", list(flat)) if flat.dtype == object else ("datetime64[ns]", flat)

    def array(self) -> Any:
        """An ndarray of the declared datatype and shape."""
        return self.shaped(self.flat())

    def flat(self) -> Any:
        """An ndarray of the declared datatype and one dimension; BYTES as their content type says."""
        import numpy as np

        if self.datatype != "BYTES":
            return np.array(self.data, dtype=DTYPES[self.datatype])
        if self._content == "datetime":
            return self._moments()
        data = self.data
        if self._content == "base64":
            data = [_decoded(self.name, item) for item in self.data]
        elif self._content == "pd_json":
            data = plain(self.cells("pd_json"))
        # Filled item by item: numpy would take nested lists for further dimensions.
        made = np.empty(len(data), dtype=object)
        for place, item in enumerate(data):
            made[place] = item
        return made

    def shaped(self, array: Any) -> Any:
        """`array` in the shape of the input; raises RefusedError when numpy has no such shape."""
        try:
            return array.reshape(self.shape)
        except ValueError:
            msg = f"input {self.name!r} has a shape that no array can have"
            raise bad_request(msg) from None

    def _moments(self) -> Any:
        import numpy as np

        reason = strict.lossy_tensor_value("datetime64[ns]", self.data)
        if reason:
            msg = f"input {self.name!r}: a value {reason}"
            raise bad_request(msg)
        try:
            return np.array(self.data, dtype="datetime64[ns]")
        except ValueError:
            msg = f"input {self.name!r} needs ISO 8601 text"
            raise bad_request(msg) from None

    def _document(self, text: str) -> Any:
        content = text.encode()
        if has_lone_surrogate(content):
            msg = f"input {self.name!r} has half of a surrogate pair in a document"
            raise bad_request(msg)
        return loads(content)


def _is_broken(text: str) -> bool:
    """Whether UTF-8 cannot write `text`: there is half of a surrogate pair in it."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _decoded(name: str, text: Any) -> bytes:
    try:
        return base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError):
        msg = f"input {name!r} needs base64"
        raise bad_request(msg) from None


def parameters(holder: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    """The `parameters` of a request or of one input of it; raises RefusedError when they are no object."""
    given = holder.get("parameters")
    if given is None:
        return {}
    if not isinstance(given, dict):
        msg = f"the parameters of {what} must be an object"
        raise bad_request(msg)
    return given
