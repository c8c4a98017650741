import copy

import pytest

from servegen.kube import objects, restricted
from tests.kube.deployments import deployment


def container(spec):
    return spec["containers"][0]


def remove_seccomp(spec):
    del spec["securityContext"]["seccompProfile"]


def remove_non_root(spec):
    del spec["securityContext"]["runAsNonRoot"]
    del container(spec)["securityContext"]["runAsNonRoot"]


def with_init(spec):
    spec["initContainers"] = [{"name": "load", "securityContext": {"runAsNonRoot": True}}]


MUTANTS = {
    "hostNetwork": lambda spec: spec.update(hostNetwork=True),
    "hostPID": lambda spec: spec.update(hostPID=True),
    "hostIPC": lambda spec: spec.update(hostIPC=True),
    "hostPath": lambda spec: spec["volumes"].append({"name": "v", "hostPath": {"path": "/"}}),
    "sysctl": lambda spec: spec["securityContext"].update(sysctls=[{"name": "kernel.msgmax", "value": "1"}]),
    "user 0": lambda spec: spec["securityContext"].update(runAsUser=0),
    "is privileged": lambda spec: container(spec)["securityContext"].update(
        privileged=True, allowPrivilegeEscalation=True
    ),
    "allowPrivilegeEscalation": lambda spec: container(spec)["securityContext"].pop(
        "allowPrivilegeEscalation"
    ),
    "capability ALL": lambda spec: container(spec)["securityContext"].pop("capabilities"),
    "adds capability NET_RAW": lambda spec: container(spec)["securityContext"]["capabilities"].update(
        add=["NET_RAW"]
    ),
    "runAsNonRoot": remove_non_root,
    "seccompProfile": remove_seccomp,
    "Unconfined": lambda spec: container(spec)["securityContext"].update(
        seccompProfile={"type": "Unconfined"}
    ),
    "procMount": lambda spec: container(spec)["securityContext"].update(procMount="Unmasked"),
    "host port": lambda spec: container(spec)["ports"][0].update(hostPort=80),
    "host in its": lambda spec: container(spec)["livenessProbe"]["httpGet"].update(host="10.0.0.1"),
    "seLinuxOptions": lambda spec: container(spec)["securityContext"].update(seLinuxOptions={"user": "x"}),
    "appArmorProfile": lambda spec: spec["securityContext"].update(appArmorProfile={"type": "Unconfined"}),
    "Windows": lambda spec: spec["securityContext"].update(windowsOptions={"hostProcess": True}),
    "container load": with_init,
}


def spec():
    (workload,) = [one for one in objects.build(deployment()) if one["kind"] == "Deployment"]
    return copy.deepcopy(restricted.pod_spec(workload))


def test_our_pods_pass():
    assert restricted.violations(spec()) == ()


@pytest.mark.parametrize("text", MUTANTS)
def test_each_rule_is_noticed_when_broken(text):
    broken = spec()
    MUTANTS[text](broken)
    assert any(text in line for line in restricted.violations(broken))


def test_added_net_bind_service_and_a_pods_own_context_are_allowed():
    fine = spec()
    container(fine)["securityContext"]["capabilities"]["add"] = ["NET_BIND_SERVICE"]
    del container(fine)["securityContext"]["runAsNonRoot"]
    assert restricted.violations(fine) == ()


def test_pods_inside_a_cronjob_are_found():
    job = {"spec": {"template": {"spec": {"hostNetwork": True}}}}
    one = {"kind": "CronJob", "metadata": {"name": "nightly"}, "spec": {"jobTemplate": job}}
    assert restricted.violations_of([one]) == ("CronJob nightly: hostNetwork is set",)
