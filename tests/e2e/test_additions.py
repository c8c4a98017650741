"""What users add to the pod, on a real server: admitted as a whole, and running where the node can."""

from __future__ import annotations

from dataclasses import replace

import pytest

from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.planning.deployment import plan
from servegen.progress import Silent
from servegen.targets import target
from servegen.values.additions import ConfigSettings
from servegen.values.deployment import AutoscalingSettings, ResourceSettings, Settings
from servegen.values.image import Image
from tests.kube.deployments import ADDED

pytest_plugins = ("tests.e2e.kubernetes",)
pytestmark = pytest.mark.e2e


def test_a_server_takes_all_that_users_can_add(stub_image: Image, options: ClusterOptions) -> None:
    settings = replace(ADDED, namespace=options.namespace, kube_version="1.37")
    difference = target("k8s")(options=options).diff(plan(stub_image, settings))
    assert "image: registry.example.com/proxy:1" in difference
    assert "reference: registry.example.com/ml/weights@sha256:" in difference


def test_sidecar_files_model_volume_and_patches_reach_the_running_pod(
    stub_image: Image, options: ClusterOptions
) -> None:
    settings = Settings(
        autoscaling=AutoscalingSettings(enabled=False),
        replicas=1,
        min_ready_seconds=0,
        pre_stop_seconds=0,
        drain_delay_seconds=0,
        request_timeout_seconds=1,
        resources=ResourceSettings(cpu="50m", memory="64Mi", shm_size="16Mi", ephemeral_storage="16Mi"),
        config=ConfigSettings(files={"note": "8e1 <&>\n"}),
        # Any image will do to see that its files arrive.
        model_volume=stub_image.ref.pinned,
        field_env={"POD_IP": "status.podIP"},
        sidecars=(
            {
                "name": "beside",
                "image": stub_image.ref.pinned,
                "command": ["sh", "-c", "touch /shared/seen; exec sleep 600"],
                "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
            },
        ),
        init_containers=(
            {
                "name": "first",
                "image": stub_image.ref.pinned,
                "command": [
                    "sh",
                    "-c",
                    "read note < /etc/note/note; test \"$note\" = '8e1 <&>' -a -x /models/srv/start",
                ],
                "volumeMounts": [
                    {"name": "config", "mountPath": "/etc/note"},
                    {"name": "model", "mountPath": "/models"},
                ],
            },
        ),
        volumes=({"name": "shared", "emptyDir": {"sizeLimit": "1Mi"}},),
        volume_mounts=({"name": "shared", "mountPath": "/shared", "readOnly": True},),
        patches=(
            {
                "kind": "Deployment",
                "spec": {
                    "template": {
                        "spec": {
                            "containers": [{"name": "server", "env": [{"name": "LEVEL", "value": "8e1"}]}]
                        }
                    }
                },
            },
        ),
    )
    place = target("k8s")(options=options)
    place.deliver(plan(stub_image, settings), progress=Silent())
    cluster = Cluster.connect(options)
    (pod,) = cluster.list("v1", "Pod")["items"]
    assert all(one["ready"] for one in pod["status"]["containerStatuses"])
    assert {one["name"] for one in pod["status"]["initContainerStatuses"]} == {"first", "beside"}
    assert {"name": "LEVEL", "value": "8e1"} in pod["spec"]["containers"][0]["env"]
    found = cluster.get("v1", "ConfigMap", pod["metadata"]["labels"]["app.kubernetes.io/instance"])
    assert found is not None
    assert found["data"] == {"note": "8e1 <&>\n"}
    assert place.diff(plan(stub_image, settings)) == ""
