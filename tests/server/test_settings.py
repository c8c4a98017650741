from pathlib import Path

import pytest

from servegen.server.settings import Settings, SettingsError


def test_only_the_model_must_be_named():
    settings = Settings.from_environ({"SERVEGEN_MODEL": "/model"})
    assert settings.model == Path("/model")
    assert (settings.port, settings.runtime, settings.queue_size) == (3000, "bentoml", 256)
    assert (settings.drain_delay, settings.drain_timeout, settings.request_timeout) == (5, 25, 60)
    assert not settings.lenient
    assert settings.warmup


def test_variables_override_the_defaults():
    settings = Settings.from_environ(
        {
            "SERVEGEN_MODEL": "/model",
            "SERVEGEN_PORT": "8080",
            "SERVEGEN_LENIENT": "true",
            "SERVEGEN_WARMUP": "skip",
            "SERVING_MODEL_CONFIG": '{"k": 1}',
        }
    )
    assert settings.port == 8080
    assert settings.lenient
    assert not settings.warmup
    assert settings.model_config == {"k": 1}


def test_mlflows_timeout_counts_until_ours_is_set():
    theirs = {"SERVEGEN_MODEL": "/m", "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": "7"}
    assert Settings.from_environ(theirs).request_timeout == 7
    assert Settings.from_environ(theirs | {"SERVEGEN_REQUEST_TIMEOUT": "3"}).request_timeout == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVEGEN_PORT", "http"),
        ("SERVEGEN_QUEUE_SIZE", "0"),
        ("SERVEGEN_DRAIN_DELAY", "-1"),
        ("SERVEGEN_DRAIN_TIMEOUT", "inf"),
        ("SERVEGEN_LENIENT", "maybe"),
        ("SERVEGEN_RUNTIME", "flask"),
        ("SERVING_MODEL_CONFIG", "[1]"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(name: str, value: str):
    with pytest.raises(SettingsError, match=name):
        Settings.from_environ({"SERVEGEN_MODEL": "/m", name: value})


def test_a_missing_model_is_named():
    with pytest.raises(SettingsError, match="SERVEGEN_MODEL"):
        Settings.from_environ({})
