"""Requests for `/invocations`, right, nearly right and wrong for a signature; as hypothesis strategies."""

import json
from typing import Any

from hypothesis import strategies as st
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema, TensorSpec

from tests.server.differential.cells import GARBAGE, PARAM_CELLS, SCALARS, Cells, Draw
from tests.server.differential.signatures import KINDS, TYPES

Request = tuple[str | None, bytes]
"""Content type and body."""

FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")
JSON = "application/json"
CSV = "text/csv"


@st.composite
def requests(draw: Draw, signature: ModelSignature | None) -> Request:
    """Requests for a model with `signature`."""
    way = draw(st.integers(0, 19))
    if way < 15:
        return JSON, _document(draw, signature).encode()
    if way == 15:
        return CSV, draw(_csv(signature))
    if way == 16:
        return draw(_CONTENT_TYPES), _document(draw, signature).encode()
    if way == 17:
        return JSON, _broken(draw, _document(draw, signature).encode())
    if way == 18:
        return JSON, _llm(draw, signature).encode()
    return JSON, draw(_ANYTHING).encode()


_CONTENT_TYPES = st.sampled_from(
    [
        *(None, "", JSON, CSV, "application/vnd.apache.parquet", "text/plain", "APPLICATION/JSON", ";", "/"),
        *(
            f"{JSON}; charset=utf-8",
            f"{JSON};charset=UTF-8",
            f"{JSON}; charset=utf8",
            f"{JSON} ; charset=utf-8",
        ),
        *(f'{JSON}; charset="utf-8"', f"{JSON}; Charset=utf-8", f"{JSON};", f"{JSON}; charset=latin-1"),
        *(
            f"{JSON}; version=1",
            f"{JSON}; charset=utf-8; charset=utf-8",
            f"{CSV}; charset=utf-8",
            f"{JSON}; charset",
        ),
        *(
            f"{JSON}; charset=latin-1; charset=utf-8",
            f"{JSON}, {CSV}",
            "charset=utf-8",
            f"{JSON}; charset= utf-8",
        ),
    ]
)
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*FORMS, "params", "columns", "data", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
).map(json.dumps)


def _document(draw: Draw, signature: ModelSignature | None) -> str:
    key = draw(st.sampled_from(FORMS))
    members = [(key, _data(draw, key, signature))]
    if draw(st.integers(0, 2)) == 0:
        members.append(("params", _params(draw, signature)))
    twist = draw(st.integers(0, 24))
    if twist == 0:
        members.append((draw(st.sampled_from(["signature_name", "extra", "stream", *FORMS])), "5"))
    elif twist == 1:
        members[0] = (draw(st.sampled_from([*FORMS, "data", ""])), members[0][1])
    elif twist == 2:
        members[0] = (key, draw(st.sampled_from(GARBAGE)))
    if draw(st.booleans()):
        members.reverse()
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in members) + "}"


def _data(draw: Draw, key: str, signature: ModelSignature | None) -> str:
    schema = signature.inputs if signature is not None else None
    if schema is None:
        return _free(draw, key)
    if schema.is_tensor_spec():
        return _tensor_data(draw, key, schema)
    rows = draw(st.integers(0, 9)) and draw(st.integers(1, 3))
    specs = [(spec.name, _kind(spec), spec.required) for spec in schema.inputs]
    twist = draw(st.integers(0, 29))
    if twist == 0 and len(specs) > 1:
        specs.pop(draw(st.integers(0, len(specs) - 1)))
    elif twist == 1:
        specs.append(("extra", draw(st.sampled_from(SCALARS)), False))
    elif twist == 2:
        specs.append(specs[0])
    if draw(st.integers(0, 3)) == 0:
        specs = draw(st.permutations(specs))
    if draw(st.booleans()):
        specs = [spec for spec in specs if spec[2] or draw(st.booleans())] or specs
    cells = Cells(draw, rows * len(specs))
    table = [[cells.cell(kind) for _, kind, _ in specs] for _ in range(rows)]
    names = [name if name is not None else str(n) for n, (name, _, _) in enumerate(specs)]
    if not schema.has_input_names():
        names = names if draw(st.booleans()) else []
    return _written(draw, key, names, table)


def _kind(spec: ColSpec) -> Any:
    return getattr(spec.type, "name", spec.type)


