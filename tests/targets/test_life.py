"""Releases, prune, rollback, deletion and taking over, against a server of one process."""

import copy
from dataclasses import replace

import pytest

from servegen.deployed import Removal, releases, rollback
from servegen.errors import (
    AdmissionError,
    ClusterUnreachableError,
    CrashError,
    DeployError,
    ForbiddenError,
    ForeignError,
    NotDeployedError,
)
from servegen.kube import ownership
from servegen.kube.client import Cluster
from servegen.progress import Silent
from servegen.targets.k8s import Kubernetes
from servegen.values.deployment import AutoscalingSettings
from tests.kube import fake_api
from tests.kube.deployments import deployment
from tests.recorder import Recorder

OFF = AutoscalingSettings(enabled=False)
FIXED = deployment(autoscaling=OFF, replicas=2, kube_version="1.35")
OTHER = deployment(autoscaling=OFF, replicas=2, kube_version="1.35", env={"LEVEL": "2"})
ROOT = "/apis/apps/v1/namespaces/ml/deployments/iris"
REPLICA_SETS = "/apis/apps/v1/namespaces/ml/replicasets"
RECORD = "/api/v1/namespaces/ml/configmaps/iris-release"


def deploy(wanted, options, progress=None):
    return Kubernetes(options=options).deliver(wanted, progress=progress or Silent())


def level(api):
    env = api.objects[ROOT]["spec"]["template"]["spec"]["containers"][0]["env"]
    return next((one["value"] for one in env if one["name"] == "LEVEL"), None)


def leave_behind(api, options):
    """A Service of ours that no deployment has any more; what is not ours beside it."""
    service = api.objects["/api/v1/namespaces/ml/services/iris"]
    for name, changes in {
        "iris-old": {},
        "iris-theirs": {"managedFields": [{"manager": "kubectl", "operation": "Update", "apiVersion": "v1"}]},
        "iris-child": {"ownerReferences": [{"kind": "ScaledObject"}]},
    }.items():
        one = copy.deepcopy(service)
        one["metadata"] = {**one["metadata"], "name": name, "uid": f"uid-{name}", **changes}
        api.put(f"/api/v1/namespaces/ml/services/{name}", one)


def crash(server, one):
    broken = any(each["name"] == "LEVEL" for each in one["spec"]["template"]["spec"]["containers"][0]["env"])
    if not broken:
        return server.run_pods(one)
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    status = {
        "name": "server",
        "restartCount": 1,
        "state": waiting,
        "lastState": {"terminated": {"exitCode": 3}},
    }
    return server.run_pods(one, phase="Running", containerStatuses=[status])


def test_each_deploy_that_answers_is_a_release(api, options):
    assert deploy(FIXED, options).release == 1
    assert deploy(OTHER, options).release == 2
    assert [one.number for one in releases("iris", options)] == [1, 2]


def test_an_unchanged_deploy_does_not_touch_the_record(api, options):
    deploy(FIXED, options)
    before = api.objects[RECORD]["metadata"]["resourceVersion"]
    api.requests.clear()
    assert deploy(FIXED, options).release == 1
    # Nor does it look for what an earlier version left.
    assert "/api/v1/namespaces/ml/services" not in [path for _, path, _, _ in api.requests]
    assert api.objects[RECORD]["metadata"]["resourceVersion"] == before


def test_a_deploy_that_fails_is_no_release(api, options):
    deploy(FIXED, options)
    api.controller = crash
    with pytest.raises(CrashError) as caught:
        deploy(OTHER, options)
    assert "to go back: servegen rollback iris --namespace ml --to 1" in caught.value.details
    assert [one.number for one in releases("iris", options)] == [1]


def test_what_is_released_is_what_answered_last(api, options):
    place, healthy = Kubernetes(options=options), api.controller
    assert place.released(FIXED).pin is None
    api.controller = crash
    with pytest.raises(CrashError):
        deploy(OTHER, options)
    # It is in the cluster, but a watcher has to try it again.
    assert place.released(FIXED).pin is None
    api.controller = healthy
    deploy(FIXED, options)
    assert place.released(FIXED).pin == FIXED.model.pin


