import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from servegen.errors import RenderError
from servegen.planning.deployment import plan
from servegen.renderers import helm
from servegen.renderers.helm import Helm
from servegen.values.deployment import AutoscalingSettings, Settings
from tests.kube.deployments import ADDED, EVERYTHING, KEDA, deployment, everything, image
from tests.renderers.golden import assert_golden

GOLDEN = Path(__file__).parent / "golden_files"
GENERATED = {"Chart.yaml", "values.yaml", "values.schema.json"}


def values(bundle):
    return yaml.safe_load(bundle.text("values.yaml"))


def test_values_hold_every_field_as_reviewed():
    assert_golden(GOLDEN / "helm-values.yaml", Helm().render(everything()).text("values.yaml"))


def test_only_values_schema_and_chart_file_are_generated():
    folder = helm.chart_folder()
    bundle = Helm().render(everything())
    for path in set(bundle.paths) - GENERATED:
        assert bundle.text(path).encode() == (folder / path).read_bytes()
    assert {path.name for path in (folder / "templates").rglob("*.yaml")} <= {
        path.rpartition("/")[2] for path in bundle.paths
    }
    assert not any(path.startswith("ci/") for path in bundle.paths)


def test_nothing_of_a_model_reaches_a_template():
    hostile = plan(image(model_name='{{ fail "x" }}: #', asked="{{ .Values }}"), Settings())
    plain = Helm().render(deployment())
    for path, text in Helm().render(hostile).files:
        if path not in GENERATED:
            assert text == plain.text(path)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        EVERYTHING,
        ADDED,
        KEDA,
        Settings(autoscaling=AutoscalingSettings(enabled=False), replicas=4),
        Settings(dev=True, kube_version="1.29", pre_stop_seconds=0, min_ready_seconds=0),
    ],
)
def test_values_fit_their_schema(settings):
    bundle = Helm().render(plan(image(), settings))
    schema = json.loads(bundle.text("values.schema.json"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(values(bundle), schema)


def test_every_value_is_commented():
    lines = Helm().render(everything()).text("values.yaml").splitlines()
    keys = [index for index, line in enumerate(lines) if line[:1].isalpha()]
    assert len(keys) == len(values(Helm().render(everything())))
    assert all(lines[index - 1].startswith("# -- ") for index in keys)


def test_the_chart_file_names_model_version_and_the_kubernetes_it_needs():
    chart = yaml.safe_load(Helm().render(everything()).text("Chart.yaml"))
    own = yaml.safe_load((helm.chart_folder() / "Chart.yaml").read_text())
    assert (chart["name"], chart["appVersion"], chart["kubeVersion"]) == ("iris", "7", ">=1.37.0-0")
    assert chart["version"] == own["version"]
    (listed,) = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])
    assert listed["image"] == everything().image.pinned


def test_a_fixed_number_of_replicas_turns_the_autoscaler_off():
    bundle = Helm().render(deployment(autoscaling=AutoscalingSettings(enabled=False), replicas=4))
    assert values(bundle)["replicaCount"] == 4
    assert values(bundle)["autoscaling"]["enabled"] is False


def test_a_chart_has_no_form_for_standard_output():
    with pytest.raises(RenderError) as caught:
        Helm().stream(deployment())
    assert "-o DIR" in caught.value.hint


def test_only_an_image_that_speaks_grpc_has_a_port_for_it():
    assert values(Helm().render(plan(image(grpc_port="9000"), Settings())))["grpcPort"] == 9000
    assert values(Helm().render(deployment()))["grpcPort"] == 0


def _without(key):
    """A patch that takes a field of the server's container away."""
    return {
        "kind": "Deployment",
        "spec": {"template": {"spec": {"containers": [{"name": "server", key: None}]}}},
    }


@pytest.mark.parametrize(
    ("patch", "path"),
    [
        ({"kind": "Deployment", "spec": {"paused": True}}, "spec.paused of the Deployment"),
        (
            {"kind": "Deployment", "spec": {"template": {"spec": {"dnsPolicy": "Default"}}}},
            "spec.template.spec.dnsPolicy of the Deployment",
        ),
        ({"kind": "Service", "metadata": {"labels": {"a": "b"}}}, "metadata.labels.a of the Service"),
        *(
            (_without(key), f"spec.template.spec.containers.0.{key}")
            for key in ("env", "resources", "startupProbe")
        ),
        (_without("volumeMounts"), "spec.template.spec.containers"),
        ({"kind": "Deployment", "spec": {"strategy": None}}, "spec.strategy of the Deployment"),
        ({"kind": "HorizontalPodAutoscaler", "spec": {"behavior": None}}, "spec.behavior"),
    ],
)
def test_a_patch_that_no_value_of_the_chart_holds_is_refused(patch, path):
    with pytest.raises(RenderError, match=re.escape(f"the chart has no value for {path}")) as caught:
        Helm().render(deployment(patches=(patch,)))
    assert "manifests" in caught.value.hint
