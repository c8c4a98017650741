from pathlib import Path

import pytest
import yaml

from servegen.errors import RenderError
from servegen.kube import objects
from servegen.planning.deployment import plan
from servegen.renderers.manifests import Manifests
from servegen.values.deployment import Settings
from tests.kube.deployments import KEDA, deployment, everything, image
from tests.kube.hazards import HAZARDS
from tests.renderers.golden import assert_golden

GOLDEN = Path(__file__).parent / "golden_files"


def test_every_field_is_written_as_reviewed():
    assert_golden(GOLDEN / "manifests.yaml", Manifests().stream(everything()))


def test_objects_of_a_model_that_keda_scales_are_written_as_reviewed():
    bundle = Manifests().render(plan(image(), KEDA))
    assert "hpa.yaml" not in bundle.paths
    assert_golden(GOLDEN / "keda.yaml", bundle.text("servicemonitor.yaml") + bundle.text("scaledobject.yaml"))


def test_files_and_stream_hold_the_same_objects_in_the_same_order():
    bundle = Manifests().render(deployment())
    assert bundle.paths == ("serviceaccount.yaml", "service.yaml", "deployment.yaml", "pdb.yaml", "hpa.yaml")
    assert "".join(bundle.text(path) for path in bundle.paths) == Manifests().stream(deployment())
    assert tuple(yaml.safe_load_all(Manifests().stream(deployment()))) == objects.build(deployment())


def test_the_same_deployment_gives_the_same_bytes():
    assert Manifests().stream(everything()) == Manifests().stream(everything())


def test_hostile_strings_read_back_unchanged():
    env = {f"HAZARD_{index}": text for index, text in enumerate(HAZARDS)}
    planned = plan(image(model_name="a: {{ b }} # 8e1"), Settings(env=env, annotations={"x/y": "N"}))
    made = {one["kind"]: one for one in yaml.safe_load_all(Manifests().stream(planned))}
    container = made["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    values = {one["name"]: one["value"] for one in container["env"]}
    assert {name: values[name] for name in env} == env
    assert made["Service"]["metadata"]["annotations"] == {
        "servegen.dev/model-name": "a: {{ b }} # 8e1",
        "x/y": "N",
    }


def test_a_control_character_is_refused_and_its_place_named():
    with pytest.raises(RenderError, match=r"model-uri .*U\+0085"):
        Manifests().stream(plan(image(asked="models:/a\x85"), Settings()))