def test_rollback_brings_the_release_before_back(api, options):
    deploy(FIXED, options)
    deploy(OTHER, options)
    assert rollback("iris", None, options, Silent()).release == 3
    assert level(api) is None
    rollback("iris", None, options, Silent())
    assert level(api) == "2"


def test_rollback_after_a_failed_deploy_brings_the_last_release_back(api, options):
    deploy(FIXED, options)
    api.controller = crash
    with pytest.raises(CrashError):
        deploy(OTHER, options)
    assert rollback("iris", None, options, Silent()).release == 1
    assert level(api) is None


def test_rollback_to_a_number(api, options):
    deploy(FIXED, options)
    deploy(OTHER, options)
    with pytest.raises(NotDeployedError, match="no release 7") as caught:
        rollback("iris", 7, options, Silent())
    assert caught.value.hint == "--to one of 1, 2"
    rollback("iris", 1, options, Silent())
    assert level(api) is None


def test_rollback_without_anything_to_go_back_to_says_so(api, options):
    with pytest.raises(NotDeployedError, match="no deployment iris of servegen in namespace ml"):
        rollback("iris", None, options, Silent())
    deploy(FIXED, options)
    with pytest.raises(NotDeployedError, match="runs release 1, and there is no other one"):
        rollback("iris", None, options, Silent())


