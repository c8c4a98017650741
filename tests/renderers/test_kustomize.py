"""Files and their rules; tests/e2e/test_formats.py builds them."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from servegen.errors import RenderError
from servegen.planning.deployment import plan
from servegen.renderers.kustomize import Kustomize
from servegen.targets.directory import write
from servegen.values.deployment import AutoscalingSettings, ResourceSettings, Settings
from tests.kube.deployments import deployment, everything, image
from tests.renderers.golden import assert_golden

GOLDEN = Path(__file__).parent / "golden_files"
OWNED = "# Owned by servegen; rewritten on every deploy.\n"


def whole(bundle):
    """All files as one text."""
    return "".join(f"##### {path}\n{text}" for path, text in (*bundle.files, *bundle.starters))


def release(model_version, environment, **settings):
    facts = {"model_version": model_version, "pin": f"models:/iris/{model_version}"}
    made = plan(image(**facts), Settings(environment=environment, **settings))
    return replace(made, image=made.image.at("sha256:" + model_version * 64))


def overriding(settings):
    """A deployment whose environment sets what the others do not, with the base of `Settings()`."""
    return plan(image(), replace(settings, environment="prod"), Settings())


def test_every_file_is_written_as_reviewed():
    assert_golden(GOLDEN / "kustomize.txt", whole(Kustomize().render(everything())))


def test_base_component_and_overlay_have_their_folders():
    bundle = Kustomize().render(deployment(environment="prod", namespace="ml"))
    folders = {path.rpartition("/")[0] for path in bundle.paths}
    assert folders == {"base", "components/release-prod"}
    ((path, text),) = bundle.starters
    assert path == "overlays/prod/kustomization.yaml"
    overlay = yaml.safe_load(text)
    assert overlay["namespace"] == "ml"
    assert overlay["resources"] == ["../../base"]
    assert overlay["components"] == ["../../components/release-prod"]


def test_without_an_environment_it_is_called_default():
    bundle = Kustomize().render(deployment())
    assert "components/release-default/kustomization.yaml" in bundle.paths
    assert dict(bundle.starters).keys() == {"overlays/default/kustomization.yaml"}


def test_a_release_changes_its_component_alone(tmp_path):
    write(Kustomize().render(release("7", "prod")), tmp_path)
    write(Kustomize().render(release("7", "staging")), tmp_path)
    changes = write(Kustomize().render(release("8", "staging")), tmp_path)
    touched = {change.name for change in changes if change.action not in ("unchanged", "kept")}
    assert touched == {f"components/release-staging/{name}.yaml" for name in ("kustomization", "deployment")}
    component = yaml.safe_load((tmp_path / "components/release-prod/kustomization.yaml").read_text())
    assert component["images"] == [{"name": "registry.example.com/ml/iris", "digest": "sha256:" + "7" * 64}]
    assert component["labels"][0]["pairs"]["app.kubernetes.io/version"] == "7"


def test_environments_share_the_base_whatever_their_names_are():
    name = "a-model-with-a-name-of-forty-three-letters-x"
    files = [
        Kustomize().render(plan(image(model_name=name), Settings(environment=environment))).text
        for environment in ("dev", "acceptance-testing")
    ]
    assert files[0]("base/deployment.yaml") == files[1]("base/deployment.yaml")


def test_what_the_image_of_one_environment_can_is_not_in_the_base():
    plain = Kustomize().render(plan(image(), Settings(environment="prod")))
    made = plan(image(grpc_port="9000"), Settings(environment="staging"))
    elsewhere = replace(made.image, registry="other.example.com")
    other = Kustomize().render(replace(made, image=elsewhere))
    assert plain.text("base/service.yaml") == other.text("base/service.yaml")
    changes = yaml.safe_load(other.text("components/release-staging/deployment.yaml"))
    values = {one["path"]: one["value"] for one in changes}
    assert values["/spec/template/spec/containers/0/image"] == "other.example.com/ml/iris"
    assert [port["containerPort"] for port in values["/spec/template/spec/containers/0/ports"]] == [
        3000,
        9000,
    ]


def test_an_overlay_is_written_once(tmp_path):
    bundle = Kustomize().render(release("7", "prod"))
    write(bundle, tmp_path)
    overlay = tmp_path / "overlays/prod/kustomization.yaml"
    overlay.write_text("mine\n")
    actions = {change.name: change.action for change in write(bundle, tmp_path)}
    assert actions["overlays/prod/kustomization.yaml"] == "kept"
    assert overlay.read_text() == "mine\n"


def test_the_base_holds_nothing_of_a_release():
    texts = [text for path, text in Kustomize().render(everything()).files if path.startswith("base/")]
    for text in texts:
        assert "sha256:" not in text
        assert "app.kubernetes.io/version" not in text
        assert "servegen.dev/pin" not in text
        assert "namespace" not in yaml.safe_load(text).get("metadata", {})


def test_what_an_environment_overrides_is_in_its_component():
    bundle = Kustomize().render(overriding(Settings(resources=ResourceSettings(cpu="3"))))
    changes = {
        one["path"]: one["value"]
        for one in yaml.safe_load(bundle.text("components/release-prod/deployment.yaml"))
    }
    assert changes["/spec/template/spec/containers/0/resources/requests/cpu"] == "3"
    assert '"500m"' in bundle.text("base/deployment.yaml")


def test_an_object_that_one_environment_does_without_is_deleted_there():
    fixed = Settings(autoscaling=AutoscalingSettings(enabled=False), replicas=4)
    bundle = Kustomize().render(overriding(fixed))
    assert yaml.safe_load(bundle.text("components/release-prod/hpa.yaml")) == {
        "$patch": "delete",
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "iris"},
    }
    assert "base/hpa.yaml" in bundle.paths


def test_an_object_that_only_one_environment_has_is_a_resource_of_its_component():
    fixed = Settings(autoscaling=AutoscalingSettings(enabled=False))
    bundle = Kustomize().render(plan(image(), Settings(environment="prod"), fixed))
    component = yaml.safe_load(bundle.text("components/release-prod/kustomization.yaml"))
    assert component["resources"] == ["hpa.yaml"]
    assert yaml.safe_load(bundle.text("components/release-prod/hpa.yaml"))["metadata"]["name"] == "iris-prod"


def test_files_that_a_change_of_settings_leaves_behind_are_deleted(tmp_path):
    write(Kustomize().render(deployment()), tmp_path)
    (tmp_path / "base/notes.yaml").write_text("mine\n")
    write(Kustomize().render(deployment(autoscaling=AutoscalingSettings(enabled=False))), tmp_path)
    assert not (tmp_path / "base/hpa.yaml").exists()
    assert (tmp_path / "base/notes.yaml").exists()


def test_every_owned_file_says_so():
    for path, text in Kustomize().render(everything()).files:
        assert OWNED in text, path


def test_there_is_no_form_for_standard_output():
    with pytest.raises(RenderError) as caught:
        Kustomize().stream(deployment())
    assert "-o DIR" in caught.value.hint
