"""The JSON Schema for editors says of a document what the reader says."""

import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servegen.config import Config, read, schema
from servegen.config.starter import starter
from servegen.errors import ConfigError

VALIDATOR = jsonschema.Draft7Validator(schema())
ANY = st.sampled_from(["text", "8e1", "yes", 3, 1.5, True, None, [], {}, ["a"], [1], {"a": "b"}, [{"a": {}}]])


def documents(kind):
    """Documents of the shape of `kind`, most of them with something that does not fit."""
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        keys = {f.name: st.one_of(documents(hints[f.name]), ANY) for f in fields(kind)}
        # A few keys a time: errors would hide each other in documents with all of them.
        return st.lists(st.sampled_from([*keys, "unknown"]), max_size=3, unique=True).flatmap(
            lambda chosen: st.fixed_dictionaries({key: keys.get(key, ANY) for key in chosen})
        )
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return st.lists(documents(arguments[0]), max_size=2)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return st.dictionaries(st.sampled_from(["a", "b"]), documents(arguments[1]), max_size=2)
    return ANY


def accepted(path, document):
    path.write_text(yaml.safe_dump(document))
    try:
        read(path)
    except ConfigError:
        return False
    return True


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=documents(Config))
def test_schema_and_reader_agree(tmp_path, document):
    assert VALIDATOR.is_valid(document) == accepted(tmp_path / "servegen.yaml", document)


@pytest.mark.parametrize(
    ("document", "fits"),
    [
        ({"python": 3.1, "deploy": {"labels": {"a": True}}}, True),
        ({"deploy": {"patches": [{"kind": "Service", "spec": {"type": None}}]}}, True),
        ({"environments": {"prod": {"deploy": {"resources": {"cpu": 2}}}}}, True),
        ({"deploy": {"volumes": [{"name": "a", "emptyDir": None}]}}, False),
        ({"deploy": {"volumes": [{"name": 1.5}]}}, False),
        ({"deploy": {"replicas": "3"}}, False),
        ({"environments": {"prod": {"apt": []}}}, False),
    ],
)
def test_schema_and_reader_agree_on_what_people_write(tmp_path, document, fits):
    assert VALIDATOR.is_valid(document) is accepted(tmp_path / "servegen.yaml", document) is fits


def test_every_key_is_explained():
    def explained(node):
        for key, value in node.get("properties", {}).items():
            assert value["description"], key
            explained(value)

    jsonschema.Draft7Validator.check_schema(schema())
    explained(schema())


def test_the_starter_fits():
    VALIDATOR.validate(yaml.safe_load(starter("models:/iris/1", "registry.example.com/iris")))
