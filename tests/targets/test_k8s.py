import _thread
import copy
import datetime
import json
import socket
import threading
import time
from dataclasses import replace

import pytest

from servegen.errors import (
    ClusterUnreachableError,
    ConflictError,
    DeployError,
    NamespaceError,
    OvertakenError,
    RolloutError,
    StoppedError,
)
from servegen.kube import doubts, objects
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.planning.deployment import plan
from servegen.progress import Silent
from servegen.targets.k8s import Kubernetes
from servegen.values.deployment import AutoscalingSettings, Extras, KubeVersion
from servegen.values.network import MonitoringSettings, RouteSettings
from tests.kube.deployments import KEDA, deployment, image
from tests.recorder import Recorder

FIXED = deployment(autoscaling=AutoscalingSettings(enabled=False), replicas=2, kube_version="1.35")
SCALED = deployment(kube_version="1.35")


def deploy(wanted, options, progress):
    return Kubernetes(options=options).deliver(wanted, progress=progress)


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
    # The last one records the release.
    assert dry == [True] * 4 + [False] * 5
    assert seen.steps[-1] == "iris: 2 of 2 pods ready"


def test_objects_are_applied_server_side_under_our_name_and_without_force(api, options):
    deploy(FIXED, options, Silent())
    for name, query in patches(api):
        assert query["fieldManager"] == "servegen"
        assert query["force"] == ("true" if name == "iris-release" else "false")
    types = {kind for verb, _, _, kind in api.requests if verb == "PATCH"}
    assert types == {"application/apply-patch+yaml"}


def test_a_second_deploy_reports_unchanged_and_differs_in_nothing(api, options):
    deploy(FIXED, options, Silent())
    before = {path: one["metadata"]["resourceVersion"] for path, one in api.objects.items()}
    assert set(actions(deploy(FIXED, options, Silent())).values()) == {"unchanged"}
    assert Kubernetes(options=options).diff(FIXED) == ""
    assert {path: one["metadata"]["resourceVersion"] for path, one in api.objects.items()} == before


def test_a_deploy_that_changes_nothing_watches_nothing(api, options):
    deploy(FIXED, options, Silent())
    api.requests.clear()
    assert deploy(FIXED, options, Silent()).ready == 2
    assert not any("watch" in query for _, _, query, _ in api.requests)


def test_a_target_asks_once_for_what_holds_for_all_its_deployments(api, options):
    place = Kubernetes(options=options)
    for name in ("iris", "wine"):
        place.deliver(replace(FIXED, name=name, instance=name), progress=Silent())
    paths = [path for _, path, _, _ in api.requests]
    assert paths.count("/version") == 1
    assert len([path for path in paths if path.endswith("reviews")]) == 5


def test_an_emoji_reaches_the_server(api, options):
    deploy(replace(FIXED, extras=Extras(annotations=(("example.com/note", "😀"),))), options, Silent())
    (service,) = (one for path, one in api.objects.items() if path.endswith("/services/iris"))
    assert service["metadata"]["annotations"]["example.com/note"] == "😀"


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


def test_a_namespace_that_is_being_deleted_is_said_so(api, options):
    api.namespaces["ml"] = "Terminating"
    with pytest.raises(NamespaceError, match="namespace ml is being deleted") as caught:
        deploy(FIXED, options, Silent())
    assert caught.value.hint.startswith("wait until it is gone")


def test_a_check_finds_what_has_nothing_to_do_with_the_image_and_writes_nothing(api, options):
    Kubernetes(options=options).check(FIXED)
    assert patches(api) == []
    with pytest.raises(NamespaceError, match="namespace gone"):
        Kubernetes(options=replace(options, namespace="gone")).check(FIXED)
    with pytest.raises(DeployError, match=r"written for Kubernetes 1\.37"):
        Kubernetes(options=options).check(replace(FIXED, kube_version=KubeVersion(major=1, minor=37)))