def test_without_recorded_releases_the_pods_go_back_by_one_revision(api, options):
    deploy(FIXED, options)
    earlier = copy.deepcopy(api.objects[f"{REPLICA_SETS}/iris-abc"])
    earlier["spec"] = {"template": copy.deepcopy(api.objects[ROOT]["spec"]["template"])}
    earlier["spec"]["template"]["metadata"]["labels"]["pod-template-hash"] = "old"
    earlier["metadata"]["name"] = "iris-old"
    earlier["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "0"
    api.put(f"{REPLICA_SETS}/iris-old", earlier)
    deploy(OTHER, options)
    del api.objects[RECORD]
    seen = Recorder()
    done = rollback("iris", None, options, seen)
    assert (done.ready, done.release, level(api)) == (2, None, None)
    assert "pod-template-hash" not in api.objects[ROOT]["spec"]["template"]["metadata"]["labels"]
    assert "the pods go back by one revision" in seen.warnings[0]
    assert "/api/v1/namespaces/ml/services/iris" in api.objects


def test_a_failed_deploy_goes_back_by_itself_when_asked_to(api, options):
    deploy(FIXED, options)
    api.controller = crash
    seen = Recorder()
    with pytest.raises(CrashError) as caught:
        deploy(OTHER, replace(options, rollback_on_failure=True), seen)
    assert "rolled back: release 1 (model version 7) answers again" in caught.value.details
    assert level(api) is None
    assert seen.steps[-1] == "iris: 2 of 2 pods ready"


def test_a_first_deploy_has_nothing_to_go_back_to(api, options):
    api.controller = crash
    with pytest.raises(CrashError) as caught:
        deploy(OTHER, replace(options, rollback_on_failure=True))
    assert "rolled back: no, there is no earlier release here" in caught.value.details


def test_what_an_earlier_version_left_is_removed_once_the_new_one_answers(api, options):
    deploy(FIXED, options)
    leave_behind(api, options)
    assert "-  name: iris-old" in Kubernetes(options=options).diff(OTHER)
    done = deploy(OTHER, options)
    assert [one.name for one in done.changes if one.action == "deleted"] == ["iris-old"]
    names = {path.rpartition("/")[2] for path in api.objects if "/services/" in path}
    assert names == {"iris", "iris-theirs", "iris-child"}


def test_a_deploy_that_fails_removes_nothing(api, options):
    deploy(FIXED, options)
    leave_behind(api, options)
    api.controller = crash
    with pytest.raises(CrashError):
        deploy(OTHER, options)
    assert "/api/v1/namespaces/ml/services/iris-old" in api.objects


def test_delete_removes_all_that_is_ours_in_reverse_order(api, options):
    deploy(FIXED, options)
    leave_behind(api, options)
    removal = Removal.of("iris", options)
    assert removal.names == (
        "PodDisruptionBudget iris",
        "Deployment iris",
        "Service iris-old",
        "Service iris",
        "ConfigMap iris-release",
        "ServiceAccount iris",
    )
    removal.carry_out(Silent())
    assert {path.rpartition("/")[2] for path in api.objects if "/services/" in path} == {
        "iris-theirs",
        "iris-child",
    }
    with pytest.raises(NotDeployedError):
        Removal.of("iris", options)


def test_a_deletion_that_is_stopped_says_what_is_gone(api, options):
    deploy(FIXED, options)
    removal = Removal.of("iris", options)
    api.refuse["DELETE", "iris-release"] = [{"code": 500, "message": "etcdserver: no space"}]
    with pytest.raises(DeployError, match="no space") as caught:
        removal.carry_out(Silent())
    assert "deleted: PodDisruptionBudget iris, Deployment iris, Service iris" in caught.value.details
    assert Removal.of("iris", options).names == ("ConfigMap iris-release", "ServiceAccount iris")


@pytest.mark.parametrize(
    ("place", "mark", "keeper"),
    [
        ("annotations", "argocd.argoproj.io/tracking-id", "Argo CD"),
        ("labels", "kustomize.toolkit.fluxcd.io/name", "Flux"),
    ],
)
def test_what_a_git_controller_keeps_is_left_to_it(api, options, place, mark, keeper):
    deploy(FIXED, options)
    deploy(OTHER, options)
    api.objects[ROOT]["metadata"][place][mark] = "apps"
    adopting = replace(options, adopt=True)
    for act in (
        lambda: deploy(FIXED, adopting),
        lambda: rollback("iris", 1, options, Silent()),
        lambda: Removal.of("iris", options),
    ):
        with pytest.raises(ForeignError, match=f"kept as Git says by {keeper}"):
            act()


def test_an_object_of_another_tool_is_taken_over_only_when_asked(api, options):
    deploy(FIXED, options)
    about = api.objects["/api/v1/namespaces/ml/services/iris"]["metadata"]
    about["labels"]["app.kubernetes.io/managed-by"] = "Helm"
    fields = {"f:spec": {"f:sessionAffinity": {}}}
    helm = {"manager": "helm", "operation": "Update", "apiVersion": "v1", "fieldsV1": fields}
    about["managedFields"] = [helm]
    with pytest.raises(ForeignError, match="managed by Helm") as caught:
        deploy(FIXED, options)
    assert "--adopt" in caught.value.hint
    api.once["/api/v1/namespaces/ml/services/iris"] = {
        "code": 409,
        "message": "conflict",
        "details": {
            "causes": [
                {
                    "reason": "FieldManagerConflict",
                    "field": ".spec.sessionAffinity",
                    "message": 'conflict with "helm" using v1',
                }
            ]
        },
    }
    deploy(FIXED, replace(options, adopt=True))
    about = api.objects["/api/v1/namespaces/ml/services/iris"]["metadata"]
    assert about["labels"]["app.kubernetes.io/managed-by"] == "servegen"
    assert [one["manager"] for one in about["managedFields"]] == ["servegen"]


def test_a_deployment_of_other_pods_cannot_be_taken_over(api, options):
    deploy(FIXED, options)
    about, spec = api.objects[ROOT]["metadata"], api.objects[ROOT]["spec"]
    about["labels"]["app.kubernetes.io/managed-by"] = "Helm"
    about["annotations"], spec["selector"] = {}, {"matchLabels": {"app": "iris"}}
    for adopt in (False, True):
        with pytest.raises(ForeignError, match="chooses its pods by app=iris, which nobody can") as caught:
            deploy(FIXED, replace(options, adopt=adopt))
        assert "--adopt" not in caught.value.hint


def test_what_kubectl_apply_left_is_a_warning_until_it_is_taken_over(api, options):
    deploy(FIXED, options)
    entry = {"manager": "kubectl-client-side-apply", "operation": "Update", "apiVersion": "apps/v1"}
    api.objects[ROOT]["metadata"]["managedFields"].append(entry | {"fieldsV1": {"f:spec": {"f:paused": {}}}})
    seen = Recorder()
    deploy(FIXED, options, seen)
    assert any("kubectl apply owns fields of Deployment iris" in one for one in seen.warnings)
    seen = Recorder()
    deploy(FIXED, replace(options, adopt=True), seen)
    assert seen.warnings == []
    assert not ownership.client_side(api.objects[ROOT])


def test_fields_are_united_where_they_are_taken_over(api, options):
    def entry(manager, operation, fields, api_version="v1"):
        about = {"manager": manager, "operation": operation, "apiVersion": api_version}
        return about | {"fieldsV1": fields}

    managed = [
        entry("servegen", "Apply", {"f:a": {"f:x": {}}}),
        entry("tool", "Update", {"f:a": {"f:y": {}}}),
        entry("tool", "Update", {"f:b": {}}, api_version="v1beta1"),
        entry("kube-controller-manager", "Update", {"f:c": {}}),
    ]
    path = "/api/v1/namespaces/ml/services/iris"
    one = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "iris", "managedFields": managed}}
    api.put(path, one)
    ownership.adopt(Cluster.connect(options), one)
    entries = {one["manager"]: one["fieldsV1"] for one in api.objects[path]["metadata"]["managedFields"]}
    assert entries == {
        "servegen": {"f:a": {"f:x": {}, "f:y": {}}},
        "kube-controller-manager": {"f:c": {}},
    }