def _written(draw: Draw, key: str, names: list[str], table: list[list[str]]) -> str:
    labels = [json.dumps(name) for name in names]
    twist = draw(st.integers(0, 39))
    if twist == 0 and table:
        table[-1] = table[-1][:-1]
    if key == "dataframe_split":
        members = [f'"data": {_list([_list(row) for row in table])}']
        if names and twist != 1:
            members.append(f'"columns": {_list(labels)}')
        if draw(st.integers(0, 5)) == 0:
            index = draw(
                st.sampled_from([["7", "5", "9", "1"], ['"x"', '"y"', '"y"', "null"], ["1.5", "2", "3", "4"]])
            )
            members.append(f'"index": {_list(index[: len(table) + (twist == 2)])}')
        if twist == 3:
            members.append('"dtype": 1')
        return "{" + ", ".join(members) + "}"
    by_column = key not in ("dataframe_records", "dataframe_split") and draw(st.booleans())
    if by_column and names:
        if len(table) == 1 and draw(st.booleans()):
            return _object(labels, table[0])
        width = max(map(len, table), default=len(labels))
        cells = [_list([row[n] for row in table if n < len(row)]) for n in range(width)]
        return cells[0] if len(cells) == 1 and draw(st.booleans()) else _object(labels, cells)
    if not names:
        return _list([_list(row) for row in table])
    return _list([_object(labels, row, without=draw(st.integers(0, 60))) for row in table])


def _list(items: list[str]) -> str:
    return "[" + ", ".join(items) + "]"


def _object(labels: list[str], values: list[str], *, without: int = 60) -> str:
    pairs = [
        f"{label}: {v}" for n, (label, v) in enumerate(zip(labels, values, strict=False)) if n != without
    ]
    return "{" + ", ".join(pairs) + "}"


def _tensor_data(draw: Draw, key: str, schema: Schema) -> str:
    rows = draw(st.integers(0, 9)) and draw(st.integers(1, 3))
    cells = Cells(draw, rows * 2)
    whole = [(spec.name, _nested(draw, cells, spec, rows)) for spec in schema.inputs]
    if draw(st.integers(0, 29)) == 0:
        whole.pop()
    if draw(st.integers(0, 29)) == 0:
        whole.append(("extra", "[[1], [2, 3]]"))
    if key == "dataframe_split" or key == "dataframe_records" or (key == "instances" and draw(st.booleans())):
        parsed = [(name or "0", json.loads(text, parse_float=_Kept, parse_int=_Kept)) for name, text in whole]
        columns = {name: value if isinstance(value, list) else [value] for name, value in parsed}
        length = min(map(len, columns.values()), default=0)
        table = [[_text(column[n]) for column in columns.values()] for n in range(length)]
        if len(columns) == 1 and table and draw(st.booleans()):
            rows_of = [json.loads(row[0], parse_float=_Kept, parse_int=_Kept) for row in table]
            if all(isinstance(row, list) for row in rows_of):
                # One column of scalars for each place of the second dimension.
                table = [[_text(cell) for cell in row] for row in rows_of]
                return _written(draw, key, [f"c{n}" for n in range(len(table[0]))], table)
        return _written(draw, key, list(columns), table)
    if whole and whole[0][0] is None:
        return whole[0][1]
    if len(whole) == 1 and draw(st.booleans()):
        return whole[0][1]
    return _object([json.dumps(name) for name, _ in whole], [text for _, text in whole])


class _Kept(str):
    """A number as it was written."""

    __slots__ = ()


def _text(value: Any) -> str:
    if isinstance(value, _Kept):
        return str(value)
    if isinstance(value, list):
        return _list([_text(item) for item in value])
    return json.dumps(value)


def _nested(draw: Draw, cells: Cells, spec: TensorSpec, rows: int) -> str:
    kind = KINDS[{"U": "str", "S": "bytes"}.get(spec.type.kind, spec.type.name)]
    shape = [rows if spec.shape[:1] == (-1,) else spec.shape[0]]
    shape += [draw(st.integers(1, 2)) if n == -1 else n for n in spec.shape[1:]]
    if draw(st.integers(0, 19)) == 0:
        shape.append(1)

    def level(depth: int) -> str:
        if depth == len(shape):
            return cells.cell(kind)
        return _list([level(depth + 1) for _ in range(shape[depth])])

    return level(0)


