"""What a layout writes, it reads back; what somebody changed in it is seen."""

from dataclasses import replace

import pytest

from servegen.errors import ConfigError, EditedError, RenderError
from servegen.gitops import files
from servegen.gitops.layouts import found, layout, layouts, notes, seals
from servegen.gitops.layouts.programs import AbsentProgramError
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


@pytest.mark.parametrize("name", ["helm", "values"])
def test_values_of_others_are_no_release(name, tmp_path):
    one = layout(name)
    write(one.bundle(deployment(environment="prod")), tmp_path)
    (tmp_path / "values-common.yaml").write_text("a: 1\n")
    (tmp_path / "values-folder.yaml").mkdir()
    assert one.environments(tmp_path) == ("prod",)
    assert type(found(tmp_path)) is type(one)


def test_a_release_tells_what_its_objects_are_called_after(tmp_path):
    made = deployment(environment="prod")
    for name in layouts():
        folder, one = tmp_path / name, layout(name)
        assert one.named(folder, "prod") is None
        write(one.bundle(made), folder)
        assert one.named(folder, "prod") == made.name
        assert one.named(folder, "qa") == (made.name if one.shares else None)
    for text in ("- a\n", "name: [x]\n", "metadata: {labels: x}\n"):
        (tmp_path / "helm/chart/Chart.yaml").write_text(text)
        assert layout("helm").named(tmp_path / "helm", "prod") is None


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


@pytest.mark.parametrize("head", ["a0: &a0 [x, x]\n", "a0: &a0 [*a0]\n"])
def test_a_file_whose_aliases_stand_for_more_than_memory_holds_is_nobodys(head):
    levels = "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 40))
    text = f"{seals.OWNED}\n# servegen sha256:{'0' * 64}\n{head}{levels}"
    assert not seals.intact(text)
    assert not seals.alike(text, text)
    with pytest.raises(EditedError, match=r"x\.yaml is no YAML mapping"):
        notes.load(text, "x.yaml")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{{ if .x }}", "cannot be read"),
        ("- a\n", "no object of Kubernetes"),
        ("image: {tag: x}\n", "no object of Kubernetes"),
    ],
)
def test_what_is_applied_with_a_release_and_no_object_is_named(text, match, tmp_path):
    write(layout("manifests").bundle(deployment(environment="prod")), tmp_path)
    (tmp_path / "prod/theirs.yaml").write_text("---\n---\nkind: ConfigMap\n")
    built = layout("manifests").build(tmp_path, "prod", env={}, progress=Silent())
    assert "ConfigMap" in [one["kind"] for one in built]
    (tmp_path / "prod/theirs.yaml").write_text(text)
    with pytest.raises(RenderError, match=rf"prod/theirs\.yaml .*{match}"):
        layout("manifests").build(tmp_path, "prod", env={}, progress=Silent())
    # With a kustomization it is that which is applied.
    (tmp_path / "prod/kustomization.yaml").write_text("resources: [deployment.yaml]\n")
    with pytest.raises(AbsentProgramError, match="without kubectl or kustomize"):
        layout("manifests").build(tmp_path, "prod", env={"PATH": "/nowhere"}, progress=Silent())


def test_an_image_reference_keeps_its_tag(tmp_path):
    made = replace(deployment(), image=ImageRef.parse("reg.example/iris:v7@sha256:" + "c" * 64))
    write(layout("kustomize").bundle(made), tmp_path)
    read = layout("kustomize").read(tmp_path, None)
    assert read is not None
    assert str(read.image) == str(made.image)
