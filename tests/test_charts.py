"""Packing and pushing charts; tests/e2e/test_formats.py does both with helm and a registry."""

import io
import json
import tarfile

import pytest
import yaml

from servegen import charts
from servegen.config import Config, environment
from servegen.errors import ConfigError, RegistryError, RenderError
from servegen.job import Job
from servegen.progress import Silent
from servegen.renderers.helm import Helm
from tests.kube.deployments import deployment
from tests.oci.fake_registry import running


@pytest.fixture
def registry():
    with running() as fake:
        yield fake


@pytest.fixture
def job(tmp_path):
    return Job(
        config=Config(), environment=environment({"SERVEGEN_CACHE_DIR": str(tmp_path)}), lock_file=None
    )


def chart(version="1.4.0", **settings):
    return charts.pack(charts.with_version(Helm().render(deployment(**settings)), version))


def members(archive):
    with tarfile.open(fileobj=io.BytesIO(archive.data)) as tar:
        return {entry.name: tar.extractfile(entry).read().decode() for entry in tar}


def test_an_archive_holds_the_charts_files_below_its_name():
    bundle = Helm().render(deployment())
    archive = charts.pack(bundle)
    assert members(archive) == {f"iris/{path}": text for path, text in bundle.files}
    assert next(iter(members(archive))) == "iris/Chart.yaml"


def test_equal_charts_are_equal_bytes():
    assert chart().data == chart().data
    assert chart().data != chart(replicas=None, name="other").data


def test_a_version_is_in_the_chart_file_and_nowhere_else():
    bundle = Helm().render(deployment())
    released = charts.with_version(bundle, "1.4.0")
    assert yaml.safe_load(released.text("Chart.yaml"))["version"] == "1.4.0"
    assert [path for path in bundle.paths if bundle.text(path) != released.text(path)] == ["Chart.yaml"]


@pytest.mark.parametrize("version", ["1.0.0", "10.20.30", "1.0.0-rc.1", "1.0.0+7.abc", "0.1.0-a-b+c"])
def test_versions_are_those_of_semver(version):
    charts.check(None, version)


@pytest.mark.parametrize("version", ["1", "1.0", "v1.0.0", "01.0.0", "1.0.0-", "1.0.0+a_b", "1.0.0\n", ""])
def test_other_versions_are_refused(version):
    with pytest.raises(ConfigError, match="is no version of a chart"):
        charts.check(None, version)


@pytest.mark.parametrize(
    "place",
    [
        "registry.example.com/charts",
        "https://registry.example.com/charts",
        "oci://charts",
        "oci://r.io/a:1",
        "oci://",
    ],
)
def test_a_place_that_is_none_in_a_registry_is_refused(place):
    with pytest.raises(ConfigError) as caught:
        charts.check(place, None)
    assert repr(place) in str(caught.value)
    assert "oci://REGISTRY/REPOSITORY" in caught.value.hint


def test_a_chart_is_pushed_in_the_media_types_of_helm(job, registry):
    archive = chart()
    pushed = charts.push(archive, f"oci://{registry.host}/team/charts/", job, Silent())
    name, _, digest = pushed.partition("@")
    assert name == f"oci://{registry.host}/team/charts/iris:1.4.0"
    _, data = registry.manifests["team/charts/iris"]["1.4.0"]
    assert registry.manifests["team/charts/iris"][digest][1] == data
    manifest = json.loads(data)
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.helm.config.v1+json"
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
    blobs = registry.blobs["team/charts/iris"]
    assert blobs[layer["digest"]] == archive.data
    assert json.loads(blobs[manifest["config"]["digest"]])["name"] == "iris"
    assert manifest["annotations"]["org.opencontainers.image.version"] == "1.4.0"


def test_the_same_chart_is_not_pushed_twice(job, registry):
    place = f"oci://{registry.host}/charts"
    first = charts.push(chart(), place, job, Silent())
    sent = registry.count("PUT")
    assert charts.push(chart(), place, job, Silent()) == first
    assert registry.count("PUT") == sent


def test_a_version_is_not_given_to_another_chart(job, registry):
    place = f"oci://{registry.host}/charts"
    charts.push(chart(), place, job, Silent())
    with pytest.raises(RegistryError, match=r"iris:1\.4\.0 is another chart already") as caught:
        charts.push(chart(replicas=None, queue_size=7), place, job, Silent())
    assert "--chart-version" in caught.value.hint


def test_build_metadata_becomes_a_tag_as_helm_writes_it(job, registry):
    pushed = charts.push(chart("1.4.0+7"), f"oci://{registry.host}/charts", job, Silent())
    assert "/iris:1.4.0_7@" in pushed


def test_an_archive_is_written_whole_and_for_everybody(tmp_path):
    path = tmp_path / "new" / "iris-1.4.0.tgz"
    charts.write(chart(), path)
    assert path.read_bytes() == chart().data
    assert path.stat().st_mode & 0o777 == 0o644
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_an_archive_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "iris.tgz").mkdir()
    with pytest.raises(RenderError, match="cannot be written") as caught:
        charts.write(chart(), tmp_path / "iris.tgz")
    assert "-o FILE.tgz" in caught.value.hint
    assert [each.name for each in tmp_path.iterdir()] == ["iris.tgz"]
