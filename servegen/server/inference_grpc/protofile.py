"""A .proto file to a descriptor, for the part of the language that ours is written in.

An image has whichever protobuf its model brought, and generated code needs one that is not older than itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

_COMMENT = re.compile(r"//[^\n]*")
_TOKEN = re.compile(r'"[^"]*"|[\w.]+|[{}<>=;,()]')
_SCALARS = {
    name: FieldDescriptorProto.Type.Value(f"TYPE_{name.upper()}")
    for name in ("bool", "int32", "int64", "uint32", "uint64", "float", "double", "string", "bytes")
}


def parse(text: str, name: str) -> FileDescriptorProto:
    """The descriptor of the file `name` with the content `text`; raises ValueError where it has none."""
    tokens = iter(_TOKEN.findall(_COMMENT.sub("", text)))
    file = FileDescriptorProto(name=name)
    for word in tokens:
        if word == "syntax":
            _expect(tokens, "=")
            file.syntax = next(tokens).strip('"')
            _expect(tokens, ";")
        elif word == "package":
            file.package = next(tokens)
            _expect(tokens, ";")
        elif word == "message":
            _message(tokens, file.message_type.add())
        elif word == "service":
            _service(tokens, file.service.add())
        else:
            raise _unreadable(word)
    return file


def _service(tokens: Iterator[str], service: Any) -> None:
    service.name = next(tokens)
    _expect(tokens, "{")
    while (word := next(tokens)) != "}":
        if word != "rpc":
            raise _unreadable(word)
        name, *around = (next(tokens) for _ in range(9))
        request, response = around[1], around[5]
        if around != ["(", request, ")", "returns", "(", response, ")", ";"]:
            raise _unreadable(name)
        service.method.add(name=name, input_type=request, output_type=response)


def _message(tokens: Iterator[str], message: DescriptorProto) -> None:
    message.name = next(tokens)
    _expect(tokens, "{")
    while (word := next(tokens)) != "}":
        if word == "message":
            _message(tokens, message.nested_type.add())
        elif word == "oneof":
            message.oneof_decl.add(name=next(tokens))
            _expect(tokens, "{")
            while (kind := next(tokens)) != "}":
                _field(tokens, message, kind).oneof_index = len(message.oneof_decl) - 1
        elif word == "map":
            _map(tokens, message)
        elif word == "repeated":
            _field(tokens, message, next(tokens)).label = FieldDescriptorProto.LABEL_REPEATED
        else:
            _field(tokens, message, word)


def _map(tokens: Iterator[str], message: DescriptorProto) -> None:
    """A map is a repeated message of a type of its own, with the fields `key` and `value`."""
    _expect(tokens, "<")
    key = next(tokens)
    _expect(tokens, ",")
    value = next(tokens)
    _expect(tokens, ">")
    entry = message.nested_type.add()
    entry.options.map_entry = True
    for number, (name, kind) in enumerate((("key", key), ("value", value)), start=1):
        _typed(entry.field.add(name=name, number=number), kind)
    field = _field(tokens, message, "")
    entry.name = "".join(part.capitalize() for part in field.name.split("_")) + "Entry"
    field.label = FieldDescriptorProto.LABEL_REPEATED
    _typed(field, entry.name, repeated=True)


def _field(tokens: Iterator[str], message: DescriptorProto, kind: str) -> FieldDescriptorProto:
    field = message.field.add(name=next(tokens))
    _expect(tokens, "=")
    field.number = int(next(tokens))
    _expect(tokens, ";")
    return _typed(field, kind)


def _typed(field: FieldDescriptorProto, kind: str, *, repeated: bool = False) -> FieldDescriptorProto:
    field.label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, kind
    return field


def _expect(tokens: Iterator[str], wanted: str) -> None:
    found = next(tokens)
    if found != wanted:
        raise _unreadable(found)


def _unreadable(word: str) -> ValueError:
    msg = f"unexpected {word!r} in a .proto file"
    return ValueError(msg)
