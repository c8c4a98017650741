import socket
import time
from dataclasses import replace

import pytest

from servegen.errors import (
    ClusterUnreachableError,
    ConflictError,
    DeployError,
    NamespaceError,
    RolloutError,
)
from servegen.kube import objects
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.progress import Silent
from servegen.targets.k8s import Kubernetes, deploy, server_version
from servegen.values.deployment import AutoscalingSettings, KubeVersion
from tests.kube import fake_api
from tests.kube.deployments import deployment

FIXED = deployment(autoscaling=AutoscalingSettings(enabled=False), replicas=2, kube_version="1.35")
SCALED = deployment(kube_version="1.35")


class Recorder(Silent):
    def __init__(self):
        self.steps = []
        self.warnings = []

    def step(self, text):
        self.steps.append(text)

    def warn(self, text):
        self.warnings.append(text)


@pytest.fixture
def api(tmp_path):
    with fake_api.running(tmp_path) as server:
        yield server


@pytest.fixture
def options(api):
    return ClusterOptions(kubeconfig=str(api.kubeconfig), timeout_seconds=5)


def status(code, message, **details):
    return {"kind": "Status", "code": code, "message": message, "details": details}


def conflict(field, manager):
    cause = {"reason": "FieldManagerConflict", "field": field, "message": f'conflict with "{manager}"'}
    return status(409, "Apply failed with 1 conflict", causes=[cause])


def actions(delivery):
    return {change.kind: change.action for change in delivery.changes}


def patches(api):
    return [(path.rpartition("/")[2], query) for verb, path, query, _ in api.requests if verb == "PATCH"]


def test_everything_is_asked_before_anything_is_written(api, options):
    seen = Recorder()
    done = deploy(FIXED, options, seen)
    assert actions(done) == dict.fromkeys(
        ("ServiceAccount", "Service", "Deployment", "PodDisruptionBudget"), "created"
    )
    assert (done.ready, done.replicas, done.namespace) == (2, 2, "ml")
    assert done.address == "http://iris.ml.svc"
    dry = [query.get("dryRun") == "All" for _, query in patches(api)]
    assert dry == [True] * 4 + [False] * 4
    assert seen.steps[-1] == "iris: 2 of 2 pods ready"


def test_objects_are_applied_server_side_under_our_name_and_without_force(api, options):
    deploy(FIXED, options, Silent())
    for _, query in patches(api):
        assert query["fieldManager"] == "servegen"
        assert query["force"] == "false"
    types = {kind for verb, _, _, kind in api.requests if verb == "PATCH"}
    assert types == {"application/apply-patch+yaml"}


def test_a_second_deploy_reports_unchanged_and_differs_in_nothing(api, options):
    deploy(FIXED, options, Silent())
    before = {path: one["metadata"]["resourceVersion"] for path, one in api.objects.items()}
    assert set(actions(deploy(FIXED, options, Silent())).values()) == {"unchanged"}
    assert Kubernetes(options=options).diff(FIXED) == ""
    assert {path: one["metadata"]["resourceVersion"] for path, one in api.objects.items()} == before


def test_the_diff_writes_nothing(api, options):
    assert "+  type: ClusterIP" in Kubernetes(options=options).diff(FIXED)
    assert api.writes() == []


def test_one_refused_object_stops_all(api, options):
    api.refuse["PATCH", "iris"] = [status(422, "Service is invalid: spec.type")]
    with pytest.raises(DeployError, match=r"ServiceAccount iris: Service is invalid"):
        deploy(FIXED, options, Silent())
    assert api.writes() == []


def test_a_refused_pod_stops_all(api, options):
    text = 'pods "iris-preflight" is forbidden: violates PodSecurity "restricted:latest": privileged'
    api.refuse["POST", "pods"] = [status(403, text)]
    with pytest.raises(DeployError, match="a pod of Deployment iris") as caught:
        deploy(FIXED, options, Silent())
    assert "Pod Security" in caught.value.hint
    assert api.writes() == []


def test_the_pod_that_is_asked_for_names_no_service_account(api, options, monkeypatch):
    sent = []
    create = Cluster.create
    monkeypatch.setattr(
        Cluster, "create", lambda self, one, **how: sent.append(one) or create(self, one, **how)
    )
    deploy(FIXED, options, Silent())
    assert "serviceAccountName" not in sent[0]["spec"]
    assert sent[0]["spec"]["securityContext"]["runAsNonRoot"] is True


