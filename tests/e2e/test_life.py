"""Life after the first deploy on a real cluster: releases, prune, deletion, taking over, refusals."""

from __future__ import annotations

import contextlib
import copy
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from servegen.cli import servegen
from servegen.deployed import Removal, releases, rollback
from servegen.errors import (
    AdmissionError,
    CrashError,
    ForbiddenError,
    ForeignError,
    NotDeployedError,
)
from servegen.kube import Object, apply, instances, objects, ownership
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.planning.deployment import plan
from servegen.progress import Silent
from servegen.targets.k8s import Kubernetes
from servegen.values.delivery import Delivery
from servegen.values.deployment import AutoscalingSettings, Deployment, ResourceSettings, Settings
from servegen.values.image import Image, ImageRef
from tests.e2e.conftest import program
from tests.e2e.life import Life, Load

pytest_plugins = ("tests.e2e.kubernetes",)
pytestmark = pytest.mark.e2e

FIXED = Settings(
    resources=ResourceSettings(cpu="50m", memory="64Mi", ephemeral_storage="16Mi"),
    min_ready_seconds=0,
    replicas=1,
    autoscaling=AutoscalingSettings(enabled=False),
)
SCALED = replace(FIXED, replicas=None, autoscaling=AutoscalingSettings(min_replicas=1))
BROKEN = replace(FIXED, env={"MODE": "crash"})


def deploy(wanted: Deployment, options: ClusterOptions) -> Delivery:
    return Kubernetes(options=options).deliver(wanted, progress=Silent())


def put(wanted: Deployment, options: ClusterOptions) -> None:
    """Apply without waiting for pods."""
    cluster = Cluster.connect(options)
    apply.apply(cluster, apply.preflight(cluster, objects.build(wanted)), force=False)


def live(options: ClusterOptions) -> dict[str, Object]:
    found = instances.find(Cluster.connect(options), "iris")
    return {one["kind"]: one for one in found.objects}


def mode(options: ClusterOptions) -> str | None:
    (container,) = live(options)["Deployment"]["spec"]["template"]["spec"]["containers"]
    return next((one["value"] for one in container["env"] if one["name"] == "MODE"), None)


def test_a_failed_deploy_goes_back_and_a_rollback_brings_all_objects_back(
    stub_image: Image, options: ClusterOptions
) -> None:
    assert deploy(plan(stub_image, SCALED), options).release == 1
    # Prune: the autoscaler of the first release is gone with the second.
    assert deploy(plan(stub_image, FIXED), options).release == 2
    assert "HorizontalPodAutoscaler" not in live(options)
    with pytest.raises(CrashError) as caught:
        deploy(plan(stub_image, BROKEN), replace(options, rollback_on_failure=True))
    assert "rolled back: release 2 (model version 3) answers again" in caught.value.details
    assert mode(options) is None
    assert rollback("iris", None, options, Silent()).release == 3
    assert "HorizontalPodAutoscaler" in live(options)
    assert [one.number for one in releases("iris", options)] == [2, 3]
    before = live(options)
    again = deploy(plan(stub_image, SCALED), options)
    assert again.release == 3
    assert {change.action for change in again.changes} == {"unchanged"}
    # Controllers write the status of the others.
    for kind in ("ConfigMap", "Service", "ServiceAccount"):
        now = live(options)[kind]
        assert now["metadata"]["resourceVersion"] == before[kind]["metadata"]["resourceVersion"]


def test_delete_leaves_nothing_of_ours_and_all_that_is_not(
    stub_image: Image, options: ClusterOptions, api: Any
) -> None:
    put(plan(stub_image, FIXED), options)
    labels = {"servegen.dev/instance": "iris"}
    api.create_namespaced_config_map(options.namespace, {"metadata": {"name": "theirs", "labels": labels}})
    Removal.of("iris", options).carry_out(Silent())
    assert [one["metadata"]["name"] for one in live(options).values()] == ["theirs"]
    with pytest.raises(NotDeployedError):
        Removal.of("iris", options)


def test_what_kubectl_made_is_taken_over_with_every_field(
    stub_image: Image, options: ClusterOptions, tmp_path: Path
) -> None:
    wanted = plan(stub_image, FIXED)
    theirs = copy.deepcopy(list(objects.build(wanted)))
    for one in theirs:
        one["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "kubectl"
        if one["kind"] == "Service":
            one["spec"]["sessionAffinity"] = "ClientIP"
        if one["kind"] == "Deployment":
            one["spec"]["replicas"] = 2
    manifest = tmp_path / "all.yaml"
    manifest.write_text(yaml.safe_dump_all(theirs))
    base = [
        program("kubectl"),
        "--kubeconfig",
        str(options.kubeconfig),
        "--namespace",
        str(options.namespace),
    ]
    subprocess.run([*base, "apply", "-f", str(manifest)], check=True, capture_output=True)
    with pytest.raises(ForeignError, match="managed by kubectl"):
        deploy(wanted, options)
    deploy(plan(stub_image, SCALED), replace(options, adopt=True))
    now = live(options)
    assert not any(ownership.client_side(one) for one in now.values())
    # A field that only they had is gone, and the number of replicas did not dip on its way to the autoscaler.
    assert now["Service"]["spec"]["sessionAffinity"] == "None"
    assert now["Deployment"]["spec"]["replicas"] == 2


def test_what_argo_keeps_is_left_to_it(stub_image: Image, options: ClusterOptions) -> None:
    put(plan(stub_image, FIXED), options)
    about = {"name": "iris", "namespace": options.namespace}
    mark = {"argocd.argoproj.io/tracking-id": "apps:apps/Deployment:ml/iris"}
    one = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {**about, "annotations": mark}}
    Cluster.connect(options).apply(one, manager="argocd-controller")
    for act in (lambda: deploy(plan(stub_image, SCALED), options), lambda: Removal.of("iris", options)):
        with pytest.raises(ForeignError, match="Argo CD"):
            act()


