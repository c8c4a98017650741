"""`servegen.targets.k8s` on a real cluster: what a user sees when it works, and why when it does not."""

from __future__ import annotations

import copy
import threading
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from servegen.errors import (
    AdmissionError,
    ClusterUnreachableError,
    ConflictError,
    CrashError,
    DeployError,
    ForbiddenError,
    ForeignError,
    ImagePullError,
    NamespaceError,
    QuotaError,
    RolloutError,
    UnschedulableError,
)
from servegen.kube import Object, handover, objects, restricted
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.kube.refusal import LoginError, RefusalError
from servegen.planning.deployment import plan
from servegen.progress import Progress, Silent
from servegen.targets.k8s import Kubernetes
from servegen.values.delivery import Delivery
from servegen.values.deployment import AutoscalingSettings, Deployment, ResourceSettings, Settings
from servegen.values.image import Image
from tests.kube.test_restricted import MUTANTS
from tests.recorder import Recorder

pytest_plugins = ("tests.e2e.kubernetes",)
pytestmark = pytest.mark.e2e

SMALL = ResourceSettings(cpu="50m", memory="64Mi", ephemeral_storage="16Mi")
QUICK = Settings(resources=SMALL, min_ready_seconds=0, autoscaling=AutoscalingSettings(min_replicas=1))
FIXED = replace(QUICK, replicas=1, autoscaling=AutoscalingSettings(enabled=False))


def deploy(deployment: Deployment, options: ClusterOptions, progress: Progress) -> Delivery:
    return Kubernetes(options=options).deliver(deployment, progress=progress)


def failure(
    image: Image, settings: Settings, options: ClusterOptions, kind: type[DeployError]
) -> DeployError:
    with pytest.raises(DeployError) as caught:
        deploy(plan(image, settings), options, Silent())
    assert type(caught.value) is kind
    return caught.value


def with_container(wanted: tuple[Object, ...], **changes: Any) -> list[Object]:
    changed = [copy.deepcopy(one) for one in wanted]
    for one in changed:
        if one["kind"] == "Deployment":
            one["spec"]["template"]["spec"]["containers"][0].update(changes)
    return changed


def live(options: ClusterOptions, deployment: Deployment) -> dict[str, Object]:
    cluster = Cluster.connect(options)
    found = {one["kind"]: cluster.live(one) for one in objects.build(deployment)}
    return {kind: one for kind, one in found.items() if one is not None}


def status_of(url: str) -> int:
    """The node learns of a new Service within a second or so of the pod being ready."""
    deadline = time.monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                return int(answer.status)
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.3)


def test_pods_run_in_a_restricted_namespace_without_a_warning(
    stub_image: Image, options: ClusterOptions
) -> None:
    seen = Recorder()
    done = deploy(plan(stub_image, QUICK), options, seen)
    assert {change.kind: change.action for change in done.changes} == {
        "ServiceAccount": "created",
        "Service": "created",
        "Deployment": "created",
        "PodDisruptionBudget": "created",
        "HorizontalPodAutoscaler": "created",
    }
    assert (done.ready, done.replicas, done.warnings, seen.warnings) == (1, 1, (), [])
    assert any("1 of 1 pods ready" in step for step in seen.steps)
    assert status_of(f"http://{done.cluster_ip}/readyz") == 200


def test_a_second_deploy_changes_nothing(stub_image: Image, options: ClusterOptions) -> None:
    deployment = plan(stub_image, FIXED)
    deploy(deployment, options, Silent())
    before = live(options, deployment)
    started = time.monotonic()
    again = deploy(deployment, options, Silent())
    assert time.monotonic() - started < 5
    assert {change.action for change in again.changes} == {"unchanged"}
    assert Kubernetes(options=options).diff(deployment) == ""
    after = live(options, deployment)
    for kind in ("ServiceAccount", "Service", "Deployment"):
        assert after[kind]["metadata"]["resourceVersion"] == before[kind]["metadata"]["resourceVersion"]