@pytest.mark.parametrize(
    ("denied", "words"),
    [
        (("list", "pods"), "list pods"),
        (("watch", "deployments"), "watch deployments.apps"),
        (("list", "replicasets"), "list replicasets.apps"),
    ],
)
def test_a_login_that_could_not_see_the_pods_come_applies_nothing(api, options, denied, words):
    api.forbid.add(denied)
    with pytest.raises(DeployError, match=f"may not {words}") as caught:
        deploy(FIXED, options, Silent())
    assert words in caught.value.hint
    assert api.writes() == []


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


def test_force_takes_fields_but_no_replicas_that_an_autoscaler_sets(api, options):
    forced = replace(options, force_conflicts=True)
    api.refuse["PATCH", "iris"] = [conflict(".spec.type", "platform-team")]
    deploy(FIXED, forced, Silent())
    assert [query["force"] for _, query in patches(api)][:2] == ["false", "true"]
    scale_by_hand(api, 5)
    theirs = {"metadata": {"name": "theirs", "ownerReferences": [{"kind": "ScaledObject"}]}}
    target = {"scaleTargetRef": {"kind": "Deployment", "name": "iris"}}
    api.put("/apis/autoscaling/v2/namespaces/ml/horizontalpodautoscalers/theirs", theirs | {"spec": target})
    refuse_replicas(api)
    with pytest.raises(ConflictError, match=r"\.spec\.replicas") as caught:
        deploy(FIXED, forced, Silent())
    assert "autoscaler" in caught.value.hint


def scale_by_hand(api, replicas):
    """What `kubectl scale` leaves."""
    live = api.objects["/apis/apps/v1/namespaces/ml/deployments/iris"]
    live["spec"]["replicas"] = replicas
    owner = {"manager": "kubectl", "operation": "Update", "subresource": "scale"}
    live["metadata"]["managedFields"].append(owner | {"fieldsV1": {"f:spec": {"f:replicas": {}}}})


def refuse_replicas(api):
    """The Deployment is the third object that the server is asked about."""
    path = "/apis/apps/v1/namespaces/ml/deployments/iris"
    api.once[path] = conflict(".spec.replicas", "kubectl")


def test_replicas_that_somebody_set_by_hand_are_kept_until_forced(api, options):
    deploy(FIXED, options, Silent())
    scale_by_hand(api, 5)
    refuse_replicas(api)
    with pytest.raises(ConflictError, match="kubectl") as caught:
        deploy(FIXED, options, Silent())
    assert "scaled to 5: set deploy.replicas to that, or use --force-conflicts" in caught.value.hint
    refuse_replicas(api)
    done = deploy(FIXED, replace(options, force_conflicts=True), Silent())
    assert (done.ready, done.replicas) == (2, 2)
    assert "servegen-handover" in [query["fieldManager"] for _, query in patches(api)]


def test_an_object_that_servegen_did_not_make_is_not_taken_without_a_word(api, options):
    about = {"name": "iris", "managedFields": []}
    api.put("/api/v1/namespaces/ml/services/iris", {"kind": "Service", "metadata": about, "spec": {}})
    api.once["/api/v1/namespaces/ml/services/iris"] = conflict(".spec.selector", "kubectl-create")
    with pytest.raises(ConflictError, match="Service iris was not made by servegen") as caught:
        deploy(FIXED, options, Silent())
    assert "deploy.name" in caught.value.hint
    assert api.writes() == []


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
    assert Kubernetes(options=options).version() == KubeVersion(major=1, minor=35)
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
        Kubernetes(options=ClusterOptions(kubeconfig=str(path))).version()
    assert "\n" not in str(caught.value)


def test_a_context_that_does_not_exist_is_named(api, options):
    with pytest.raises(ClusterUnreachableError, match="staging"):
        Kubernetes(options=replace(options, context="staging"))


def test_a_kind_that_the_cluster_lacks_is_named(options):
    with pytest.raises(DeployError, match=r"no kind ScaledObject in keda\.sh/v1alpha1"):
        Cluster.connect(options).get("keda.sh/v1alpha1", "ScaledObject", "iris")