def test_warnings_are_passed_on_once(api, options):
    api.warnings["iris"] = 'spec.x is \\"old\\"'
    seen = Recorder()
    done = deploy(FIXED, options, seen)
    assert done.warnings == ('spec.x is "old"',)
    assert seen.warnings == ['spec.x is "old"']


def test_a_warning_about_pod_security_is_an_error(api, options):
    api.warnings["iris"] = "would violate PodSecurity: privileged"
    with pytest.raises(DeployError, match="would violate"):
        deploy(FIXED, options, Silent())
    assert api.writes() == []


def test_a_missing_namespace_comes_with_the_command_that_makes_it(api, options):
    with pytest.raises(NamespaceError, match="namespace gone does not exist") as caught:
        deploy(FIXED, replace(options, namespace="gone"), Silent())
    assert caught.value.hint == "kubectl create namespace gone"


def test_the_namespace_of_the_deployment_counts_when_no_other_is_named(api, options):
    with pytest.raises(NamespaceError, match="namespace other"):
        deploy(replace(FIXED, namespace="other"), options, Silent())
    with pytest.raises(DeployError, match="rendered for namespace other, not ml"):
        deploy(replace(FIXED, namespace="other"), replace(options, namespace="ml"), Silent())


def test_a_conflict_names_field_and_manager(api, options):
    api.refuse["PATCH", "iris"] = [conflict(".spec.type", "platform-team")]
    with pytest.raises(ConflictError, match=r'\.spec\.type \(conflict with "platform-team"\)') as caught:
        deploy(FIXED, options, Silent())
    assert "--force-conflicts" in caught.value.hint
    assert api.writes() == []


def test_force_takes_fields_but_never_the_replicas(api, options):
    forced = replace(options, force_conflicts=True)
    api.refuse["PATCH", "iris"] = [conflict(".spec.type", "platform-team")]
    deploy(FIXED, forced, Silent())
    assert [query["force"] for _, query in patches(api)][:2] == ["false", "true"]
    api.refuse["PATCH", "iris"] = [conflict(".spec.replicas", "keda")]
    with pytest.raises(ConflictError, match=r"\.spec\.replicas"):
        deploy(FIXED, forced, Silent())


def test_our_mistake_in_an_object_is_not_tried_again(api, options):
    text = "failed to create typed patch object: .spec.x: field not declared in schema"
    api.refuse["PATCH", "iris"] = [status(500, text)]
    with pytest.raises(DeployError, match="field not declared") as caught:
        deploy(FIXED, options, Silent())
    assert "deploy.kube_version" in caught.value.hint
    assert len(patches(api)) == 1


def test_a_busy_server_is_asked_again(api, options):
    api.refuse["PATCH", "iris"] = [status(503, "try again")]
    assert deploy(FIXED, options, Silent()).ready == 2


