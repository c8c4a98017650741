"""What users add to the pod, in the formats that have another form for pods."""

from dataclasses import replace

import pytest

from servegen.errors import RenderError
from servegen.renderers.compose import project
from servegen.renderers.kserve import CONTAINER, build
from servegen.values.additions import ConfigSettings, GpuSettings
from servegen.values.deployment import ResourceSettings
from tests.kube.deployments import ADDED, deployment


def test_kserve_gets_the_patched_pod():
    patch = {"kind": "Deployment", "spec": {"template": {"spec": {"dnsPolicy": "Default"}}}}
    made = {one["kind"]: one for one in build(deployment(patches=(patch,), sidecars=ADDED.sidecars))}
    predictor = made["InferenceService"]["spec"]["predictor"]
    assert predictor["dnsPolicy"] == "Default"
    assert predictor["initContainers"][0]["name"] == "proxy"
    assert predictor["containers"][0]["name"] == CONTAINER


def test_kserve_takes_a_pod_without_what_patches_take_away():
    server = {"name": "server", "env": None}
    spec = {"topologySpreadConstraints": None, "containers": [server]}
    build(deployment(patches=({"kind": "Deployment", "spec": {"template": {"spec": spec}}},)))


@pytest.mark.parametrize(
    "patch",
    [{"kind": "Service", "spec": {"type": "NodePort"}}, {"kind": "Deployment", "spec": {"paused": True}}],
)
def test_what_kserve_makes_itself_cannot_be_patched(patch):
    with pytest.raises(RenderError, match=r"deploy.patches\[0\]: KServe makes the"):
        build(deployment(patches=(patch,)))


def test_compose_has_files_devices_and_shared_memory():
    made = project(
        deployment(
            config=ConfigSettings(files={"note": "costs $5"}),
            gpu=GpuSettings(count=2),
            resources=ResourceSettings(shm_size="512Mi"),
        )
    )
    (service,) = made["services"].values()
    assert made["configs"] == {"note": {"content": "costs $$5"}}
    assert service["configs"] == [{"source": "note", "target": "/etc/model/note"}]
    assert service["shm_size"] == "512m"
    devices = service["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": 2, "capabilities": ["gpu"]}]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"field_env": ADDED.field_env}, "field_env"),
        ({"env_from": ADDED.env_from}, "env_from"),
        ({"sidecars": ADDED.sidecars}, "sidecars"),
        ({"volumes": ADDED.volumes}, "volumes"),
        ({"model_volume": ADDED.model_volume}, "model_volume"),
        ({"gpu": replace(ADDED.gpu, resource="amd.com/gpu")}, "gpu.resource"),
    ],
)
def test_what_compose_has_no_form_for_is_refused(settings, name):
    with pytest.raises(RenderError, match=f"deploy.{name} has no form in a compose file") as caught:
        project(deployment(**settings))
    assert "--env" in caught.value.hint
