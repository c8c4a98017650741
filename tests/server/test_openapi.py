import json
from typing import Any

import jsonschema
import pytest

from servegen.server.modelfile import ModelFile
from servegen.server.openapi import document, page
from servegen.server.v2 import OpenInference
from tests.server.asgi import columns, model_file

MODEL = model_file(
    columns(a="double", k="long?", name="string"),
    params=json.dumps([{"name": "t", "type": "long", "default": 3, "shape": None}]),
    example=b'{"dataframe_split": {"columns": ["name", "a"], "data": [["x", 1.5]]}}',
)
STATUSES = {"200", "400", "404", "405", "413", "415", "429", "500", "503", "504"}


def described(model: ModelFile = MODEL) -> dict[str, Any]:
    return document(model, OpenInference(model).metadata(), version="0")


def takes(schema: str, value: Any, model: ModelFile = MODEL) -> bool:
    whole = {**described(model), "$ref": f"#/components/schemas/{schema}"}
    return bool(jsonschema.Draft202012Validator(whole).is_valid(value))


def tensor(dtype: str, *shape: int, name: str | None = None) -> dict[str, Any]:
    spec = {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}}
    return spec if name is None else {**spec, "name": name}


def invocations(model: ModelFile = MODEL) -> Any:
    return described(model)["paths"]["/invocations"]["post"]


def test_rows_come_from_the_signature():
    row = described()["components"]["schemas"]["Row"]
    assert row["required"] == ["a", "name"]
    assert row["properties"]["k"] == {"type": "integer", "format": "int64"}
    assert row["properties"]["a"] == {"type": ["number", "null"], "format": "double"}
    assert takes("Row", {"a": None, "name": "x"})
    assert not takes("Row", {"a": 1.5})
    assert not takes("Row", {"a": 1.5, "name": "x", "k": None})


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["name", "a"], "data": [["x", 1.5]]}},
        {"dataframe_records": [{"a": 1.5, "name": "x"}]},
        {"inputs": {"a": [1.5], "name": ["x"]}},
        {"inputs": {"a": 1.5, "name": "x"}},
        {"instances": [{"a": 1.5, "name": "x", "k": 1}], "params": {"t": None}},
    ],
)
def test_each_form_of_a_request_is_described(body: Any):
    assert takes("Invocation", body)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"dataframe_records": [{"a": 1.5}]},
        {"inputs": {"a": [1.5], "name": ["x"]}, "instances": []},
        {"dataframe_split": {"data": [], "colums": []}},
        {"inputs": {"a": [1.5], "name": ["x"]}, "params": {"t": 1.5}},
    ],
)
def test_what_the_server_refuses_is_not_described(body: Any):
    assert not takes("Invocation", body)


def test_params_have_their_defaults():
    forms = described()["components"]["schemas"]["Invocation"]["oneOf"]
    expected = {"type": ["integer", "null"], "format": "int64", "default": 3}
    assert [form["properties"]["params"]["properties"]["t"] for form in forms] == [expected] * 4
    infer = described()["components"]["schemas"]["InferRequest"]
    assert infer["properties"]["parameters"]["properties"]["t"] == expected


def test_the_example_is_shown_for_every_way_to_send_it():
    content = invocations()["requestBody"]["content"]
    assert content["application/json"]["example"] == json.loads(MODEL.example or b"")
    assert content["text/csv"]["example"] == "a,name\n1.5,x\n"
    assert "application/vnd.apache.parquet" in content
    infer = described()["paths"]["/v2/models/toy/infer"]["post"]["requestBody"]["content"]["application/json"]
    assert infer["example"] == {
        "inputs": [
            {"name": "a", "shape": [1, 1], "datatype": "FP64", "data": [1.5]},
            {"name": "name", "shape": [1, 1], "datatype": "BYTES", "data": ["x"]},
        ]
    }
    assert takes("InferRequest", infer["example"])
    call = OpenInference(MODEL).read(json.dumps(infer["example"]).encode())
    assert [list(cells) for cells in call.input.cells] == [[1.5], ["x"]]


