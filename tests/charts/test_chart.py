"""The hand-written chart, as far as that goes without helm; tests/e2e/test_chart.py has the rest."""

import json
import re

import jsonschema
import pytest
import yaml

from servegen.renderers import helm

CHART = helm.chart_folder()
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
CASES = sorted((CHART / "ci").glob("*-values.yaml"))


def merged(base, over):
    """`over` on top of `base`, as helm does it."""
    both = {key for key in over if isinstance(base.get(key), dict) and isinstance(over[key], dict)}
    return base | over | {key: merged(base[key], over[key]) for key in both}


def test_values_and_schema_have_the_same_keys_in_the_same_order():
    assert list(VALUES) == list(SCHEMA["properties"])
    for key, schema in SCHEMA["properties"].items():
        if schema.get("additionalProperties") is False:
            assert list(VALUES[key]) == list(schema["properties"])


def test_comments_in_values_are_the_schemas_descriptions():
    assert (CHART / "values.yaml").read_text() == "---\n" + helm.commented(VALUES, SCHEMA)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_example_values_fit_the_schema(path):
    jsonschema.validate(merged(VALUES, yaml.safe_load(path.read_text())), SCHEMA)


@pytest.mark.parametrize(
    "wrong",
    [
        {"imagee": {}},
        {"image": {"digset": "x"}},
        {"image": {"digest": "sha256:1"}},
        {"replicaCount": "2"},
        {"service": {"type": "Headless"}},
        {"podDisruptionBudget": {"maxUnavailable": 0}},
        {"resources": {"requests": {"cpu": "two"}}},
        {"commonLabels": {"a": 1}},
        {"commonLabels": {"a": "b c"}},
        {"podLabels": {"a": "b c"}},
        {"fullnameOverride": "9x"},
        {"keda": {"threshold": 6}},
        {"monitoring": {"discovery": "PodMonitor"}},
        {"route": {"host": "x"}},
        {"networkPolicy": {"enabled": "yes"}},
    ],
)
def test_mistakes_in_values_are_refused(wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(VALUES | wrong, SCHEMA)


def test_a_parent_chart_may_pass_its_globals():
    jsonschema.validate(VALUES | {"global": {"imageRegistry": "mirror", "anything": 1}}, SCHEMA)


def test_every_value_that_a_template_reads_exists():
    text = "".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())
    for path in re.findall(r"\.Values((?:\.[a-zA-Z]+)+)", text):
        node = SCHEMA
        for key in path.strip(".").split("."):
            if key in node.get("properties", {}):
                node = node["properties"][key]
            else:
                pytest.fail(f"templates read .Values{path}, which the schema does not have")


def test_every_value_is_read_by_a_template():
    text = "".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())
    unread = [key for key in VALUES if not re.search(rf"\.Values\)?\.{key}\b", text)]
    assert unread == []


def test_templates_never_evaluate_values_as_templates():
    for path in (CHART / "templates").rglob("*"):
        if path.is_file():
            assert not re.search(r"\btpl\b", path.read_text())
