"""What a kubeconfig, and whatever answers at its address, can get wrong."""

import json

import pytest

from servegen.errors import ClusterUnreachableError, DeployError
from servegen.kube.client import Cluster
from servegen.kube.connection import connect
from servegen.kube.options import ClusterOptions
from servegen.kube.refusal import LoginError, refusal
from tests.kube import fake_api


@pytest.fixture
def api(tmp_path):
    with fake_api.running(tmp_path) as server:
        yield server


def options(path):
    return ClusterOptions(kubeconfig=str(path))


def configured(api, *, user=None, cluster=None):
    """The fake's kubeconfig with another user or cluster."""
    config = json.loads(api.kubeconfig.read_text())
    if user is not None:
        config["users"][0]["user"] = user
    if cluster is not None:
        config["clusters"][0]["cluster"] = cluster
    api.kubeconfig.write_text(json.dumps(config))
    return options(api.kubeconfig)


def plugin(folder, script):
    path = folder / "plugin"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, "No such file or directory"),
        ("echo token expired >&2; exit 3", "token expired"),
        ("echo no json", "failed to decode"),
        ("""echo '{"apiVersion": "v1", "kind": "ExecCredential", "status": {}}'""", "missing token"),
    ],
)
def test_a_credential_plugin_that_fails_is_the_error(api, tmp_path, capfd, script, words):
    command = plugin(tmp_path, script) if script else str(tmp_path / "absent")
    with pytest.raises(ClusterUnreachableError, match=words) as caught:
        connect(configured(api, user={"exec": {"command": command, "apiVersion": "v1"}}))
    assert "context fake" in str(caught.value)
    assert "log in again" in caught.value.hint
    assert capfd.readouterr().err == ""


def test_a_credential_plugin_that_works_is_used(api, tmp_path):
    answer = json.dumps({"apiVersion": "v1", "kind": "ExecCredential", "status": {"token": "t"}})
    user = {"exec": {"command": plugin(tmp_path, f"echo '{answer}'"), "apiVersion": "v1"}}
    assert str(Cluster.connect(configured(api, user=user)).version()) == "1.35"


@pytest.mark.parametrize("token", ["secret\n", "sec\nret", "sec\u2028ret"])
def test_a_token_that_no_header_can_hold_is_refused_and_not_shown(api, token):
    with pytest.raises(ClusterUnreachableError, match="token of context fake") as caught:
        connect(configured(api, user={"token": token}))
    assert "sec" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("cluster", [{"server": 5}, {"server": None}])
def test_an_address_that_is_none_is_one_clear_error(api, cluster):
    with pytest.raises(ClusterUnreachableError):
        Cluster.connect(configured(api, cluster=cluster)).version()


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>log in to the network</html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"major": "", "minor": ""}'),
        (404, b"404 page not found"),
        (302, b""),
    ],
)
def test_what_is_no_api_server_is_called_so_with_its_address(api, answer):
    api.answer["/version"] = answer
    with pytest.raises(ClusterUnreachableError, match="no Kubernetes API server") as caught:
        Cluster.connect(options(api.kubeconfig)).version()
    assert "http://127.0.0.1:" in str(caught.value)


def test_a_page_in_place_of_an_object_is_no_traceback(api):
    api.answer["/api/v1/namespaces/ml/services/iris"] = (200, b"<html>")
    with pytest.raises(ClusterUnreachableError, match="no Kubernetes API server"):
        Cluster.connect(options(api.kubeconfig)).get("v1", "Service", "iris")


def refused(status, message):
    body = json.dumps({"message": message})
    return refusal(status, body, verb="get", path="/api/v1/pods", context="prod")


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "Unauthorized"), (403, 'pods is forbidden: User "system:anonymous" cannot list resource "pods"')],
)
def test_an_unknown_login_is_said_with_the_context(status, message):
    error = refused(status, message)
    assert isinstance(error, LoginError)
    assert error.exit_code == ClusterUnreachableError.exit_code
    assert "context prod" in str(error)
    assert "log in again" in error.hint


@pytest.mark.parametrize("status", [401, 403])
def test_a_namespace_is_not_taken_as_given_by_somebody_unknown(api, status):
    body = json.dumps({"message": 'User "system:anonymous" cannot get resource "namespaces"'})
    api.answer["/api/v1/namespaces/ml"] = (status, body.encode())
    with pytest.raises(LoginError):
        Cluster.connect(options(api.kubeconfig)).phase()


@pytest.mark.parametrize(
    ("status", "message", "hint"),
    [
        (403, 'User "ci" cannot list resource "pods" in API group "" in the namespace "ml"', "list pods"),
        (
            403,
            'User "ci" cannot patch resource "deployments" in API group "apps" in',
            "patch deployments.apps",
        ),
        (403, "pods is forbidden: no PriorityClass with name high was found", "deploy.priority_class"),
        (403, 'pods is forbidden: pod rejected: RuntimeClass "gvisor" not found', "deploy.runtime_class"),
        (403, "maximum memory usage per Container is 512Mi, but limit is 1Gi", "LimitRange"),
        (403, "exceeded quota: small", "quota"),
        (403, "denied the request: no", "admission policy"),
        (422, "spec.selector: Invalid value: field is immutable", "immutable"),
    ],
)
def test_a_refusal_comes_with_what_helps(status, message, hint):
    error = refused(status, message)
    assert isinstance(error, DeployError)
    assert hint in error.hint