def test_objects_of_another_manager_or_model_are_left_alone(api, options):
    deploy(FIXED, options, Silent())
    other = replace(FIXED, model=replace(FIXED.model, name="wine"))
    with pytest.raises(DeployError, match="serves another model: 'iris', not 'wine'"):
        deploy(other, options, Silent())
    service = api.objects["/api/v1/namespaces/ml/services/iris"]
    service["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "Helm"
    with pytest.raises(DeployError, match="Service iris exists and is managed by Helm"):
        deploy(FIXED, options, Silent())


def test_replicas_survive_the_change_to_an_autoscaler(api, options):
    deploy(FIXED, options, Silent())
    deploy(SCALED, options, Silent())
    live = api.objects["/apis/apps/v1/namespaces/ml/deployments/iris"]
    assert live["spec"]["replicas"] == 2
    managers = [query["fieldManager"] for name, query in patches(api) if name == "iris"]
    assert "servegen-handover" in managers


def test_an_autoscaler_that_is_no_longer_wanted_is_deleted(api, options):
    deploy(SCALED, options, Silent())
    done = deploy(FIXED, options, Silent())
    assert actions(done)["HorizontalPodAutoscaler"] == "deleted"
    assert "/apis/autoscaling/v2/namespaces/ml/horizontalpodautoscalers/iris" not in api.objects
    assert api.objects["/apis/apps/v1/namespaces/ml/deployments/iris"]["spec"]["replicas"] == 2


def test_an_autoscaler_that_belongs_to_keda_stays(api, options):
    deploy(SCALED, options, Silent())
    path = "/apis/autoscaling/v2/namespaces/ml/horizontalpodautoscalers/iris"
    api.objects[path]["metadata"]["ownerReferences"] = [{"kind": "ScaledObject"}]
    deploy(FIXED, options, Silent())
    assert path in api.objects


def test_objects_for_a_newer_kubernetes_are_refused(api, options):
    assert server_version(options) == KubeVersion(major=1, minor=35)
    with pytest.raises(DeployError, match=r"written for Kubernetes 1\.37, the cluster is 1\.35"):
        deploy(replace(FIXED, kube_version=KubeVersion(major=1, minor=37)), options, Silent())


def test_a_crashing_pod_ends_the_wait_with_its_log(api, options):
    api.log = "Traceback\nValueError: no column petal\n"
    ended = {"exitCode": 3, "reason": "Error"}
    api.controller = lambda server, one: server.run_pods(
        one,
        phase="Running",
        containerStatuses=[
            {
                "name": "server",
                "restartCount": 1,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": ended},
            }
        ],
    )
    with pytest.raises(RolloutError, match=r"exit code 3 \(1 restart\)") as caught:
        deploy(FIXED, options, Silent())
    assert "ValueError: no column petal" in caught.value.details


def test_pods_that_say_nothing_are_given_up_at_the_deadline(api, options):
    api.controller = lambda server, one: server.run_pods(one, phase="Pending")
    started = time.monotonic()
    with pytest.raises(RolloutError, match="not ready after 1 s: 0 of 2 pods of iris are available"):
        deploy(FIXED, replace(options, timeout_seconds=1), Silent())
    assert time.monotonic() - started < 4


def test_pods_that_become_ready_later_are_seen_through_the_watch(api, options):
    import threading

    def later(server, one):
        server.run_pods(one, phase="Pending")
        threading.Timer(0.4, lambda: server.run_pods(one)).start()

    api.controller = later
    seen = Recorder()
    assert deploy(FIXED, options, seen).ready == 2
    assert any("0 of 2 pods ready: iris-abc-0 pending" in step for step in seen.steps)


def test_a_cluster_that_does_not_answer_is_reported_at_once(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"https://127.0.0.1:{free.getsockname()[1]}"
    path = tmp_path / "kubeconfig"
    path.write_text(
        f"{{current-context: away, clusters: [{{name: away, cluster: {{server: '{address}'}}}}],"
        "contexts: [{name: away, context: {cluster: away, user: me}}], users: [{name: me, user: {token: t}}]}"
    )
    started = time.monotonic()
    with pytest.raises(ClusterUnreachableError, match="context away") as caught:
        deploy(FIXED, ClusterOptions(kubeconfig=str(path)), Silent())
    assert address in str(caught.value)
    assert time.monotonic() - started < 4


@pytest.mark.parametrize("content", [None, "", "a: [", "{}", "{contexts: [], clusters: []}"])
def test_a_kubeconfig_without_a_cluster_is_one_clear_error(tmp_path, content):
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ClusterUnreachableError, match="describes no cluster") as caught:
        server_version(ClusterOptions(kubeconfig=str(path)))
    assert "\n" not in str(caught.value)


def test_a_context_that_does_not_exist_is_named(api, options):
    with pytest.raises(ClusterUnreachableError, match="staging"):
        server_version(replace(options, context="staging"))


def test_a_kind_that_the_cluster_lacks_is_named(options):
    with pytest.raises(DeployError, match=r"no kind ScaledObject in keda\.sh/v1alpha1"):
        Cluster.connect(options).get("keda.sh/v1alpha1", "ScaledObject", "iris")


def test_objects_given_directly_are_delivered_too(api, options):
    done = Kubernetes(options=options).deliver_objects(objects.build(FIXED)[:2], progress=Silent())
    assert actions(done) == {"ServiceAccount": "created", "Service": "created"}
    assert (done.ready, done.replicas) == (0, 0)
