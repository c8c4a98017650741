import base64
import copy
import random

import pytest

from servegen.errors import DeployError
from servegen.kube import objects, release
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from tests.kube import fake_api
from tests.kube.deployments import deployment


def bundle(**env):
    return [
        one | {"metadata": one["metadata"] | {"namespace": "ml"}}
        for one in objects.build(deployment(env=env))
    ]


A, B, C = bundle(LEVEL="a"), bundle(LEVEL="b"), bundle(LEVEL="c")
NOW = "2026-01-01T00:00:00Z"


def after(*bundles):
    inventory = release.Inventory()
    for one in bundles:
        inventory = release.record(inventory, one, time=NOW)
    return inventory


def held(inventory):
    levels = []
    for one in inventory.releases:
        (workload,) = [each for each in one.objects if each["kind"] == "Deployment"]
        env = workload["spec"]["template"]["spec"]["containers"][0]["env"]
        levels.append((one.number, next(each["value"] for each in env if each["name"] == "LEVEL")))
    return levels


def test_releases_are_numbered_and_say_what_they_are():
    inventory = after(A, B)
    assert held(inventory) == [(1, "a"), (2, "b")]
    newest = inventory.releases[-1]
    assert (newest.time, newest.version) == (NOW, "7")
    assert newest.image.startswith("registry.example.com/ml/iris@sha256:")
    assert {part.kind for part in inventory.parts} == {one["kind"] for one in B}


def test_the_same_objects_again_are_no_new_release():
    assert after(A, A) == after(A)
    assert after(A, copy.deepcopy(A)) == after(A)


def test_an_earlier_release_moves_to_the_end_under_a_new_number():
    assert held(after(A, B, A)) == [(2, "b"), (3, "a")]


def test_five_releases_are_kept():
    inventory = after(*(bundle(LEVEL=str(n)) for n in range(8)))
    assert held(inventory) == [(n + 1, str(n)) for n in range(3, 8)]


def test_what_is_written_is_read_back(tmp_path):
    with fake_api.running(tmp_path) as api:
        cluster = Cluster.connect(ClusterOptions(kubeconfig=str(api.kubeconfig)))
        assert release.read(cluster, "iris") == release.Inventory()
        written = release.write(cluster, "iris", after(A, B))
        assert release.read(cluster, "iris") == written == after(A, B)
        labels = api.objects["/api/v1/namespaces/ml/configmaps/iris-release"]["metadata"]["labels"]
    assert labels["servegen.dev/instance"] == "iris"
    assert labels["app.kubernetes.io/managed-by"] == "servegen"


def test_the_oldest_releases_go_when_they_have_no_room(tmp_path):
    noise = random.Random(1)
    large = [bundle(LEVEL=noise.randbytes(180_000).hex()) for _ in range(5)]
    with fake_api.running(tmp_path) as api:
        cluster = Cluster.connect(ClusterOptions(kubeconfig=str(api.kubeconfig)))
        written = release.write(cluster, "iris", after(*large))
        stored = api.objects["/api/v1/namespaces/ml/configmaps/iris-release"]["binaryData"]
    assert [one.number for one in written.releases] == [3, 4, 5]
    assert sum(map(len, stored.values())) <= release.LIMIT


def test_a_record_that_somebody_damaged_is_named_with_the_way_out(tmp_path):
    with fake_api.running(tmp_path) as api:
        cluster = Cluster.connect(ClusterOptions(kubeconfig=str(api.kubeconfig)))
        release.write(cluster, "iris", after(A))
        bundles = api.objects["/api/v1/namespaces/ml/configmaps/iris-release"]["binaryData"]
        header = base64.b64decode(bundles["1.json.gz"])[:10]
        bundles["1.json.gz"] = base64.b64encode(header + b"\xff" * 20).decode()
        with pytest.raises(DeployError, match="iris-release is no record of releases") as caught:
            release.read(cluster, "iris")
    assert "delete configmap iris-release" in caught.value.hint