def test_the_diff_shows_what_a_deploy_would_change(stub_image: Image, options: ClusterOptions) -> None:
    target = Kubernetes(options=options)
    deployment = plan(stub_image, FIXED)
    assert "+kind: Deployment" in target.diff(deployment)
    target.deliver(deployment, progress=Silent())
    difference = target.diff(plan(stub_image, replace(FIXED, env={"LEVEL": "8e1"})))
    assert [line[1:].strip() for line in difference.splitlines() if line.startswith("+  ")] == [
        "- name: LEVEL",
        'value: "8e1"',
    ]
    assert [line for line in difference.splitlines() if line.startswith("-") and "live/" not in line] == []


def test_an_image_that_was_never_pushed_is_named(stub_image: Image, options: ClusterOptions) -> None:
    absent = replace(stub_image, ref=stub_image.ref.at("sha256:" + "0" * 64))
    started = time.monotonic()
    error = failure(absent, FIXED, options, ImagePullError)
    assert time.monotonic() - started < 25
    assert absent.ref.pinned in str(error)
    assert "ImagePull" in str(error)
    assert "not found" in str(error)
    assert "pushed" in error.hint


def test_a_crash_shows_exit_code_and_log(stub_image: Image, options: ClusterOptions) -> None:
    error = failure(stub_image, replace(FIXED, env={"MODE": "crash"}), options, CrashError)
    assert "exit code 3" in str(error)
    assert "ValueError: no column petal" in error.details


def test_too_little_memory_is_called_so(stub_image: Image, options: ClusterOptions) -> None:
    error = failure(stub_image, replace(FIXED, env={"MODE": "oom"}), options, CrashError)
    assert "OOMKilled" in str(error)
    assert "64Mi" in str(error)
    assert "deploy.resources.memory" in error.hint


def test_a_pod_that_fits_nowhere_is_reported_at_the_deadline(
    stub_image: Image, options: ClusterOptions
) -> None:
    huge = replace(FIXED, resources=replace(SMALL, memory="1Ti"))
    error = failure(stub_image, huge, replace(options, timeout_seconds=6), UnschedulableError)
    assert "fits on no node" in str(error)
    assert "Insufficient memory" in str(error)


def test_an_exceeded_quota_is_found_before_anything_is_written(
    stub_image: Image, options: ClusterOptions, api: Any
) -> None:
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"requests.memory": "32Mi"}}}
    api.create_namespaced_resource_quota(options.namespace, quota)
    time.sleep(1)  # the quota controller has to see it
    deployment = plan(stub_image, FIXED)
    with pytest.raises(QuotaError, match="exceeded quota: small") as caught:
        deploy(deployment, options, Silent())
    assert "quota" in caught.value.hint
    assert live(options, deployment) == {}


def test_a_quota_that_stops_a_rollout_is_found_while_waiting(
    stub_image: Image, options: ClusterOptions, api: Any
) -> None:
    deploy(plan(stub_image, FIXED), options, Silent())
    api.create_namespaced_resource_quota(
        options.namespace, {"metadata": {"name": "full"}, "spec": {"hard": {"pods": "1"}}}
    )
    time.sleep(1)
    error = failure(stub_image, replace(FIXED, env={"LEVEL": "2"}), options, QuotaError)
    assert "exceeded quota: full" in str(error)
    assert "servegen rollback iris" in error.details


def test_a_missing_secret_is_named(stub_image: Image, options: ClusterOptions) -> None:
    error = failure(stub_image, replace(FIXED, secret_env={"API_KEY": "vault/key"}), options, RolloutError)
    assert 'secret "vault" not found' in str(error)
    assert "deploy.secret_env" in error.hint


def test_an_entrypoint_that_does_not_exist_is_named(broken_image: Image, options: ClusterOptions) -> None:
    error = failure(broken_image, FIXED, options, RolloutError)
    assert "/srv/missing" in str(error)