def test_an_error_in_the_middle_says_what_was_applied(api, options):
    deploy(FIXED, options)
    refused = {"code": 403, "message": 'admission webhook "policy" denied the request: no'}
    original = api.apply

    def apply(path, body, manager, *, dry_run):
        if not dry_run and body["kind"] == "Deployment":
            raise fake_api._RefusedError(refused)
        return original(path, body, manager, dry_run=dry_run)

    api.apply = apply
    with pytest.raises(AdmissionError, match="admission webhook") as caught:
        deploy(OTHER, options)
    assert (
        "applied: ServiceAccount iris, Service iris; not applied: Deployment iris, PodDisruptionBudget iris"
        in caught.value.details
    )


def test_a_server_that_goes_away_in_the_middle_leaves_a_list_and_the_next_deploy_finishes(api, options):
    original = api.apply

    def apply(path, body, manager, *, dry_run):
        if not dry_run and body["kind"] == "Deployment":
            api.down = True
            raise ConnectionResetError
        return original(path, body, manager, dry_run=dry_run)

    api.apply = apply
    with pytest.raises(ClusterUnreachableError) as caught:
        deploy(FIXED, replace(options, timeout_seconds=1))
    assert "applied: ServiceAccount iris, Service iris; not applied: Deployment iris" in caught.value.details
    api.down, api.apply = False, original
    done = deploy(FIXED, options)
    assert (done.ready, done.release) == (2, 1)


def test_a_login_without_configmaps_deploys_and_is_told_what_it_lacks(api, options):
    seen = Recorder()
    text = 'configmaps is forbidden: User "me" cannot get resource "configmaps" in API group ""'
    api.refuse["GET", "iris-release"] = [{"code": 403, "message": text}]
    assert deploy(FIXED, options, seen).release is None
    assert any("no release is recorded" in one for one in seen.warnings)
    assert RECORD not in api.objects


def test_a_login_that_may_not_apply_is_a_matter_of_rights(api, options):
    text = 'services "iris" is forbidden: User "me" cannot patch resource "services" in API group ""'
    api.refuse["PATCH", "iris"] = [{"code": 403, "message": text}]
    with pytest.raises(ForbiddenError, match="cannot patch") as caught:
        deploy(FIXED, options)
    assert caught.value.hint == "ask for a Role that allows: patch services"


def test_a_record_that_is_none_stops_before_anything_is_written(api, options):
    deploy(FIXED, options)
    api.objects[RECORD]["data"]["releases"] = "[1"
    writes = len(api.writes())
    with pytest.raises(DeployError, match="ConfigMap iris-release is no record of releases") as caught:
        deploy(OTHER, options)
    assert caught.value.hint == "kubectl --namespace ml delete configmap iris-release"
    assert len(api.writes()) == writes
