import pytest

from servegen.errors import AbsentKindError
from servegen.kube import instances
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.progress import Silent
from servegen.targets.k8s import Kubernetes
from servegen.values.deployment import AutoscalingSettings
from tests.kube import fake_api
from tests.kube.deployments import deployment

FIXED = deployment(autoscaling=AutoscalingSettings(enabled=False), replicas=2, kube_version="1.35")


@pytest.fixture
def api(tmp_path):
    with fake_api.running(tmp_path) as server:
        yield server


@pytest.fixture
def options(api):
    return ClusterOptions(kubeconfig=str(api.kubeconfig), timeout_seconds=5)


def test_the_parts_of_a_deployment_are_found_by_label_in_the_order_of_apply(options):
    Kubernetes(options=options).deliver(FIXED, progress=Silent())
    other = deployment(name="wine", autoscaling=AutoscalingSettings(enabled=False))
    Kubernetes(options=options).deliver(other, progress=Silent())
    found = instances.find(Cluster.connect(options), "iris")
    assert [one["kind"] for one in found.objects] == [
        "ServiceAccount",
        "ConfigMap",
        "Service",
        "Deployment",
        "PodDisruptionBudget",
    ]
    assert {one["metadata"]["name"] for one in found.objects} == {"iris", "iris-release"}
    assert found.hidden == ()


def test_kinds_that_the_login_may_not_list_are_named(api, options):
    Kubernetes(options=options).deliver(FIXED, progress=Silent())
    api.refuse["GET", "services"] = [{"code": 403, "message": "services is forbidden"}]
    found = instances.find(Cluster.connect(options), "iris")
    assert found.hidden == ("Service",)
    assert "Service" not in {one["kind"] for one in found.objects}


def test_a_kind_that_the_cluster_lacks_is_an_error_of_its_own(options):
    with pytest.raises(AbsentKindError, match=r"no kind PodMonitor in monitoring\.coreos\.com/v1"):
        Cluster.connect(options).list("monitoring.coreos.com/v1", "PodMonitor")