@pytest.mark.parametrize(
    ("settings", "operator", "setting"),
    [
        ({"monitoring": MonitoringSettings(discovery="podmonitor")}, "the Prometheus operator", "monitoring"),
        ({"route": RouteSettings(gateway="public")}, "the Gateway API", "deploy.route"),
        ({"autoscaling": KEDA.autoscaling, "namespace": "ml"}, "KEDA", "autoscaling.keda.enabled: false"),
    ],
)
def test_an_operator_that_is_not_installed_is_named_with_the_way_around(
    api, options, settings, operator, setting
):
    wanted = deployment(kube_version="1.35", **settings)
    for ask in (Kubernetes(options=options).check, Kubernetes(options=options).diff):
        with pytest.raises(DeployError, match="has no ") as caught:
            ask(wanted)
        assert f"install {operator}" in caught.value.hint
        assert setting in caught.value.hint
    assert api.writes() == []


def test_in_flight_without_an_adapter_is_warned_about(api, options):
    wanted = deployment(kube_version="1.35", autoscaling=AutoscalingSettings(metric="in-flight"))
    (warning,) = deploy(wanted, options, Silent()).warnings
    assert "custom.metrics.k8s.io" in warning
    assert "servegen_requests_in_flight" in warning
    api.answer["/apis/custom.metrics.k8s.io/v1beta1"] = (200, b"{}")
    assert deploy(wanted, options, Silent()).warnings == ()


def test_an_autoscaler_that_sees_no_figures_although_the_pods_answer_is_warned_about(api, options):
    api.answer["/apis/metrics.k8s.io/v1beta1"] = (200, b"{}")
    assert deploy(SCALED, options, Silent()).warnings == ()
    message = "unable to fetch metrics from resource metrics API"
    blind = {
        "type": "ScalingActive",
        "status": "False",
        "reason": "FailedGetResourceMetric",
        "message": message,
    }
    conditions = [blind | {"lastTransitionTime": "2026-11-26T10:00:00Z"}]
    api.objects[SCALER]["status"] = {"conditions": conditions}
    (warning,) = deploy(SCALED, options, Silent()).warnings
    assert warning.startswith("the autoscaler of iris has seen no figures for ")
    assert f"removes no replica meanwhile: cannot scale up or down: {message}" in warning
    # Until the rollout's end there may have been nothing to measure.
    end = {"type": "Progressing", "status": "True", "lastUpdateTime": "2026-11-26T10:05:00Z"}
    now = datetime.datetime(2026, 11, 26, 10, 5, 30, tzinfo=datetime.timezone.utc)
    scaler, workload = {"status": {"conditions": conditions}}, {"status": {"conditions": [end]}}
    assert doubts.blind_seconds(scaler, workload, now) == 30
    assert doubts.blind_seconds(scaler, {}, now) == 330
    conditions[0]["status"] = "True"
    assert doubts.blind_seconds(scaler, workload, now) == 0


@pytest.fixture
def keda(api):
    """A server that has KEDA, which takes over the autoscaler as KEDA does."""
    for group, kind in (("keda.sh/v1alpha1", "ScaledObject"), ("monitoring.coreos.com/v1", "ServiceMonitor")):
        resources = [{"kind": kind, "name": f"{kind.lower()}s"}]
        api.answer[f"/apis/{group}"] = (200, json.dumps({"resources": resources}).encode())


def keda_works(api):
    """What KEDA does once it has seen the ScaledObject."""
    scaled = api.objects[SCALED_OBJECT]
    config = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]
    about = {
        "name": config["name"],
        "labels": {"app.kubernetes.io/managed-by": "keda-operator"},
        "ownerReferences": [{"kind": "ScaledObject", "uid": scaled["metadata"]["uid"]}],
        "managedFields": [{"manager": "keda", "operation": "Update", "fieldsV1": {}}],
    }
    target = {"kind": "Deployment", "name": "iris"}
    api.put(
        SCALER, {"kind": "HorizontalPodAutoscaler", "metadata": about, "spec": {"scaleTargetRef": target}}
    )


