import threading

import pytest

from servegen.errors import DeployError, NotDeployedError
from servegen.kube import logs
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.progress import Silent
from servegen.targets.k8s import Kubernetes
from servegen.values.deployment import AutoscalingSettings
from tests.kube import fake_api
from tests.kube.deployments import deployment

FIXED = deployment(autoscaling=AutoscalingSettings(enabled=False), replicas=2, kube_version="1.35")
WANTED = logs.Wanted(instance="iris", lines=10)


@pytest.fixture
def api(tmp_path):
    with fake_api.running(tmp_path) as server:
        yield server


@pytest.fixture
def cluster(api):
    options = ClusterOptions(kubeconfig=str(api.kubeconfig), timeout_seconds=5)
    Kubernetes(options=options).deliver(FIXED, progress=Silent())
    return Cluster.connect(options)


def asked(api):
    return [query for _, path, query, _ in api.requests if path.endswith("/log")]


def test_each_line_is_told_with_its_pod(api, cluster):
    api.log = "one\ntwo\n"
    found = [(line.pod, line.text) for line in logs.read(cluster, WANTED)]
    assert found == [(f"iris-abc-{pod}", text) for pod in (0, 1) for text in ("one", "two")]
    assert asked(api)[0] == {"container": "server", "previous": "false", "tailLines": "10"}


def test_a_pod_without_a_log_does_not_hide_the_others(api, cluster):
    api.log = "one\n"
    api.refuse["GET", "log"] = [{"code": 400, "message": "container is waiting to start"}]
    assert [line.pod for line in logs.read(cluster, WANTED)] == ["iris-abc-1"]


def test_where_no_pod_has_a_log_the_reason_is_told(api, cluster):
    message = "previous terminated container not found"
    api.refuse["GET", "log"] = [{"code": 400, "message": message}] * 2
    with pytest.raises(DeployError, match=message):
        list(logs.read(cluster, WANTED))


def test_a_deployment_that_does_not_exist_is_refused_also_when_it_is_to_be_followed(cluster):
    absent = logs.Wanted(instance="wine")
    for read in (logs.read, logs.follow):
        with pytest.raises(NotDeployedError, match="there is no deployment wine of servegen in namespace ml"):
            next(iter(read(cluster, absent)))


def test_a_log_that_breaks_off_goes_on_without_a_line_twice(api, cluster):
    api.objects = {path: one for path, one in api.objects.items() if not path.endswith("abc-1")}
    # The second line has fewer digits than the first, as the server cuts zeros.
    api.log = "2026-01-01T00:00:00.123456789Z one\n2026-01-01T00:00:00.5Z two\n"
    following = logs.follow(cluster, WANTED)
    assert [next(following).text for _ in range(2)] == ["one", "two"]
    api.log += "2026-01-01T00:00:00.51Z three\n"
    assert next(following).text == "three"
    following.close()
    assert asked(api)[1]["sinceTime"] == "2026-01-01T00:00:00.5Z"
    assert "tailLines" not in asked(api)[1]


def test_a_pod_that_comes_later_is_followed_too(api, cluster):
    api.log = "2026-01-01T00:00:00Z hello\n"
    following = logs.follow(cluster, WANTED)
    first = {next(following).pod for _ in range(2)}
    pod = api.objects["/api/v1/namespaces/ml/pods/iris-abc-0"]
    about = {"name": "iris-abc-2", "namespace": "ml", "labels": pod["metadata"]["labels"]}
    fresh = pod | {"metadata": about}
    threading.Timer(0.1, api.put, ("/api/v1/namespaces/ml/pods/iris-abc-2", fresh)).start()
    assert (first, next(following).pod) == ({"iris-abc-0", "iris-abc-1"}, "iris-abc-2")
    following.close()
