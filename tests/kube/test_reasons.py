import pytest

from servegen.kube import reasons

IMAGE = "registry.example.com/iris@sha256:1"


def pod(state=None, *, last=None, restarts=0, ready=False, started=None, **status):
    container = {
        "name": "server",
        "state": state or {},
        "lastState": last or {},
        "restartCount": restarts,
        "ready": ready,
        "started": started,
    }
    probe = {"periodSeconds": 5, "failureThreshold": 24}
    spec = {
        "name": "server",
        "image": IMAGE,
        "resources": {"limits": {"memory": "1Gi"}},
        "startupProbe": probe,
    }
    return {
        "metadata": {"name": "iris-1"},
        "spec": {"containers": [spec]},
        "status": {"containerStatuses": [container], **status},
    }


def waiting(reason, message=""):
    return {"waiting": {"reason": reason, "message": message}}


def ended(code, reason="Error"):
    return {"terminated": {"exitCode": code, "reason": reason}}


def event(message, reason="Unhealthy"):
    return {"message": message, "reason": reason}


def only(one, *events):
    (finding,) = reasons.of_pods([one], {"iris-1": events})
    return finding


@pytest.mark.parametrize(
    ("state", "words", "hint", "patience"),
    [
        (waiting("ErrImagePull", f"{IMAGE}: not found"), ("cannot pull", IMAGE, "not found"), "pushed", 0),
        (waiting("ImagePullBackOff", "Back-off"), ("cannot pull", "ImagePullBackOff"), "registry", 20),
        (waiting("ErrImagePull", "dial tcp: connection refused"), ("connection refused",), "registry", 20),
        (waiting("InvalidImageName", "x"), ("InvalidImageName",), "pushed", 0),
        (
            waiting("CreateContainerConfigError", 'secret "t" not found'),
            ('secret "t" not found',),
            "secret_env",
            0,
        ),
        (waiting("RunContainerError", "exec: no such file"), ("no such file",), "entrypoint", 0),
    ],
)
def test_a_container_that_waits_says_for_what(state, words, hint, patience):
    finding = only(pod(state))
    assert all(word in finding.message for word in words)
    assert hint in finding.hint
    assert finding.patience == patience


def test_out_of_memory_names_the_limit():
    finding = only(pod(waiting("CrashLoopBackOff"), last=ended(137, "OOMKilled"), restarts=1))
    assert "its 1Gi of memory" in finding.message
    assert "deploy.resources.memory" in finding.hint
    assert finding.previous


def test_one_crash_may_pass_but_a_loop_may_not():
    assert reasons.of_pods([pod({"running": {}}, last=ended(1), restarts=1)], {}) == []
    finding = only(pod(waiting("CrashLoopBackOff"), last=ended(3), restarts=1))
    assert "exit code 3 (1 restart)" in finding.message
    assert (finding.pod, finding.container, finding.previous) == ("iris-1", "server", True)
    assert "2 restarts" in only(pod(ended(3), restarts=2)).message


def test_the_log_of_a_container_that_just_ended_is_the_current_one():
    assert not only(pod(ended(3), restarts=2)).previous


@pytest.mark.parametrize("code", [0, 137, 143])
def test_a_start_that_takes_too_long_is_told_from_a_crash(code):
    finding = only(
        pod({"running": {}}, last=ended(code), restarts=1),
        event("Startup probe failed: HTTP probe failed with statuscode: 503"),
        event("Container server failed startup probe, will be restarted", "Killing"),
    )
    assert "failed its startup probe for 120 s" in finding.message
    assert "503" in finding.message
    assert "deploy.startup_seconds" in finding.hint


def test_a_pod_that_is_not_ready_may_still_become_so():
    finding = only(pod({"running": {}}, started=True), event("Readiness probe failed: statuscode: 503"))
    assert "Readiness probe failed: statuscode: 503" in finding.message
    assert finding.patience == reasons.FOREVER


def test_no_room_is_waited_for_a_while():
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient cpu.",
    }
    finding = only(pod(conditions=[condition]))
    assert "3 Insufficient cpu" in finding.message
    assert finding.patience == 60


def test_a_missing_volume_is_found_in_the_events():
    finding = only(
        pod(waiting("ContainerCreating")),
        event('MountVolume.SetUp failed: secret "x" not found', "FailedMount"),
    )
    assert 'secret "x" not found' in finding.message


def test_a_pod_on_its_way_out_explains_nothing():
    leaving = pod(waiting("CrashLoopBackOff"), last=ended(1), restarts=3)
    leaving["metadata"]["deletionTimestamp"] = "now"
    assert reasons.of_pods([leaving], {}) == []


def test_the_surest_finding_comes_first():
    slow = pod({"running": {}}, started=True)
    crash = pod(waiting("CrashLoopBackOff"), last=ended(3), restarts=4)
    crash["metadata"] = {"name": "iris-2"}
    found = reasons.of_pods([slow, crash], {"iris-1": [event("Readiness probe failed: x")]})
    assert [finding.pod for finding in found] == ["iris-2", "iris-1"]


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest": a', "Pod Security"),
        ("exceeded quota: q, requested: pods=1", "quota"),
        ('serviceaccount "x" not found', "ServiceAccount"),
        ("admission webhook denied the request", "admission"),
    ],
)
def test_a_deployment_that_makes_no_pod_says_why(message, hint):
    condition = {"type": "ReplicaFailure", "status": "True", "message": message}
    deployment = {"metadata": {"name": "iris"}, "spec": {}, "status": {"conditions": [condition]}}
    (finding,) = reasons.of_deployment(deployment)
    assert message in finding.message
    assert hint in finding.hint


def test_a_rollout_without_progress_is_found():
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    deployment = {
        "metadata": {"name": "iris"},
        "spec": {"progressDeadlineSeconds": 600},
        "status": {"conditions": [condition]},
    }
    (finding,) = reasons.of_deployment(deployment)
    assert "no progress for 600 s" in finding.message


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (pod(conditions=[{"type": "Ready", "status": "True"}]), "ready"),
        (pod(waiting("ContainerCreating")), "ContainerCreating"),
        (pod({"running": {}}), "running, not ready"),
        (pod(phase="Pending"), "pending"),
    ],
)
def test_a_pods_state_fits_into_a_progress_line(one, words):
    assert reasons.state(one) == words
