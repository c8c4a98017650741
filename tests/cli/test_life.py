"""`rollback` and `delete` as they are typed."""

import json

import pytest
from click.testing import CliRunner

from servegen.cli import servegen
from servegen.errors import ConfigError, NamespaceError, NotDeployedError
from servegen.kube.options import ClusterOptions
from servegen.progress import Silent
from servegen.targets.k8s import Kubernetes
from servegen.values.deployment import AutoscalingSettings
from tests.kube import fake_api
from tests.kube.deployments import deployment

OFF = AutoscalingSettings(enabled=False)


@pytest.fixture
def api(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with fake_api.running(tmp_path) as server:
        place = Kubernetes(options=ClusterOptions(kubeconfig=str(server.kubeconfig), timeout_seconds=5))
        for env in ({}, {"LEVEL": "2"}):
            wanted = deployment(autoscaling=OFF, replicas=2, kube_version="1.35", env=env)
            place.deliver(wanted, progress=Silent())
        yield server


def run(api, *arguments):
    env = {"KUBECONFIG": str(api.kubeconfig), "SERVEGEN_CACHE_DIR": str(api.kubeconfig.parent / "cache")}
    return CliRunner(env=env).invoke(servegen, arguments)


def test_the_releases_are_listed_for_people_and_for_programs(api):
    lines = run(api, "rollback", "iris", "--list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert all("version 7" in line and "registry.example.com/ml/iris@sha256:" in line for line in lines)
    rows = json.loads(run(api, "rollback", "iris", "--list", "--json").stdout)
    assert [row["release"] for row in rows] == [1, 2]


def test_rollback_prints_what_serves(api):
    assert run(api, "rollback", "iris", "--timeout", "5").stdout == "iris 2/2 ready in ml\n"


def test_the_deployment_is_that_of_servegen_yaml_in_this_folder(api, tmp_path):
    (tmp_path / "servegen.yaml").write_text("model: models:/iris@champion\nenvironments: {prod: {}}\n")
    assert json.loads(run(api, "rollback", "--to", "1", "--json").stdout)["release"] == 3
    assert isinstance(run(api, "delete", "--yes", "--env", "prod").exception, NotDeployedError)
    assert run(api, "delete", "--yes").stdout == "iris deleted from ml\n"
    assert not any("/services/" in path for path in api.objects)


def test_where_nobody_can_be_asked_nothing_is_deleted_without_yes(api):
    before = dict(api.objects)
    done = run(api, "delete", "iris")
    assert isinstance(done.exception, ConfigError)
    assert "--yes" in done.exception.hint
    assert api.objects == before


def test_what_was_deleted_is_told_to_programs(api):
    kinds = [one["kind"] for one in json.loads(run(api, "delete", "iris", "--yes", "--json").stdout)]
    assert kinds == ["PodDisruptionBudget", "Deployment", "Service", "ConfigMap", "ServiceAccount"]


@pytest.mark.parametrize("command", ["status", "rollback", "delete", "logs", "port-forward"])
@pytest.mark.parametrize("name", ["../../secrets/x", "a,b", "-"])
def test_what_cannot_be_a_name_never_becomes_part_of_a_path(api, command, name):
    api.requests.clear()
    done = run(api, command, "--", name)
    assert isinstance(done.exception, ConfigError)
    assert api.requests == []


@pytest.mark.parametrize("command", ["status", "rollback", "delete", "logs", "port-forward"])
@pytest.mark.parametrize("namespace", ["a/../..", "ML"])
def test_what_cannot_be_a_namespace_never_becomes_part_of_a_path(api, command, namespace):
    api.requests.clear()
    done = run(api, command, "iris", "--namespace", namespace)
    assert isinstance(done.exception, NamespaceError)
    assert api.requests == []
