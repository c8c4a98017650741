import json

import yaml

from servegen.planning.bento import plan
from servegen.values.deployment import ResourceSettings, Settings
from servegen.values.serving import ServingSettings


def test_settings_of_servegen_yaml_are_those_of_the_bento(model):
    bundle = plan(
        model,
        ["mlflow-skinny==3.1", "bentoml"],
        ServingSettings(batch_max_rows=8),
        Settings(
            request_timeout_seconds=7, queue_size=3, resources=ResourceSettings(cpu="1500m", memory="2Gi")
        ),
    )
    said = json.loads(bundle.text("settings.json"))
    assert said["resources"] == {"cpu": "1500m", "memory": "2Gi"}
    assert said["variables"]["SERVEGEN_REQUEST_TIMEOUT"] == "7"
    assert said["variables"]["SERVEGEN_QUEUE_SIZE"] == "3"
    assert said["variables"]["SERVEGEN_BATCH_MAX_ROWS"] == "8"
    assert said["variables"]["SERVEGEN_MODEL_NAME"] == model.pin.name
    assert said["variables"]["SERVEGEN_MODEL_VERSION"] == model.pin.version


def test_bentoml_finds_the_service_and_the_requirements(model):
    bundle = plan(model, ["mlflow-skinny==3.1", "bentoml"], ServingSettings(), Settings())
    bentofile = yaml.safe_load(bundle.text("bentofile.yaml"))
    module, _, name = bentofile["service"].partition(":")
    assert f"{name} = " in bundle.text(f"{module}.py")
    assert bentofile["python"]["packages"] == ["mlflow-skinny==3.1", "bentoml"]
    assert {"service.py", "settings.json"} <= set(bentofile["include"])
