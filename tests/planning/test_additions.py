import pytest

from servegen.errors import RenderError
from servegen.kube import objects
from servegen.values.additions import ConfigSettings, GpuSettings
from servegen.values.deployment import ResourceSettings
from tests.kube.deployments import deployment

REFERENCE = "registry.example.com/ml/weights@sha256:" + "c" * 64
SIDE = {"name": "side", "image": "x"}


def made(**settings):
    return {one["kind"]: one for one in objects.build(deployment(**settings))}


def pod(**settings):
    return made(**settings)["Deployment"]["spec"]["template"]["spec"]


def server(**settings):
    return pod(**settings)["containers"][0]


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"config": ConfigSettings(files={"a/b": "x"})}, "config.files.a/b"),
        ({"config": ConfigSettings(files={"a": "password=hunter22"})}, "config.files.a"),
        ({"config": ConfigSettings(files={"a": "x" * 2**20})}, "config.files"),
        ({"config": ConfigSettings(path="etc")}, "config.path"),
        ({"config": ConfigSettings(files={"..a": "x"})}, "config.files...a"),
        ({"config": ConfigSettings(files={"a": "x"}, path="/tmp/")}, "config.path"),
        ({"gpu": GpuSettings(count=-1)}, "gpu.count"),
        ({"gpu": GpuSettings(count=1, resource="cpu")}, "gpu.resource"),
        ({"gpu": GpuSettings(count=1, resource="a b")}, "gpu.resource"),
        ({"gpu": GpuSettings(count=1, products=("a b",))}, "gpu.products"),
        ({"gpu": GpuSettings(count=1, products=("a",)), "affinity": {"nodeAffinity": {}}}, "gpu.products"),
        ({"model_volume": "registry.example.com/weights:1"}, "model_volume"),
        ({"model_volume": REFERENCE, "kube_version": "1.34"}, "model_volume"),
        ({"resources": ResourceSettings(shm_size="2Gi")}, "resources.shm_size"),
        ({"field_env": {"A": "spec.containers"}}, "field_env.A"),
        ({"field_env": {"A": "status.podIP"}, "env": {"A": "1"}}, "field_env.A"),
        ({"env_from": ({"name": "x"},)}, "env_from[0]"),
        ({"env_from": ({"configMapRef": {}},)}, "env_from[0]"),
        ({"env_from": ({"configMapRef": "shared"},)}, "env_from[0]"),
        ({"volumes": ({"name": "", "emptyDir": {}},)}, "volumes[0]"),
        ({"volumes": ({"name": "-x", "emptyDir": {}},)}, "volumes[0]"),
        ({"volume_mounts": ({"name": "x", "mountPath": "/tmp/"},)}, "volume_mounts[0]"),
        ({"sidecars": ({"name": "side", "image": " "},)}, "sidecars[0]"),
        ({"volumes": ({"name": "tmp", "emptyDir": {}},)}, "volumes[0]"),
        ({"volumes": ({"emptyDir": {}},)}, "volumes[0]"),
        ({"volume_mounts": ({"name": "x", "mountPath": "/x"},)}, "volume_mounts[0]"),
        ({"volume_mounts": ({"name": "x", "mountPath": "/tmp"},)}, "volume_mounts[0]"),
        ({"volume_mounts": ({"name": "x"},)}, "volume_mounts[0]"),
        ({"sidecars": ({"name": "server", "image": "x"},)}, "sidecars[0]"),
        ({"sidecars": (SIDE,), "init_containers": (SIDE,)}, "sidecars[0]"),
        ({"sidecars": ({"name": "side"},)}, "sidecars[0]"),
        ({"sidecars": (SIDE | {"env": [{"name": "API_KEY", "value": "hunter22"}]},)}, "sidecars[0]"),
        ({"patches": ({"spec": {"env": [{"name": "DB_PASSWORD", "value": "hunter22"}]}},)}, "patches[0]"),
    ],
)
def test_what_cannot_work_is_named_by_its_setting(settings, setting):
    with pytest.raises(RenderError) as caught:
        deployment(**settings)
    assert str(caught.value).startswith(f"deploy.{setting}: ")
    assert caught.value.hint


def test_what_restricted_forbids_in_a_sidecar_is_named_with_what_to_change():
    with pytest.raises(RenderError, match="container side is privileged") as caught:
        made(sidecars=(SIDE | {"securityContext": {"privileged": True}},))
    assert "sidecars" in caught.value.hint
    with pytest.raises(RenderError, match="volume host is a hostPath"):
        made(volumes=({"name": "host", "hostPath": {"path": "/"}},))


def test_containers_that_bring_no_security_context_get_the_servers():
    (side,) = pod(sidecars=(SIDE,))["initContainers"]
    assert side["securityContext"] == server()["securityContext"]


@pytest.mark.parametrize(("version", "native"), [("1.32", False), ("1.33", True)])
def test_sidecars_start_before_the_server_where_kubernetes_has_them(version, native):
    found = pod(kube_version=version, sidecars=(SIDE,), init_containers=({"name": "first", "image": "y"},))
    before = [(one["name"], one.get("restartPolicy")) for one in found["initContainers"]]
    beside = [one["name"] for one in found["containers"]]
    assert before == [("first", None), ("side", "Always")][: 2 if native else 1]
    assert beside == ["server", "side"][: 1 if native else 2]


def test_files_of_the_user_are_mounted_and_roll_the_pods_when_they_change():
    def annotation(text):
        found = made(config=ConfigSettings(files={"a": text}))
        assert found["ConfigMap"]["data"] == {"a": text}
        return found["Deployment"]["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    assert annotation("x") == annotation("x") != annotation("y")
    assert "ConfigMap" not in made()
    mount = server(config=ConfigSettings(files={"a": "x"}, path="/etc/iris"))["volumeMounts"][1]
    assert mount == {"name": "config", "mountPath": "/etc/iris", "readOnly": True}


def test_a_gpu_brings_its_toleration_its_nodes_and_a_rollout_that_needs_no_spare_one():
    found = made(gpu=GpuSettings(count=2, products=("L4",)))["Deployment"]["spec"]
    spec = found["template"]["spec"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert "nvidia.com/gpu" not in spec["containers"][0]["resources"]["requests"]
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert "L4" in str(spec["affinity"]["nodeAffinity"])
    assert found["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert found["minReadySeconds"] == 10
    chosen = made(gpu=GpuSettings(count=1), surge=True)["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    assert chosen["maxUnavailable"] == 0


def test_the_server_serves_the_model_of_a_model_volume():
    found = pod(model_volume=REFERENCE)
    assert {"name": "model", "image": {"reference": REFERENCE, "pullPolicy": "IfNotPresent"}} in found[
        "volumes"
    ]
    container = found["containers"][0]
    assert {"name": "model", "mountPath": "/models", "readOnly": True} in container["volumeMounts"]
    assert {"name": "SERVEGEN_MODEL", "value": "/models"} in container["env"]
    assert "SERVEGEN_MODEL" not in [one["name"] for one in server()["env"]]


def test_shared_memory_has_the_size_that_is_asked_for():
    found = pod(resources=ResourceSettings(shm_size="512Mi"))
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "512Mi"}} in found["volumes"]


def test_without_additions_nothing_is_added():
    assert set(pod()) & {"initContainers", "affinity", "tolerations"} == set()