def test_a_failed_startup_probe_shows_its_budget_and_answer(
    stub_image: Image, options: ClusterOptions
) -> None:
    wanted = objects.build(plan(stub_image, replace(FIXED, env={"MODE": "silent"})))
    probe = {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1, "failureThreshold": 3}
    hurried = with_container(wanted, startupProbe=probe)
    for one in hurried:
        if one["kind"] == "Deployment":
            one["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 3
            del one["spec"]["template"]["spec"]["containers"][0]["lifecycle"]
    with pytest.raises(CrashError, match="failed its startup probe for 3 s") as caught:
        Kubernetes(options=options).deliver_objects(hurried, progress=Silent())
    assert "404" in str(caught.value)
    assert "deploy.startup_seconds" in caught.value.hint
    assert "waiting for the feature store" in caught.value.details


def test_a_failed_readiness_probe_is_reported_at_the_deadline(
    stub_image: Image, options: ClusterOptions
) -> None:
    wanted = objects.build(plan(stub_image, replace(FIXED, env={"MODE": "flaky"}, min_ready_seconds=30)))
    probe = {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1}
    with pytest.raises(RolloutError, match="runs but is not ready: Readiness probe failed") as caught:
        Kubernetes(options=replace(options, timeout_seconds=18)).deliver_objects(
            with_container(wanted, readinessProbe=probe), progress=Silent()
        )
    assert "404" in str(caught.value)


def test_a_pod_that_breaks_pod_security_is_refused_before_anything_is_written(
    stub_image: Image, options: ClusterOptions
) -> None:
    deployment = plan(stub_image, FIXED)
    lax = with_container(objects.build(deployment), securityContext={"allowPrivilegeEscalation": True})
    with pytest.raises(AdmissionError, match="PodSecurity") as caught:
        Kubernetes(options=options).deliver_objects(lax, progress=Silent())
    assert "Pod Security" in caught.value.hint
    assert live(options, deployment) == {}


# The server refuses two of the mutants before Pod Security looks at them.
@pytest.mark.parametrize("name", ["none", *sorted(set(MUTANTS) - {"procMount", "Windows"})])
def test_the_offline_pod_security_check_agrees_with_the_server(
    name: str, stub_image: Image, options: ClusterOptions
) -> None:
    (workload,) = [one for one in objects.build(plan(stub_image, FIXED)) if one["kind"] == "Deployment"]
    spec = copy.deepcopy(restricted.pod_spec(workload)) or {}
    del spec["serviceAccountName"]
    MUTANTS.get(name, lambda spec: None)(spec)
    for one in spec.get("initContainers", ()):
        one.setdefault("image", "example.com/init")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
    try:
        Cluster.connect(options).create(pod, dry_run=True)
    except RefusalError as exc:
        assert "PodSecurity" in str(exc), str(exc)
        assert restricted.violations(spec) != ()
    else:
        assert restricted.violations(spec) == ()


def test_a_missing_namespace_comes_with_the_command_that_makes_it(stub_image: Image, kubeconfig: str) -> None:
    nowhere = ClusterOptions(kubeconfig=kubeconfig, namespace="servegen-nowhere")
    with pytest.raises(NamespaceError) as caught:
        deploy(plan(stub_image, FIXED), nowhere, Silent())
    assert caught.value.hint == "kubectl create namespace servegen-nowhere"


def test_a_login_that_is_not_valid_is_refused_at_once(kubeconfig: str, tmp_path: Path) -> None:
    config = yaml.safe_load(Path(kubeconfig).read_text())
    config["users"] = [{"name": user["name"], "user": {"token": "wrong"}} for user in config["users"]]
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(LoginError, match="does not know the login") as caught:
        Cluster.connect(ClusterOptions(kubeconfig=str(path), namespace="default")).get("v1", "Service", "x")
    assert "log in again" in caught.value.hint
    assert caught.value.exit_code == ClusterUnreachableError.exit_code


def test_bundles_for_a_newer_kubernetes_are_refused(stub_image: Image, options: ClusterOptions) -> None:
    newer = replace(Kubernetes(options=options).version(), minor=99)
    with pytest.raises(DeployError, match=r"written for Kubernetes 1\.99"):
        deploy(replace(plan(stub_image, FIXED), kube_version=newer), options, Silent())


def test_a_field_that_somebody_else_changed_is_a_conflict_until_forced(
    stub_image: Image, options: ClusterOptions
) -> None:
    deployment = plan(stub_image, replace(FIXED, min_ready_seconds=2))
    deploy(deployment, options, Silent())
    cluster = Cluster.connect(options)
    service = next(one for one in objects.build(deployment) if one["kind"] == "Deployment")
    about = {"name": service["metadata"]["name"], "namespace": options.namespace}
    theirs = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": about,
        "spec": {"minReadySeconds": 1},
    }
    cluster.apply(theirs, manager="platform-team", force=True)
    with pytest.raises(ConflictError, match=r"\.spec\.minReadySeconds .*platform-team"):
        deploy(deployment, options, Silent())
    deploy(deployment, replace(options, force_conflicts=True), Silent())
    assert live(options, deployment)["Deployment"]["spec"]["minReadySeconds"] == 2


