"""JSON texts of cells that are right, nearly right and wrong for a type of MLflow's.

They are text, so that `1.0`, `1e400` and `NaN` arrive as they are written here.
"""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from mlflow.types.schema import AnyType, Array, Map, Object

Draw = Callable[[st.SearchStrategy[Any]], Any]

SCALARS = ("long", "integer", "double", "float", "boolean", "string", "binary", "datetime")
_WHOLE = ["1", "0", "-7", "3.0", "1e3", '"3"', "true", "false", "2147483647", "-2147483648", "-0.0"]
_REAL = [
    "1",
    "0.1",
    "-2.5",
    "1e-7",
    "null",
    "NaN",
    "Infinity",
    "-Infinity",
    '"1.5"',
    '"1e3"',
    "true",
    "1e-400",
]
_GOOD: dict[str, list[str]] = {
    "long": [*_WHOLE, "9007199254740993", "9223372036854775807", "-9223372036854775808"],
    "integer": _WHOLE,
    "double": [*_REAL, "1e308", "9007199254740993", "123456789012345678901234567890"],
    "float": [*_REAL, "16777217", "3.4e38"],
    "boolean": ["true", "false", "0", "1", "0.0", "1.0"],
    "string": ['"x"', '""', '"é ☃"', '"\\ud83d\\ude00"', '"a\\u0000b"', "null", '"nan"', '"3"', '"\\""'],
    "binary": ['"aGk="', '""', '"YQ=="', '"aG\\nk="', '" aGk="', '"AAAA/+8="'],
    "datetime": [
        '"2021-01-31"',
        '"2021-01-31T10:20:30"',
        '"2021-01-31 10:20:30.123456789"',
        "1",
        "0",
        "null",
        "1612088430123456789",
    ],
}
_ODD: dict[str, list[str]] = {
    "long": [
        "3.9",
        "1e19",
        "9223372036854775808",
        "18446744073709551616",
        "null",
        "NaN",
        '"3.9"',
        '"x"',
        "1e400",
    ],
    "integer": ["3.9", "2147483648", "-2147483649", "1e10", "null", "Infinity", '"1_000"', '" 4 "', '"٣"'],
    "double": ["1e400", "-1e400", '"x"', "[1.5]", "{}", '""', '"nan"', '"1e400"', '" 1 "', '"-inf"', '"0x1"'],
    "float": ["1e39", "-1e39", "3.4028236e38", '"1e39"', '"x"', "[]", '"1_0.5"', '"infinity"', "1e400"],
    "boolean": ["2", "0.5", '"false"', '"true"', "null", "NaN", '""', "[]", "-1", "1e400"],
    "string": ["5", "1.5", "true", "[]", '["x"]', "{}", "1e400", "NaN", "-0.0", "18446744073709551616"],
    "binary": ['"aG*k="', '"aGk"', "null", "5", '"é"', '"===="', '"a"', '"aGk=="', '"aG k="'],
    "datetime": [
        *('"2021-01-31T10:20:30Z"', '"2021-01-31T10:20:30+02:00"', '"x"', "true", "1.5", '"3000-01-01"'),
        *(
            '"1500-01-01"',
            '"2021-01-31T10:20:30.1234567891"',
            '"31.01.2021"',
            '"2021"',
            '"NaT"',
            '""',
            "1e20",
        ),
    ],
}
GARBAGE = ["null", "[]", "{}", '"x"', "1.5", "true", "[[1]]", '{"a": 1}', "1e999", "NaN", "-1", '["x", null]']

PARAM_CELLS = {
    "long": ["1", "-5", "null", "1.0", '"1"', "true", "1e400", "9223372036854775808", "[]"],
    "integer": ["1", "-5", "null", "1.0", '"1"', "true", "2147483648", "[1]"],
    "double": ["1.5", "1", "null", '"1"', "true", "1e400", "NaN", "{}", str(10**400)],
    "float": ["1.5", "1", "null", '"x"', "true", "1e39", "NaN", "[]"],
    "boolean": ["true", "false", "null", "1", '"true"', "0.0", "[]"],
    "string": ['"x"', '"é"', "null", "5", "true", "[]", '[["x"]]'],
    "datetime": [
        '"2021-01-31"',
        '"2021-01-31T10:20:30"',
        "null",
        '"x"',
        "5",
        "true",
        '""',
        '"2021-01-31T10:20:30Z"',
    ],
}


class Cells:
    """Draws cells of one request: all right, one odd, or some odd."""

    def __init__(self, draw: Draw, count: int) -> None:
        self._draw = draw
        mood = draw(st.integers(0, 9))
        self._odd = {draw(st.integers(0, max(0, count - 1)))} if mood >= 7 else set()
        self._wild = mood == 9
        self._next = 0

    def cell(self, kind: Any) -> str:
        number, self._next = self._next, self._next + 1
        draw = self._draw
        if number in self._odd or (self._wild and draw(st.booleans())):
            pool = _ODD.get(kind, []) if isinstance(kind, str) else []
            if draw(st.integers(0, 3)) == 0 or not pool:
                return str(draw(st.sampled_from(GARBAGE)))
            return str(draw(st.sampled_from(pool)))
        return self.good(kind)

    def good(self, kind: Any) -> str:
        draw = self._draw
        if isinstance(kind, Array):
            return "[" + ", ".join(self.good(kind.dtype) for _ in range(draw(st.integers(0, 3)))) + "]"
        if isinstance(kind, Map):
            names = draw(st.lists(st.sampled_from("xyz"), max_size=2, unique=True))
            return "{" + ", ".join(f'"{name}": {self.good(kind.value_type)}' for name in names) + "}"
        if isinstance(kind, Object):
            names = [p for p in kind.properties if p.required or draw(st.booleans())]
            return "{" + ", ".join(f'"{p.name}": {self.good(p.dtype)}' for p in names) + "}"
        if isinstance(kind, AnyType):
            return str(draw(st.sampled_from(GARBAGE)))
        name = getattr(kind, "name", kind)
        if draw(st.integers(0, 3)):
            # Mostly of one kind, as clients write them.
            return _GOOD[name][draw(st.integers(0, 2))]
        if draw(st.booleans()):
            return str(draw(st.sampled_from(_GOOD[name])))
        return str(draw(_GENERATED[name]))


_GENERATED: dict[str, st.SearchStrategy[str]] = {
    "long": st.integers(-(2**63), 2**63 - 1).map(str),
    "integer": st.integers(-(2**31), 2**31 - 1).map(str),
    "double": st.floats().map(json.dumps),
    "float": st.floats(width=32).map(json.dumps),
    "boolean": st.sampled_from(_GOOD["boolean"]),
    "string": st.text(max_size=6).map(json.dumps),
    "binary": st.sampled_from(_GOOD["binary"]),
    "datetime": st.datetimes().map(lambda t: json.dumps(t.isoformat())),
}