@contextlib.contextmanager
def policy(options: ClusterOptions, api: Any) -> Iterator[Callable[[], None]]:
    """A ValidatingAdmissionPolicy that refuses Deployments of the namespace; what is yielded removes it."""
    from kubernetes import client

    name = f"refuse-{options.namespace}"
    rules = [
        {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]}
    ]
    registration = client.AdmissionregistrationV1Api(api.api_client)
    registration.create_validating_admission_policy(
        {
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": rules},
                "validations": [{"expression": "false", "message": "no models on Fridays"}],
            },
        }
    )
    selector = {"matchLabels": {"kubernetes.io/metadata.name": options.namespace}}
    registration.create_validating_admission_policy_binding(
        {
            "metadata": {"name": name},
            "spec": {
                "policyName": name,
                "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": selector},
            },
        }
    )

    def remove() -> None:
        registration.delete_validating_admission_policy_binding(name)
        registration.delete_validating_admission_policy(name)

    try:
        yield remove
    finally:
        with contextlib.suppress(client.ApiException):
            remove()


def refusal_of(act: Callable[[], Any]) -> AdmissionError:
    """What `act` is refused with, once the API server knows the rule."""
    for _ in range(40):
        try:
            act()
        except AdmissionError as exc:
            return exc
        time.sleep(0.25)
    pytest.fail("the rule refuses nothing")


def pass_in_time(act: Callable[[], Any]) -> None:
    """Returns once `act` is not refused any more."""
    for _ in range(40):
        with contextlib.suppress(AdmissionError):
            act()
            return
        time.sleep(0.25)
    pytest.fail("the rule still refuses")


def test_a_policy_that_refuses_is_quoted_before_anything_is_written(
    stub_image: Image, options: ClusterOptions, api: Any
) -> None:
    wanted, target = plan(stub_image, FIXED), Kubernetes(options=options)
    with policy(options, api) as remove:
        error = refusal_of(lambda: target.diff(wanted))
        assert "no models on Fridays" in str(error)
        assert "policy" in error.hint
        with pytest.raises(AdmissionError):
            deploy(wanted, options)
        assert live(options) == {}
        remove()
        pass_in_time(lambda: target.diff(wanted))
    assert deploy(wanted, options).ready == 1


def test_a_webhook_that_does_not_answer_is_named(
    stub_image: Image, options: ClusterOptions, api: Any
) -> None:
    from kubernetes import client

    registration = client.AdmissionregistrationV1Api(api.api_client)
    name = f"absent.{options.namespace}.example.com"
    hook = {
        "name": name,
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["services"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": options.namespace}},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 1,
    }
    registration.create_validating_webhook_configuration({"metadata": {"name": name}, "webhooks": [hook]})
    try:
        error = refusal_of(lambda: Kubernetes(options=options).diff(plan(stub_image, FIXED)))
    finally:
        registration.delete_validating_webhook_configuration(name)
    assert "failed calling webhook" in str(error)
    assert "does not answer" in error.hint


def test_a_login_that_may_only_read_is_told_which_right_it_lacks(
    stub_image: Image, options: ClusterOptions, api: Any, tmp_path: Path
) -> None:
    from kubernetes import client

    rbac = client.RbacAuthorizationV1Api(api.api_client)
    api.create_namespaced_service_account(options.namespace, {"metadata": {"name": "reader"}})
    subject = {"kind": "ServiceAccount", "name": "reader", "namespace": options.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    rbac.create_namespaced_role_binding(
        options.namespace, {"metadata": {"name": "reader"}, "subjects": [subject], "roleRef": role}
    )
    token = api.create_namespaced_service_account_token("reader", options.namespace, {"spec": {}})
    config = yaml.safe_load(Path(str(options.kubeconfig)).read_text())
    config["users"] = [{"name": u["name"], "user": {"token": token.status.token}} for u in config["users"]]
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ForbiddenError, match="cannot patch resource") as caught:
        deploy(plan(stub_image, FIXED), replace(options, kubeconfig=str(path)))
    assert "ask for a Role that allows: patch serviceaccounts" in caught.value.hint
    assert live(options) == {}


def test_no_request_fails_while_pods_come_and_go(stub_image: Image, options: ClusterOptions) -> None:
    life = Life(image=stub_image, options=options, settings=replace(FIXED, replicas=2))
    load = Load(host=str(life.deploy().cluster_ip), request=b"GET /livez HTTP/1.0\r\n\r\n", rate=50)
    load.await_first()
    with load:
        life.roll_out(1)
        life.evict(1)
        life.roll_back(1)
    assert load.failed == []
    assert load.answered > 500


def test_diff_shows_what_a_deploy_would_change_and_ends_accordingly(
    stub_image: Image, options: ClusterOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SERVEGEN_CACHE_DIR", str(tmp_path / "cache"))
    arguments = ["diff", stub_image.ref.pinned, "--namespace", str(options.namespace)]
    before = CliRunner().invoke(servegen, arguments)
    assert before.exit_code == 1
    assert "+kind: Deployment" in before.stdout
    version = str(Kubernetes(options=options).version())
    named = replace(stub_image, ref=ImageRef.parse(stub_image.ref.pinned))
    put(plan(named, Settings(namespace=options.namespace, kube_version=version)), options)
    after = CliRunner().invoke(servegen, arguments)
    assert (after.exit_code, after.stdout) == (0, "")
