import datetime
import json
from typing import Any

import pytest

from servegen.server.errors import RefusedError
from servegen.server.params import ParamReader
from servegen.server.signature import Signature

SCHEMA = [
    {"name": "k", "type": "double", "default": 1.5, "shape": None},
    {"name": "n", "type": "long", "default": 2, "shape": None},
    {"name": "flag", "type": "boolean", "default": False, "shape": None},
    {"name": "name", "type": "string", "default": "x", "shape": None},
    {"name": "list", "type": "long", "default": [1, 2], "shape": [-1]},
    {"name": "at", "type": "datetime", "default": "2020-01-01", "shape": None},
]
DEFAULTS = {
    "k": 1.5,
    "n": 2,
    "flag": False,
    "name": "x",
    "list": [1, 2],
    "at": datetime.date(2020, 1, 1),
}
READER = ParamReader(Signature.parse({"params": json.dumps(SCHEMA)}, type_hints=False).params)


@pytest.mark.parametrize("sent", [None, {}, {"unknown": 1}])
def test_absent_params_take_their_defaults(sent: Any):
    assert READER.read(sent) == DEFAULTS


def test_given_params_come_first_in_their_own_order():
    read = READER.read({"n": 3, "k": 2})
    assert read == DEFAULTS | {"n": 3, "k": 2.0}
    assert list(read or ())[:3] == ["n", "k", "flag"]
    assert type((read or {})["k"]) is float


def test_null_passes():
    assert (READER.read({"k": None}) or {})["k"] is None


def test_datetimes_are_iso_text():
    read = READER.read({"at": "2021-02-03T04:05:06"}) or {}
    assert read["at"] == datetime.datetime(2021, 2, 3, 4, 5, 6)  # noqa: DTZ001


@pytest.mark.parametrize(
    "sent",
    [
        [1],
        "x",
        {"k": "secret"},
        {"n": 1.0},
        {"n": True},
        {"flag": 1},
        {"name": 5},
        {"list": 5},
        {"list": [1.5]},
        {"list": [[1]]},
        {"at": "secret"},
        {"at": 5},
        {"k": [1.0]},
    ],
)
def test_types_are_not_widened(sent: Any):
    with pytest.raises(RefusedError) as caught:
        READER.read(sent)
    assert (caught.value.status, caught.value.code) == (400, "INVALID_PARAMETER_VALUE")
    assert "secret" not in caught.value.message


def test_without_a_schema_any_value_is_ignored():
    reader = ParamReader(None)
    assert reader.read(None) is None
    assert reader.read([1]) == {}


def test_an_object_needs_its_declared_properties():
    schema = [
        {
            "name": "o",
            "type": "object",
            "default": {"a": 1},
            "shape": None,
            "properties": {"a": {"type": "long", "required": True}},
        }
    ]
    reader = ParamReader(Signature.parse({"params": json.dumps(schema)}, type_hints=False).params)
    assert reader.read({"o": {"a": 5}}) == {"o": {"a": 5}}
    for wrong in ({}, {"a": 1, "b": 2}, 5):
        with pytest.raises(RefusedError):
            reader.read({"o": wrong})