ROUTE = "/apis/gateway.networking.k8s.io/v1/namespaces/ml/httproutes/iris"
ROUTED = deployment(kube_version="1.35", route=RouteSettings(gateway="public"))


@pytest.fixture
def gateways(api):
    """A server that has the Gateway API."""
    resources = [{"kind": "HTTPRoute", "name": "httproutes"}]
    answer = json.dumps({"resources": resources}).encode()
    api.answer["/apis/gateway.networking.k8s.io/v1"] = (200, answer)


def test_a_route_that_no_gateway_takes_is_warned_about(api, options, gateways):
    (warning,) = deploy(ROUTED, options, Silent()).warnings
    assert "no controller has answered for HTTPRoute iris: is there a Gateway public" in warning
    refused = {
        "type": "Accepted",
        "status": "False",
        "reason": "NotAllowedByListeners",
        "message": "not\nyou",
    }
    resolved = {"type": "ResolvedRefs", "status": "True"}
    parent = {"parentRef": {"name": "public"}, "conditions": [refused, resolved]}
    api.objects[ROUTE]["status"] = {"parents": [parent]}
    (warning,) = deploy(ROUTED, options, Silent()).warnings
    assert warning == "Gateway public does not take HTTPRoute iris: NotAllowedByListeners: not you"
    refused["status"] = "True"
    assert deploy(ROUTED, options, Silent()).warnings == ()


def test_what_keda_cannot_scale_is_warned_about(api, options, keda):
    deploy(BY_KEDA, options, Silent())
    wrong = {"type": "Ready", "status": "False", "reason": "ScaledObjectCheckFailed", "message": "no scaler"}
    api.objects[SCALED_OBJECT]["status"] = {"conditions": [wrong]}
    (warning,) = deploy(BY_KEDA, options, Silent()).warnings
    assert warning == "KEDA does not scale iris: ScaledObjectCheckFailed: no scaler"


SCALED_OBJECT = "/apis/keda.sh/v1alpha1/namespaces/ml/scaledobjects/iris"
SCALER = "/apis/autoscaling/v2/namespaces/ml/horizontalpodautoscalers/iris"
BY_KEDA = plan(image(), replace(KEDA, kube_version="1.35"))


def test_an_autoscaler_that_keda_takes_over_is_not_deleted(api, options, keda):
    deploy(SCALED, options, Silent())
    done = deploy(BY_KEDA, options, Silent())
    assert actions(done)["ScaledObject"] == "created"
    assert "HorizontalPodAutoscaler" not in actions(done)
    assert SCALER in api.objects


def test_kedas_autoscaler_is_gone_before_ours_of_the_same_name_comes(api, options, keda):
    deploy(BY_KEDA, options, Silent())
    keda_works(api)
    assert "-kind: ScaledObject" in Kubernetes(options=options).diff(SCALED)
    done = deploy(SCALED, options, Silent())
    assert actions(done)["ScaledObject"] == "deleted"
    assert actions(done)["HorizontalPodAutoscaler"] == "created"
    assert SCALED_OBJECT not in api.objects
    assert "ownerReferences" not in api.objects[SCALER]["metadata"]


def test_a_model_that_keda_let_sleep_is_woken_when_keda_goes(api, options, keda):
    deploy(BY_KEDA, options, Silent())
    keda_works(api)
    sleeping = api.objects["/apis/apps/v1/namespaces/ml/deployments/iris"]
    sleeping["spec"]["replicas"] = sleeping["status"]["replicas"] = 0
    done = deploy(SCALED, options, Silent())
    assert (done.ready, done.replicas) == (2, 2)


def test_a_fixed_number_of_replicas_ends_kedas_work(api, options, keda):
    deploy(BY_KEDA, options, Silent())
    keda_works(api)
    done = deploy(FIXED, options, Silent())
    assert actions(done)["ScaledObject"] == "deleted"
    assert SCALER not in api.objects
    assert done.replicas == 2