def _free(draw: Draw, key: str) -> str:
    width, rows = draw(st.integers(1, 3)), draw(st.integers(0, 3))
    kinds = [draw(st.sampled_from([*SCALARS, "any"])) for _ in range(width)]
    cells = Cells(draw, width * rows)
    table = [[cells.cell(TYPES[k] if k == "any" else k) for k in kinds] for _ in range(rows)]
    if draw(st.integers(0, 4)) == 0:
        return _list([row[0] for row in table])
    return _written(draw, key, ["a", "b", "c"][:width] if draw(st.integers(0, 3)) else [], table)


def _params(draw: Draw, signature: ModelSignature | None) -> str:
    schema = signature.params if signature is not None else None
    if schema is None or draw(st.integers(0, 9)) == 0:
        return str(draw(st.sampled_from([*GARBAGE, '{"x": 1}', '{"raw": 1}', '{"raw": "x"}'])))
    given = [p for p in schema.params if p.name == "raw" or draw(st.integers(0, 3)) == 0]
    pairs = []
    for param in given:
        if param.name == "raw":
            pairs.append(f'"raw": {draw(st.sampled_from(["true", "false", "true", "null"]))}')
            continue
        pool = PARAM_CELLS[param.dtype.name]
        value = draw(st.sampled_from(pool[:3] if draw(st.integers(0, 5)) else pool))
        if param.shape is not None and draw(st.integers(0, 9)):
            value = _list([value] * draw(st.integers(0, 2)))
        pairs.append(f"{json.dumps(param.name)}: {value}")
    return "{" + ", ".join(pairs) + "}"


def _llm(draw: Draw, signature: ModelSignature | None) -> str:
    key = draw(st.sampled_from(["messages", "prompt", "input"]))
    value = draw(
        st.sampled_from(['"x"', "[]", '[{"role": "user", "content": "x"}]', "null", "5", "[1e400, NaN]"])
    )
    members = [f'"{key}": {value}', f'"inputs": {draw(st.sampled_from(GARBAGE))}']
    schema = signature.params if signature is not None else None
    for param in schema.params if schema is not None else ():
        if draw(st.integers(0, 3)) == 0:
            members.append(
                f"{json.dumps(param.name)}: {draw(st.sampled_from(PARAM_CELLS[param.dtype.name]))}"
            )
    members.append(f'"params": {draw(st.sampled_from(GARBAGE))}')
    return "{" + ", ".join(members[: draw(st.integers(1, len(members)))]) + "}"


def _broken(draw: Draw, body: bytes) -> bytes:
    way = draw(st.integers(0, 9))
    if way == 0:
        return body[: draw(st.integers(0, len(body)))]
    if way == 1:
        return b"\xef\xbb\xbf" + body
    if way == 2:
        return b" \n" + body + b"\t "
    if way == 3:
        return body + draw(st.sampled_from([b"x", b"{}", b",", b"\x00"]))
    if way == 4:
        return body.decode().encode(draw(st.sampled_from(["utf-16", "utf-16-le", "utf-32", "utf-16-be"])))
    if way == 5:
        return body.replace(b'"', draw(st.sampled_from([b"'", b'"\xff', b'"\xed\xa0\x80', b"\x1f"])), 1)
    if way == 6:
        return bytes(draw(st.binary(max_size=12)))
    if way == 7:
        return body.replace(b"1", draw(st.sampled_from([b"01", b"1.", b".1", b"+1", b"1e", b"-", b"0x1"])), 1)
    if way == 8:
        return b"[" * draw(st.sampled_from([3, 99])) + body
    # The last of two equal keys counts.
    return body[:-1] + b", " + body[1:]


@st.composite
def _csv(draw: Draw, signature: ModelSignature | None) -> bytes:
    schema = signature.inputs if signature is not None else None
    names = (
        [str(n) for n in schema.input_names()]
        if schema is not None and schema.has_input_names()
        else ["a", "b"]
    )
    rows = draw(st.integers(0, 3))
    pool = ["1", "1", "2.5", "x", "", "true", "nan", '"a,b"', "é", "3.0", "2021-01-31", "1e400", '"a\nb"']
    same = draw(st.booleans())
    cell = draw(st.sampled_from(pool[:6]))
    lines = [names, *([cell if same else draw(st.sampled_from(pool)) for _ in names] for _ in range(rows))]
    text = "\n".join(",".join(line) for line in lines) + draw(
        st.sampled_from(["\n", "", "\n1,2,3,4,5,6,7\n", "\n\n"])
    )
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-16", "latin-1"])), "replace")
