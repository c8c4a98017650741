"""`servegen validate`: files, folders and streams of any quality."""

import json

import pytest
import yaml
from click.testing import CliRunner

from servegen.cli import servegen
from servegen.errors import RenderError, ValidationError
from servegen.kube import versions
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.progress import Silent
from servegen.renderers.manifests import Manifests
from servegen.targets.directory import write
from servegen.validation import validate
from tests.kube import fake_api
from tests.kube.deployments import everything

GOOD = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n"
BAD = "apiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec: {prots: []}\n"


def check(*places, stdin="", env=None):
    return validate(
        [str(place) for place in places],
        versions.DEFAULT,
        stdin=stdin,
        env=env or {"PATH": ""},
        progress=Silent(),
    )


def test_what_we_render_is_valid(tmp_path):
    write(Manifests().render(everything()), tmp_path)
    report = validate([str(tmp_path)], versions.NEWEST, env={}, progress=Silent())
    assert report.findings == ()
    assert report.objects == 8


def test_each_finding_names_file_object_and_field(tmp_path):
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/bad.yaml").write_text(BAD)
    report = check(tmp_path)
    assert report.objects == 2
    assert str(report.findings[0]).startswith(f"{tmp_path}/sub/bad.yaml: Service b: spec: ")
    assert "prots" in report.findings[0].message


def test_lists_and_several_documents_are_read(tmp_path):
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Pod"}]})
    report = check("-", stdin=f"{GOOD}---\n{BAD}---\n{text}\n---\n---\n")
    assert report.objects == 2
    assert len(report.findings) == 2


@pytest.mark.parametrize(
    "text", ["a: [", "- 1", "3", "{}", "kind: Service", "&a [*a]", "a: &x\n b: *y", "\t"]
)
def test_what_is_no_manifest_is_a_finding(text):
    assert len(check("-", stdin=text).findings) == 1


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("{a: x}\ndata: {b: y}", "line 5: key data stands twice"),
        ('{1: x, "1": y}', "key 1 stands twice"),
        ("{a: !!binary aGk=}", "binary"),
        ("&x {a: *x}", "Circular"),
        ("{[a]: b}", "a key is no text"),
    ],
)
def test_what_has_no_form_in_json_is_a_finding(data, says):
    (finding,) = check(
        "-", stdin=f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {data}\n"
    ).findings
    assert says in finding.message


def test_yaml_is_read_as_kubernetes_reads_it():
    data = "data: &d {day: 2024-01-01, 1: x, true: y, e: =}\nbinaryData: {<<: *d, e: b}\n"
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\n{data}"
    assert check("-", stdin=text).findings == ()


def test_a_link_is_not_followed_to_where_it_came_from(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/up").symlink_to(tmp_path)
    (tmp_path / "good.yaml").write_text(GOOD)
    assert check(tmp_path).objects == 1


def test_objects_of_ours_that_contradict_each_other_are_found(tmp_path):
    write(Manifests().render(everything()), tmp_path)
    service = tmp_path / "service.yaml"
    service.write_text(
        service.read_text().replace("app.kubernetes.io/name: iris", "app.kubernetes.io/name: wine")
    )
    report = validate([str(tmp_path)], versions.NEWEST, env={}, progress=Silent())
    assert any("selects no pod" in finding.message for finding in report.findings)


def test_what_the_rules_need_and_the_schemas_do_not_hides_nothing(tmp_path):
    write(Manifests().render(everything()), tmp_path)
    service = yaml.safe_load((tmp_path / "service.yaml").read_text())
    service["spec"] = {}
    (tmp_path / "service.yaml").write_text(yaml.safe_dump(service))
    deployment = yaml.safe_load((tmp_path / "deployment.yaml").read_text())
    deployment["spec"]["template"]["spec"]["hostNetwork"] = True
    (tmp_path / "deployment.yaml").write_text(yaml.safe_dump(deployment))
    messages = [one.message for one in check(tmp_path).findings]
    assert any("hostNetwork is set" in text for text in messages)
    assert any("an object lacks ports" in text for text in messages)


@pytest.mark.parametrize("text", ["", "services: {model: {image: x}}"])
def test_nothing_to_check_is_no_success(text):
    done = CliRunner().invoke(servegen, ["validate", "-"], input=text)
    assert isinstance(done.exception, ValidationError)
    assert "no Kubernetes object in -" in str(done.exception)


def test_a_place_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(RenderError, match="cannot be read"):
        check(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff")
    with pytest.raises(RenderError, match="UTF-8"):
        check(tmp_path / "latin.yaml")


def test_kustomizations_are_not_read_file_by_file(tmp_path):
    (tmp_path / "kustomization.yaml").write_text("resources: [patch.yaml]\n")
    (tmp_path / "patch.yaml").write_text("not: an object\n")
    assert check(tmp_path).objects == 0


@pytest.fixture
def cluster(tmp_path):
    with fake_api.running(tmp_path) as api:
        resources = [{"kind": "Namespace", "name": "namespaces", "namespaced": False}]
        api.answer["/api/v1"] = (200, json.dumps({"resources": resources}).encode())
        yield api, Cluster.connect(ClusterOptions(kubeconfig=str(api.kubeconfig)))


def test_the_cluster_is_asked_about_each_object_where_it_belongs(cluster):
    api, client = cluster
    namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: web}\n"
    stranger = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n"
    other = GOOD.replace("name: a", "name: a, namespace: other")
    text = "---\n".join((GOOD, other, namespace, stranger))
    found = validate(["-"], versions.DEFAULT, stdin=text, cluster=client, env={}, progress=Silent()).findings
    assert [(one.object, "no kind Thing" in one.message) for one in found] == [("Thing t", True)]
    patched = [path for verb, path, *_ in api.requests if verb == "PATCH"]
    services = [f"/api/v1/namespaces/{name}/services/a" for name in (fake_api.NAMESPACE, "other")]
    assert patched == [*services, "/api/v1/namespaces/web"]
    assert api.objects == {}


def test_an_object_of_another_namespace_than_the_wanted_one_is_a_finding(cluster):
    _, client = cluster
    text = "---\n".join((GOOD, GOOD.replace("name: a", "name: b, namespace: other")))
    asked = {"stdin": text, "cluster": client, "namespace": "ml", "env": {}, "progress": Silent()}
    (finding,) = validate(["-"], versions.DEFAULT, **asked).findings
    assert str(finding) == "standard input: Service b: it is for namespace other, not ml"