def test_who_may_not_look_for_keda_can_deploy_all_the_same(api, options, keda):
    denied = 'scaledobjects.keda.sh "iris" is forbidden: cannot get resource "scaledobjects"'
    api.answer[SCALED_OBJECT] = (403, json.dumps(status(403, denied)).encode())
    assert deploy(SCALED, options, Silent()).ready == 2


def test_a_model_that_sleeps_counts_as_deployed_and_is_said_to_sleep(api, options, keda):
    api.controller = lambda server, one: server.run_pods(one | {"spec": one["spec"] | {"replicas": 0}})
    done = deploy(BY_KEDA, options, Silent())
    assert (done.ready, done.replicas) == (0, 0)
    assert any("scaled to zero" in text for text in done.warnings)


def test_objects_given_directly_are_delivered_too(api, options):
    done = Kubernetes(options=options).deliver_objects(objects.build(FIXED)[:2], progress=Silent())
    assert actions(done) == {"ServiceAccount": "created", "Service": "created"}
    assert (done.ready, done.replicas) == (0, 0)


def test_a_watch_that_is_refused_for_a_moment_is_tried_again(api, options):
    def later(server, one):
        server.run_pods(one, phase="Pending")
        busy = [status(503, "apiserver is shutting down"), status(500, "etcdserver: leader changed")]
        server.refuse["WATCH", "pods"] = busy
        server.refuse["WATCH", "deployments"] = [status(429, "slow down")]
        threading.Timer(0.4, lambda: server.run_pods(one)).start()

    api.controller = later
    assert deploy(FIXED, replace(options, timeout_seconds=20), Silent()).ready == 2
    assert not api.refuse["WATCH", "pods"]


def test_a_watch_that_is_too_old_starts_anew(api, options):
    api.refuse["WATCH", "pods"] = [status(410, "too old resource version")]
    assert deploy(FIXED, options, Silent()).ready == 2


def go_away(server, one):
    server.run_pods(one, phase="Pending")
    threading.Timer(0.3, lambda: setattr(server, "down", True)).start()


def test_a_cluster_that_goes_away_is_the_error_not_the_model(api, options):
    api.controller = go_away
    seen = Recorder()
    with pytest.raises(ClusterUnreachableError, match="stopped answering before the pods of iris") as caught:
        deploy(FIXED, options, seen)
    assert "kubectl --namespace ml rollout status deployment/iris" in caught.value.hint
    assert any(step.startswith("the cluster does not answer") for step in seen.steps)


def test_a_cluster_that_comes_back_is_waited_for(api, options):
    def controller(server, one):
        go_away(server, one)
        threading.Timer(4.5, lambda: (setattr(server, "down", False), server.run_pods(one))).start()

    api.controller = controller
    seen = Recorder()
    assert deploy(FIXED, replace(options, timeout_seconds=30), seen).ready == 2
    assert "the cluster answers again" in seen.steps


def test_pods_of_another_deploy_are_not_taken_for_ours(api, options):
    def overtaken(server, one):
        other = copy.deepcopy(one)
        (container,) = other["spec"]["template"]["spec"]["containers"]
        container["env"].append({"name": "A", "value": "two"})
        server.run_pods(server.put("/apis/apps/v1/namespaces/ml/deployments/iris", other))

    earlier = replace(FIXED, timing=replace(FIXED.timing, min_ready=0))
    deploy(earlier, options, Silent())
    api.controller = overtaken
    with pytest.raises(OvertakenError, match="changed by somebody else"):
        deploy(FIXED, replace(options, rollback_on_failure=True), Silent())
    env = api.objects["/apis/apps/v1/namespaces/ml/deployments/iris"]["spec"]["template"]["spec"]
    assert {"name": "A", "value": "two"} in env["containers"][0]["env"]


def test_an_interrupted_rollout_says_that_it_goes_on(api, options):
    def interrupt(server, one):
        server.run_pods(one, phase="Pending")
        threading.Timer(0.3, _thread.interrupt_main).start()

    api.controller = interrupt
    with pytest.raises(StoppedError, match="what was applied stays") as caught:
        deploy(FIXED, options, Silent())
    assert "kubectl --namespace ml rollout status deployment/iris" in caught.value.hint