def scale_by_hand(options: ClusterOptions, deployment: Deployment, replicas: int) -> None:
    from kubernetes import client, config

    apps = client.AppsV1Api(config.new_client_from_config(config_file=options.kubeconfig))
    apps.patch_namespaced_deployment_scale(
        deployment.instance, options.namespace, {"spec": {"replicas": replicas}}, field_manager="kubectl"
    )


def test_replicas_that_somebody_set_by_hand_are_taken_only_by_force(
    stub_image: Image, options: ClusterOptions
) -> None:
    deployment = plan(stub_image, FIXED)
    deploy(deployment, options, Silent())
    scale_by_hand(options, deployment, 2)
    with pytest.raises(ConflictError, match=r"\.spec\.replicas .*kubectl") as caught:
        deploy(deployment, options, Silent())
    assert "it was scaled to 2" in caught.value.hint
    forced = replace(options, force_conflicts=True)
    assert deploy(deployment, forced, Silent()).replicas == 1
    # Afterwards the number is ours to change.
    assert deploy(plan(stub_image, replace(FIXED, replicas=2)), options, Silent()).replicas == 2


def test_two_deploys_at_once_do_not_both_succeed(stub_image: Image, options: ClusterOptions) -> None:
    plans = [plan(stub_image, replace(FIXED, env={"A": text})) for text in ("one", "two")]
    found: list[object] = []

    def one(deployment: Deployment) -> None:
        try:
            found.append(deploy(deployment, options, Silent()))
        except DeployError as exc:
            found.append(exc)

    threads = [threading.Thread(target=one, args=(deployment,)) for deployment in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [each for each in found if isinstance(each, Delivery)]
    assert len(won) == 1, found


def test_a_login_that_may_not_watch_applies_nothing(
    stub_image: Image, options: ClusterOptions, api: Any, tmp_path: Path
) -> None:
    from kubernetes import client

    kinds = ["serviceaccounts", "services", "deployments", "poddisruptionbudgets", "horizontalpodautoscalers"]
    rules = [{"apiGroups": ["*"], "resources": kinds, "verbs": ["get", "patch", "create", "delete"]}]
    rbac = client.RbacAuthorizationV1Api(api.api_client)
    rbac.create_namespaced_role(options.namespace, {"metadata": {"name": "blind"}, "rules": rules})
    api.create_namespaced_service_account(options.namespace, {"metadata": {"name": "blind"}})
    subject = {"kind": "ServiceAccount", "name": "blind", "namespace": options.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "blind"}
    rbac.create_namespaced_role_binding(
        options.namespace, {"metadata": {"name": "blind"}, "subjects": [subject], "roleRef": role}
    )
    token = api.create_namespaced_service_account_token("blind", options.namespace, {"spec": {}})
    config = yaml.safe_load(Path(str(options.kubeconfig)).read_text())
    config["users"] = [{"name": u["name"], "user": {"token": token.status.token}} for u in config["users"]]
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    deployment = plan(stub_image, FIXED)
    with pytest.raises(ForbiddenError, match=r"may not list deployments\.apps") as caught:
        deploy(deployment, replace(options, kubeconfig=str(path)), Silent())
    assert "watch pods" in caught.value.hint
    assert live(options, deployment) == {}


def test_a_namespace_that_is_being_deleted_is_said_so(
    stub_image: Image, options: ClusterOptions, api: Any
) -> None:
    # A finalizer keeps the namespace in that state.
    about = {"name": "held", "finalizers": ["servegen.dev/test"]}
    api.create_namespaced_config_map(options.namespace, {"metadata": about})
    api.delete_namespace(options.namespace)
    try:
        with pytest.raises(NamespaceError, match="is being deleted"):
            deploy(plan(stub_image, FIXED), options, Silent())
    finally:
        api.patch_namespaced_config_map("held", options.namespace, {"metadata": {"finalizers": None}})


def test_a_name_that_serves_another_model_is_not_taken_over(
    stub_image: Image, options: ClusterOptions
) -> None:
    deployment = plan(stub_image, FIXED)
    deploy(deployment, options, Silent())
    other = replace(deployment, model=replace(deployment.model, name="wine"))
    with pytest.raises(ForeignError, match="serves another model"):
        deploy(other, options, Silent())


def test_the_wait_lasts_until_the_autoscaler_has_reached_its_minimum(
    stub_image: Image, options: ClusterOptions
) -> None:
    two = replace(QUICK, autoscaling=AutoscalingSettings(min_replicas=2))
    done = deploy(plan(stub_image, two), options, Silent())
    assert (done.ready, done.replicas) == (2, 2)


def test_turning_autoscaling_on_keeps_the_replicas(stub_image: Image, options: ClusterOptions) -> None:
    fixed, scaled = plan(stub_image, replace(FIXED, replicas=2)), plan(stub_image, QUICK)
    deploy(fixed, options, Silent())
    deploy(scaled, options, Silent())
    now = live(options, scaled)["Deployment"]
    assert now["spec"]["replicas"] == 2
    assert not handover.owns_replicas(now, "servegen")
    assert handover.owns_replicas(now, handover.HANDOVER)


def test_turning_autoscaling_off_removes_the_autoscaler_and_sets_the_replicas(
    stub_image: Image, options: ClusterOptions
) -> None:
    scaled = plan(stub_image, replace(QUICK, autoscaling=AutoscalingSettings(min_replicas=2)))
    fixed = plan(stub_image, FIXED)
    deploy(scaled, options, Silent())
    done = deploy(fixed, options, Silent())
    assert ("HorizontalPodAutoscaler", "deleted") in [(one.kind, one.action) for one in done.changes]
    assert live(options, scaled).keys() == {"ServiceAccount", "Service", "Deployment", "PodDisruptionBudget"}
    assert done.replicas == 1


@pytest.mark.parametrize("address", ["https://127.0.0.1:1", "https://cluster.invalid"])
def test_a_cluster_that_does_not_answer_is_reported_within_seconds(address: str, tmp_path: Path) -> None:
    config = f"""
apiVersion: v1
kind: Config
current-context: away
clusters: [{{name: away, cluster: {{server: "{address}"}}}}]
contexts: [{{name: away, context: {{cluster: away, user: me}}}}]
users: [{{name: me, user: {{token: x}}}}]
"""
    path = tmp_path / "kubeconfig"
    path.write_text(config)
    started = time.monotonic()
    with pytest.raises(ClusterUnreachableError, match=address) as caught:
        Kubernetes(options=ClusterOptions(kubeconfig=str(path))).version()
    assert time.monotonic() - started < 5
    assert "context away" in str(caught.value)