def test_an_example_that_does_not_fit_is_shown_as_it_is():
    model = model_file(columns(a="double"), example=b'{"inputs": ["word"]}')
    assert invocations(model)["requestBody"]["content"]["application/json"]["example"] == {"inputs": ["word"]}
    infer = described(model)["paths"]["/v2/models/toy/infer"]["post"]
    assert "example" not in infer["requestBody"]["content"]["application/json"]


def test_csv_is_offered_only_where_text_can_carry_every_column():
    for kind in ("binary", "datetime", "any"):
        content = invocations(model_file(columns(x=kind)))["requestBody"]["content"]
        assert list(content) == ["application/json", "application/vnd.apache.parquet"]


def test_a_route_has_every_status_it_can_answer_with():
    assert invocations()["responses"].keys() >= STATUSES
    paths = described()["paths"]
    assert paths["/v2/models/toy/infer"]["post"]["responses"].keys() >= STATUSES
    assert set(paths["/readyz"]["get"]["responses"]) == {"200", "405", "503"}
    assert set(paths["/v2/health/ready"]["get"]["responses"]) == {"200", "405", "503"}
    for path in ("/ping", "/health", "/version", "/livez", "/readyz"):
        assert set(paths[path]) == {"get", "head"}


def test_v2_paths_carry_the_name_and_version_of_the_model():
    paths = described(model_file(columns(a="double"), name="my model"))["paths"]
    for path in ("", "/ready", "/infer", "/versions/1", "/versions/1/ready", "/versions/1/infer"):
        assert f"/v2/models/my%20model{path}" in paths


def test_operation_ids_are_unique():
    ids = [o["operationId"] for methods in described()["paths"].values() for o in methods.values()]
    assert len(ids) == len(set(ids))


