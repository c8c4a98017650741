"""The last step of models/demo.py, which may meet somebody's real cluster."""

import importlib.util
import json
from pathlib import Path

import pytest

from tests.kube import fake_api

SOURCE = Path(__file__).parent.parent / "models/demo.py"


@pytest.fixture
def demo():
    spec = importlib.util.spec_from_file_location("demo", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def api(tmp_path, monkeypatch):
    from kubernetes.config import kube_config

    for name in ("SERVEGEN_DEMO_REGISTRY", "SERVEGEN_TEST_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    with fake_api.running(tmp_path) as server:
        monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(server.kubeconfig))
        code = dict.fromkeys(
            ("buildDate", "compiler", "gitCommit", "gitTreeState", "gitVersion", "goVersion", "platform"), "x"
        )
        server.answer["/version/"] = (200, json.dumps(code | {"major": "1", "minor": "35"}).encode())
        yield server


def test_without_a_registry_a_cluster_is_asked_and_left_as_it_is(demo, api):
    assert demo.deployed("iris:1").startswith("a cluster answers; SERVEGEN_DEMO_REGISTRY")
    assert {verb for verb, *_ in api.requests} == {"GET"}
    assert demo.NAMESPACE not in api.namespaces


def test_the_namespace_is_made_for_a_deploy_and_may_be_there_already(demo, api, monkeypatch):
    monkeypatch.setenv("SERVEGEN_DEMO_REGISTRY", "127.0.0.1:9")
    monkeypatch.setattr(demo, "servegen", lambda *arguments: arguments[0])
    for _ in range(2):
        assert demo.deployed("iris:1") == "deployed: deploy"
        assert demo.NAMESPACE in api.namespaces


def test_a_cluster_that_does_not_answer_is_none(demo, api):
    api.down = True
    assert demo.deployed("iris:1").startswith("no cluster answers")


def test_a_mistake_of_the_demo_is_not_taken_for_a_cluster_that_is_away(demo, api, monkeypatch):
    from kubernetes import client

    monkeypatch.setattr(client, "VersionApi", lambda: None)
    with pytest.raises(AttributeError):
        demo.cluster_answers()
