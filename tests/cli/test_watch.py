"""What `servegen watch` says of files that it cannot follow, before any registry is asked."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from servegen.cli import servegen
from servegen.cli.watch import _Found, _name
from servegen.config import environment
from servegen.errors import ConfigError, FleetError
from tests.recorder import Recorder

GIVEN = {"tracking_uri": "http://mlflow.example.com"}


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "servegen.yaml").write_text(text)
    return folder


def found(folder: Path, *environments: str) -> tuple[list[str], Recorder, _Found]:
    seen = Recorder()
    look = _Found(folder, environments, GIVEN, seen)
    return [one.label for one in look()], seen, look


def test_every_environment_of_every_file_is_watched_as_its_settings_are(tmp_path):
    write(
        tmp_path,
        iris="{model: 'models:/iris@live', environments: {qa: {}, production: {model: 'models:/iris@prod'}}}",
        wine='{model: "models:/wine/latest", tracking_uri: "http://other.example.com"}',
    )
    labels, seen, look = found(tmp_path)
    assert labels == ["iris (qa)", "iris (production)", "wine"]
    assert [one.uri.alias for one in look()] == ["live", "prod", None]
    # What is given for all wins, as with every option.
    assert {one.tracking_uri for one in look()} == {"http://mlflow.example.com"}
    assert [one.job.config.deploy.environment for one in look()] == ["qa", "production", None]
    assert seen.warnings == []
    assert found(tmp_path, "qa")[0] == ["iris (qa)"]
    with pytest.raises(ConfigError, match="has the environment 'quality'") as caught:
        found(tmp_path, "quality")[2].check()
    assert "production, qa" in caught.value.hint


def test_what_never_moves_is_told_and_no_mistake(tmp_path):
    write(
        tmp_path, iris='{model: "models:/iris@a", environments: {dev: {}, prod: {model: "models:/iris/3"}}}'
    )
    labels, seen, look = found(tmp_path)
    look()
    assert labels == ["iris (dev)"]
    assert (seen.warnings, look.broken) == ([], [])
    assert ["prod: models:/iris/3 never moves" in one for one in seen.steps] == [True]


def test_a_file_that_cannot_be_read_is_told_once_and_keeps_none_from_being_watched(tmp_path):
    write(tmp_path, broken="modle: models:/a@b\n", iris='model: "models:/iris@champion"\n')
    labels, seen, look = found(tmp_path)
    look()
    assert labels == ["iris"]
    assert look.broken == [str(tmp_path / "broken/servegen.yaml")]
    (warning,) = seen.warnings
    assert "unknown key 'modle'" in warning


def test_a_model_of_no_named_registry_is_a_mistake(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    write(tmp_path, iris='model: "models:/iris@champion"\n')
    seen = Recorder()
    assert _Found(tmp_path, (), {}, seen)() == []
    assert "no MLflow server is named" in seen.warnings[0]


def test_a_folder_that_takes_no_lock_is_no_obstacle(tmp_path, monkeypatch):
    write(tmp_path, iris='model: "models:/iris@champion"\n')
    assert found(tmp_path)[2]()[0].job.lock_file == tmp_path / "iris/servegen.lock"
    monkeypatch.setattr("os.access", lambda path, how: path != tmp_path / "iris")
    assert found(tmp_path)[2]()[0].job.lock_file is None


def test_names_are_folders_below_the_one_that_is_watched(tmp_path, monkeypatch):
    write(tmp_path, iris="")
    path = tmp_path / "iris/servegen.yaml"
    assert _name(path, tmp_path) == "iris"
    assert _name(path, path) == "iris"
    assert _name(path, tmp_path / "iris") == "iris"
    # Two that would have one name.
    (tmp_path / "iris/iris").mkdir()
    (tmp_path / "iris/iris/servegen.yaml").touch()
    assert _name(path, tmp_path / "iris") == "."
    assert _name(tmp_path / "iris/iris/servegen.yaml", tmp_path / "iris") == "iris"
    monkeypatch.chdir(tmp_path)
    assert _name(Path("iris/servegen.yaml"), Path()) == "iris"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--once", "--listen", "127.0.0.1:1"], 2, "--once looks once"),
        (["--once", "--interval", "5"], 2, "--once looks once"),
        (["--interval", "0"], 2, "range"),
    ],
)
def test_options_that_contradict_each_other_are_refused(tmp_path, arguments, code, text):
    done = CliRunner().invoke(servegen, ["watch", str(tmp_path), *arguments])
    assert (done.exit_code, text in done.output) == (code, True)


def test_a_target_that_is_none_is_known_at_once(tmp_path):
    write(tmp_path, iris="model: models:/iris@champion\n")
    done = CliRunner().invoke(servegen, ["watch", str(tmp_path), "--once", "--target", "moon"])
    assert "no target 'moon'" in str(done.exception)


@pytest.mark.parametrize(
    "arguments",
    [
        ["deploy", "iris:1", "--repo", "https://h/r"],
        ["deploy", "iris:1", "--target", "git", "--force-conflicts"],
        ["rollback", "iris", "--path", "apps/iris"],
    ],
)
def test_options_of_another_target_are_refused(arguments):
    done = CliRunner().invoke(servegen, arguments)
    assert (done.exit_code, "is for --target" in done.output) == (2, True)


def test_once_fails_for_a_file_that_cannot_be_read_and_a_receiver_without_a_secret(tmp_path, monkeypatch):
    monkeypatch.delenv("SERVEGEN_WEBHOOK_SECRET", raising=False)
    empty = CliRunner().invoke(servegen, ["watch", str(tmp_path), "--once"])
    assert isinstance(empty.exception, ConfigError)
    write(tmp_path, broken="x: 1\n")
    done = CliRunner().invoke(servegen, ["watch", str(tmp_path), "--once"])
    assert isinstance(done.exception, FleetError)
    assert "broken/servegen.yaml" in str(done.exception)
    unsigned = CliRunner().invoke(servegen, ["watch", str(tmp_path), "--listen", "127.0.0.1:8080"])
    assert "SERVEGEN_WEBHOOK_SECRET is not set" in str(unsigned.exception)


def test_no_program_that_is_started_gets_the_secret():
    read = environment({"SERVEGEN_WEBHOOK_SECRET": "not a real one", "HOME": "/"})
    assert read.webhook_secret == "not a real one"
    assert "SERVEGEN_WEBHOOK_SECRET" not in read.variables
    assert environment({"SERVEGEN_WEBHOOK_SECRET": "", "HOME": "/"}).webhook_secret is None
