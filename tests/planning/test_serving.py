import pytest

from servegen.errors import ConfigError
from servegen.planning.serving import variables
from servegen.server.settings import METRICS_COMPAT, Settings
from servegen.values.serving import ServingSettings

EVERYTHING = ServingSettings(
    max_body_bytes=2**30,
    batch_max_rows=1,
    batch_max_wait_ms=0.5,
    processes=2,
    threads=3,
    grpc_port=9000,
    lenient=True,
    debug_errors=True,
    warmup=False,
    metrics_compat=("kserve",),
)


def test_defaults_are_the_servers_own():
    assert variables(ServingSettings()) == ()


def test_the_server_understands_every_setting():
    read = Settings.from_environ({"SERVEGEN_MODEL": "m", **dict(variables(EVERYTHING))})
    assert read.max_body_bytes == 2**30
    assert read.batch_max_rows == 1
    assert read.batch_max_wait == 0.0005
    assert (read.processes, read.threads) == (2, 3)
    assert read.grpc_port == 9000
    assert read.lenient
    assert read.debug_errors
    assert not read.warmup
    assert read.metrics_compat == ("kserve",)


def test_no_other_metric_names_are_a_choice_too():
    found = dict(variables(ServingSettings(metrics_compat=())))
    assert Settings.from_environ({"SERVEGEN_MODEL": "m", **found}).metrics_compat == ()
    assert dict(variables(ServingSettings(metrics_compat=METRICS_COMPAT)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ServingSettings(batch_max_rows=0), "serving.batch_max_rows is 0"),
        (ServingSettings(grpc_port=80), "serving.grpc_port is 80"),
        (ServingSettings(grpc_port=3000), "serving.grpc_port is 3000"),
        (ServingSettings(batch_max_wait_ms=-1.0), "serving.batch_max_wait_ms is -1.0"),
        (ServingSettings(metrics_compat=("seldon",)), "serving.metrics_compat names 'seldon'"),
    ],
)
def test_what_the_server_would_refuse_is_refused_here(settings, message):
    with pytest.raises(ConfigError, match=message):
        variables(settings)
