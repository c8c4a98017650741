"""The compose file; tests/e2e/test_formats.py checks it against the schema of the compose specification."""

from pathlib import Path

import pytest
import yaml

from servegen.planning.deployment import plan
from servegen.renderers.compose import Compose
from servegen.values.deployment import ResourceSettings, Settings
from tests.kube.deployments import deployment, everything, image
from tests.kube.hazards import HAZARDS
from tests.renderers.golden import assert_golden

GOLDEN = Path(__file__).parent / "golden_files"


def service(planned):
    (one,) = yaml.safe_load(Compose().stream(planned))["services"].values()
    return one


def test_every_field_is_written_as_reviewed():
    assert_golden(GOLDEN / "compose.yaml", Compose().stream(everything()))


def test_file_and_stream_are_the_same():
    bundle = Compose().render(deployment())
    assert bundle.paths == ("compose.yaml",)
    assert bundle.text("compose.yaml") == Compose().stream(deployment())


def test_the_service_is_as_restricted_as_its_pod():
    made = service(deployment())
    assert made["image"].endswith("@sha256:" + "a" * 64)
    assert made["user"] == "10001:10001"
    assert made["read_only"] is True
    assert made["cap_drop"] == ["ALL"]
    assert made["security_opt"] == ["no-new-privileges:true"]
    assert made["stop_grace_period"] == "75s"


def test_every_port_is_open_to_this_machine_only():
    ports = service(plan(image(grpc_port="9000"), Settings()))["ports"]
    assert [(one["host_ip"], one["target"], one["published"]) for one in ports] == [
        ("127.0.0.1", 3000, "3000"),
        ("127.0.0.1", 9000, "9000"),
    ]


def test_hostile_strings_are_not_taken_for_variables():
    env = {f"HAZARD_{index}": text for index, text in enumerate((*HAZARDS, "${HOME}", "$HOME", "100$"))}
    made = service(plan(image(model_name="a: ${b}"), Settings(env=env)))
    assert {name: made["environment"][name].replace("$$", "$") for name in env} == env
    assert "$" not in "".join(made["environment"].values()).replace("$$", "")
    assert made["labels"]["servegen.dev/model-name"] == "a: $${b}"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("$(FIRST)/x", "1/x"),
        ("$$(FIRST)", "$$(FIRST)"),
        ("$(UNKNOWN)", "$$(UNKNOWN)"),
        ("a$$b", "a$$b"),
    ],
)
def test_variables_mean_what_they_mean_in_a_pod(value, found):
    made = service(deployment(env={"FIRST": "1", "SECOND": value}))
    assert made["environment"]["SECOND"] == found


def test_secrets_come_from_outside_of_the_file():
    made = service(deployment(secret_env={"API_KEY": "vault/api-key"}, env_from_secrets=("shared",)))
    assert made["environment"]["API_KEY"] == "${API_KEY:?set it to key api-key of the Secret vault}"
    assert made["env_file"] == ["shared.env"]


def test_limits_are_in_the_units_of_compose():
    limited = ResourceSettings(cpu="500m", cpu_limit="1500m", memory="1536Mi", tmp_size="100M")
    made = service(deployment(resources=limited))
    assert made["deploy"]["resources"]["limits"] == {"cpus": "1.5", "memory": "1536m"}
    assert made["tmpfs"] == ["/tmp:exec,mode=1777,size=100000000b"]
    assert "cpus" not in service(deployment())["deploy"]["resources"]["limits"]
