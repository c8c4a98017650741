import json

import jsonschema

from servegen.server.openapi import document, page
from servegen.server.v2 import OpenInference
from tests.server.asgi import columns, model_file

MODEL = model_file(
    columns(a="double", k="long?", raw="binary"),
    params=json.dumps([{"name": "t", "type": "double", "default": 0.5, "shape": None}]),
    example=b'{"inputs": {"a": [1.0], "raw": ["x"]}}',
)
DOCUMENT = document(MODEL, OpenInference(MODEL).metadata(), version="0")


def test_rows_come_from_the_signature():
    row = DOCUMENT["components"]["schemas"]["Row"]
    assert row["required"] == ["a", "raw"]
    assert row["properties"]["k"] == {"type": "integer", "format": "int64"}
    validator = jsonschema.Draft202012Validator(row)
    assert validator.is_valid({"a": None, "raw": "eA=="})
    assert not validator.is_valid({"a": 1.5})


def test_the_example_and_the_params_are_shown():
    content = DOCUMENT["paths"]["/invocations"]["post"]["requestBody"]["content"]["application/json"]
    assert content["example"] == {"inputs": {"a": [1.0], "raw": ["x"]}}
    forms = content["schema"]["oneOf"]
    assert {key for form in forms for key in form["required"]} == {
        "dataframe_split",
        "dataframe_records",
        "instances",
        "inputs",
    }
    assert forms[0]["properties"]["params"]["properties"]["t"]["default"] == 0.5


def test_v2_paths_carry_the_name_of_the_model():
    assert "/v2/models/toy/infer" in DOCUMENT["paths"]


def test_the_page_needs_nothing_from_other_hosts():
    html = page(DOCUMENT).decode()
    assert "openapi.json" in html
    assert "http://" not in html
    assert "https://" not in html
    assert "<script" not in html