def test_nested_columns_keep_their_form():
    person = {
        "type": "object",
        "properties": {
            "age": {"type": "long", "required": False},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
    }
    specs = [
        {"name": "who", "required": True, **person},
        {"name": "map", "required": False, "type": "map", "values": {"type": "double"}},
    ]
    model = model_file(json.dumps(specs))
    assert takes("Row", {"who": {"tags": ["x"]}}, model)
    assert takes("Row", {"who": {"tags": [], "age": None}, "map": None}, model)
    assert not takes("Row", {"who": {"age": 3}}, model)
    assert not takes("Row", {"who": {"tags": [], "more": 1}}, model)
    assert not takes("Row", {"who": {"tags": []}, "map": {"a": "x"}}, model)
    assert takes("Invocation", {"inputs": [{"who": {"tags": []}}]}, model)
    assert not takes("Invocation", {"instances": [{"who": {"tags": []}}]}, model)


def test_tensors_are_nested_lists_of_their_shape():
    model = model_file(json.dumps([tensor("float32", -1, 2)]), example=b'{"inputs": [[1, 2]]}')
    for body in (
        {"inputs": [[1, None], [2, 3.5]]},
        {"instances": [[1, 2]]},
        {"dataframe_records": [{"p": 1, "q": 2}]},
        {"dataframe_records": [{"p": [1, 2]}]},
        {"dataframe_split": {"data": [[1, 2]]}},
    ):
        assert takes("Invocation", body, model), body
    assert not takes("Invocation", {"inputs": [[1, 2, 3]]}, model)
    infer = described(model)["paths"]["/v2/models/toy/infer"]["post"]["requestBody"]["content"]
    (given,) = infer["application/json"]["example"]["inputs"]
    assert given == {"name": "input-0", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}


def test_named_tensors_are_objects_or_rows():
    specs = [tensor("uint8", -1, name="ids"), tensor("float32", -1, 2, name="vec")]
    model = model_file(json.dumps(specs))
    assert takes("Invocation", {"inputs": {"ids": [1], "vec": [[1, 2]]}}, model)
    assert takes("Invocation", {"instances": [{"ids": 1, "vec": [1, 2]}]}, model)
    assert not takes("Invocation", {"inputs": {"ids": [256], "vec": [[1, 2]]}}, model)
    assert not takes("Invocation", {"inputs": {"ids": [1]}}, model)


def test_without_a_signature_anything_goes():
    model = model_file()
    for body in ({"inputs": 3}, {"dataframe_records": [{"x": {}}]}, {"messages": [], "temperature": 1}):
        assert takes("Invocation", body, model)
    assert takes("Answer", {"predictions": None}, model)
    assert takes("Answer", "text", model)


def test_a_language_models_request_is_described_where_the_model_takes_one():
    messages = json.dumps([{"name": "messages", "type": "array", "items": {"type": "string"}}])
    params = json.dumps([{"name": "temperature", "type": "double", "default": 0.5, "shape": None}])
    model = model_file(messages, params=params)
    assert takes("Invocation", {"messages": ["hi"], "temperature": 1.0}, model)
    assert takes("Invocation", {"dataframe_records": [{"messages": ["hi"]}]}, model)
    assert not takes("Invocation", {"messages": "hi"}, model)
    assert not takes("Invocation", {"messages": ["hi"]})
    assert "stream" not in json.dumps(described(model)["components"])


def test_type_hints_describe_the_items_of_inputs():
    hints = json.dumps([{"type": "map", "values": {"type": "long"}, "required": True}])
    model = model_file(hints, outputs=json.dumps([{"type": "long"}]), type_hints=True)
    assert takes("Invocation", {"inputs": [{"a": 1}]}, model)
    assert not takes("Invocation", {"inputs": [{"a": "x"}]}, model)
    assert not takes("Invocation", {"dataframe_records": [{"a": 1}]}, model)
    assert list(invocations(model)["requestBody"]["content"]) == ["application/json"]
    assert takes("Answer", {"predictions": [1, 2]}, model)


@pytest.mark.parametrize(
    ("outputs", "fits", "differs"),
    [
        ([tensor("float64", -1)], [[1.5, None], []], [["x"], {"a": 1}, [[1.0]]]),
        ([{"type": "long"}], [[1, 2], [{"0": 1}]], [["x"], 3]),
        (
            [{"name": "p", "type": "double"}],
            [[{"p": None}], [1.5], {"p": [1.5]}, 1.5],
            [[{"q": 1.5}], ["x"], {"p": ["x"]}],
        ),
        (
            [{"name": "t", "type": "datetime"}, {"name": "n", "type": "long"}],
            [[{"t": "NaT", "n": 1}], [{"t": "2021-01-02T03:04:05", "n": 1}]],
            [[{"t": "NaT", "n": None}], [1]],
        ),
        (
            [tensor("int64", -1, name="ids"), tensor("float32", -1, 2, name="vec")],
            [{"ids": [1], "vec": [[1.5, 2]]}, [{"ids": 1, "vec": [1, 2]}]],
            [{"ids": [1]}, {"ids": [1.5], "vec": []}],
        ),
    ],
)
def test_answers_come_from_the_outputs_of_the_signature(
    outputs: list[Any], fits: list[Any], differs: list[Any]
):
    model = model_file(columns(a="double"), outputs=json.dumps(outputs))
    assert [v for v in fits if not takes("Answer", {"predictions": v}, model)] == []
    assert [v for v in differs if takes("Answer", {"predictions": v}, model)] == []


def test_a_streamable_model_can_answer_with_events():
    model = model_file(columns(a="double"), streamable=True)
    assert "text/event-stream" in invocations(model)["responses"]["200"]["content"]
    assert takes("Invocation", {"inputs": [1.5], "stream": True}, model)
    assert "text/event-stream" not in invocations()["responses"]["200"]["content"]


def test_every_reference_leads_somewhere():
    whole = described()
    for reference in set(_references(whole)):
        found = whole
        for key in reference.removeprefix("#/").split("/"):
            found = found[key]


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        here = [value["$ref"]] if "$ref" in value else []
        return here + [r for v in value.values() for r in _references(v)]
    return [r for v in value for r in _references(v)] if isinstance(value, list) else []


def test_the_page_holds_the_document_and_needs_no_other_host():
    model = model_file(columns(a="double"), name="</script><b>")
    html = page(described(model)).decode()
    assert "&lt;/script&gt;&lt;b&gt;" in html
    assert "<b>" not in html
    assert "http://" not in html
    assert "https://" not in html
    assert "src=" not in html
    _, _, rest = html.partition('id="document">')
    assert json.loads(rest.partition("</script>")[0]) == described(model)


def test_the_pages_policy_allows_its_own_script_and_style_alone():
    import base64
    import hashlib
    import re

    html = page(described()).decode()
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in html
    assert "default-src 'none'" in html
