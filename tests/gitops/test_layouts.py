"""What a layout writes, it reads back; what somebody changed in it is seen."""

from dataclasses import replace

import pytest

from servegen.errors import ConfigError, EditedError
from servegen.gitops import files
from servegen.gitops.layouts import found, layout, layouts, seals
from servegen.progress import Silent
from servegen.targets.directory import write
from servegen.values.bundle import Bundle
from servegen.values.gitops import Record
from servegen.values.image import ImageRef
from tests.kube.deployments import deployment, everything

ENVIRONMENTS = [None, "prod"]


def record(one):
    """The record of a deployment."""
    model, scaling = one.model, one.autoscaling
    return Record(
        model_name=model.name,
        version=model.version,
        image=one.image,
        environment=one.environment,
        uri=model.uri,
        pin=model.pin,
        run_id=model.run_id,
        model_digest=model.digest,
        replicas=f"{scaling.min_replicas}-{scaling.max_replicas}",
    )


@pytest.mark.parametrize("name", layouts())
@pytest.mark.parametrize("made", [deployment(), deployment(environment="staging"), everything()])
def test_the_record_of_a_release_is_read_back(name, made, tmp_path):
    one = layout(name)
    assert one.read(tmp_path, made.environment) is None
    write(one.bundle(made), tmp_path)
    assert one.read(tmp_path, made.environment) == record(made)
    assert one.read(tmp_path, "other") is None
    assert one.environments(tmp_path) == (made.environment or "default",)
    held = "models:/iris/9\nmodels:/a model/10"
    files = dict(one.bundle(made, held=held).files)
    write(one.bundle(made, held=held), tmp_path)
    assert one.read(tmp_path, made.environment) == replace(record(made), held=held)
    for other in (None, "models:/iris/9"):
        changed = one.hold(files, made.environment, other)
        write(Bundle.of(changed), tmp_path)
        assert one.read(tmp_path, made.environment) == replace(record(made), held=other)
        assert all(text.count("# servegen sha256:") == 1 and seals.intact(text) for text in changed.values())
    assert set(one.owned(tmp_path, made.environment)) <= set(one.bundle(made).paths)
    assert one.owned(tmp_path, made.environment)
    assert type(found(tmp_path)) is type(one)


@pytest.mark.parametrize("name", layouts())
def test_a_record_that_somebody_spoilt_is_named(name, tmp_path):
    one, made = layout(name), deployment(environment="prod")
    write(one.bundle(made), tmp_path)
    for path in one.owned(tmp_path, "prod"):
        text = (tmp_path / path).read_text()
        (tmp_path / path).write_text(text.replace("sha256:" + "a" * 64, "latest"))
    with pytest.raises(EditedError, match=r"yaml "):
        one.read(tmp_path, "prod")


def test_values_tell_of_their_chart_and_of_no_program_s_options(tmp_path):
    made, text = deployment(environment="prod"), "oci://registry.example.com/charts/iris:1.0.0"
    for chart, expected in ((text, text), (None, text), (text.replace("1.0.0", "2.0.0"), None)):
        one = layout("values").of_chart(chart, tmp_path, "prod")
        found = files.changes(one.bundle(made, held="models:/iris/9"), tmp_path)
        # A comment alone is a change, too.
        assert [each.action for each in found] == ["unchanged" if chart is None else found[0].action]
        assert one.chart == (expected or chart)
        files.write(found, tmp_path)
    assert files.changes(one.bundle(made), tmp_path)[0].action == "configured"
    path = tmp_path / "values-prod.yaml"
    assert "# servegen.dev/chart: oci://registry.example.com/charts/iris:2.0.0\n" in path.read_text()
    path.write_text(path.read_text().replace("oci://", "--post-renderer=oci://"))
    with pytest.raises(EditedError, match="names the chart"):
        one.build(tmp_path, "prod", env={}, progress=Silent())


def test_an_unknown_layout_is_refused_with_those_there_are():
    with pytest.raises(ConfigError) as caught:
        layout("jsonnet")
    assert "kustomize" in caught.value.hint


def test_a_seal_holds_for_other_formatting_and_breaks_for_other_content():
    text = seals.sealed({"a.yaml": 'a: "1"\nb: [x]\n'})["a.yaml"]
    assert text.startswith(f"{seals.OWNED}\n# servegen sha256:")
    assert seals.intact(text)
    assert seals.intact(text.replace("\n", "\r\n"))
    assert seals.intact(text.replace("[x]", "\n- x").replace('"1"', "'1'"))
    assert not seals.intact(text.replace("[x]", "[y]"))
    assert not seals.intact('a: "1"\nb: [x]\n')


def test_an_image_reference_keeps_its_tag(tmp_path):
    made = replace(deployment(), image=ImageRef.parse("reg.example/iris:v7@sha256:" + "c" * 64))
    write(layout("kustomize").bundle(made), tmp_path)
    read = layout("kustomize").read(tmp_path, None)
    assert read is not None
    assert str(read.image) == str(made.image)
