"""The command line as a user types it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from servegen import errors


@pytest.fixture
def servegen(tmp_path):
    """Runs the command line in an empty folder, with a cache of its own."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        own = {"SERVEGEN_CACHE_DIR": str(tmp_path / "cache"), "KUBECONFIG": str(tmp_path / "absent")}
        env = {**os.environ, **own, **variables}
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, "-m", "servegen", *arguments],
            cwd=work,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )

    run.folder = tmp_path / "work"
    return run


def two_lines(done: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    """Error and hint; everything before them is progress."""
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    error, hint = done.stderr.strip().splitlines()[-2:]
    assert error.startswith("servegen: ")
    assert hint.startswith("hint: ")
    return error, hint


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["package", "foo:/x"], errors.ModelURIError.exit_code),
        (["package", "models:/iris"], errors.ModelURIError.exit_code),
        (["package", "./absent"], errors.ModelError.exit_code),
        (["package", "models:/iris/1"], errors.ModelStoreError.exit_code),
        (["package"], errors.ConfigError.exit_code),
        (["package", "x", "-o", "image.zip"], errors.ConfigError.exit_code),
        (["package", "x", "-o", "absent/image.tar"], errors.ConfigError.exit_code),
        (["deploy", "iris:1"], errors.ClusterUnreachableError.exit_code),
        (["render", "UPPER/case"], errors.ConfigError.exit_code),
        (["render", "127.0.0.1:9/iris:1"], errors.RegistryError.exit_code),
        (["inspect", "iris:1"], errors.ImageNotFoundError.exit_code),
        (["package", "-f", "absent.yaml"], errors.ConfigError.exit_code),
    ],
)
def test_bad_input_gives_one_error_one_hint_and_the_stages_exit_code(servegen, arguments, code):
    done = servegen(*arguments)
    two_lines(done)
    assert done.returncode == code


def test_every_error_class_has_an_exit_code_of_its_own():
    classes = [
        c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.ServegenError)
    ]
    codes = [c.exit_code for c in classes]
    assert len(set(codes)) == len(codes)
    assert not {0, 2} & set(codes)


def test_a_wrong_option_is_a_usage_error(servegen):
    assert servegen("package", "--no-such-option").returncode == 2


def test_a_traceback_is_shown_on_request(servegen):
    done = servegen("package", "foo:/x", "-v")
    assert "Traceback" in done.stderr


def test_a_model_without_signature_is_refused_with_the_way_to_log_one(servegen, model_folder):
    text = (model_folder / "MLmodel").read_text()
    (model_folder / "MLmodel").write_text(text[: text.index("signature:")])
    done = servegen("package", str(model_folder))
    _, hint = two_lines(done)
    assert done.returncode == errors.SignatureError.exit_code
    assert "infer_signature" in hint


def test_inspect_prints_json_that_names_the_pin(servegen, model_folder):
    done = servegen("inspect", str(model_folder), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["requirements"] == [
        "mlflow==3.17.2",
        "scikit-learn==1.9.1",
        "pandas==3.1.1",
    ]


def test_an_unreadable_servegen_yaml_names_line_and_key(servegen):
    servegen()
    (servegen.folder / "servegen.yaml").write_text(
        "model: models:/iris@champion\ndeploy:\n  autoscalling: {}\n"
    )
    error, hint = two_lines(servegen("package"))
    assert "servegen.yaml:3: unknown key 'deploy.autoscalling'" in error
    assert "'autoscaling'" in hint


def test_an_unreachable_tracking_server_is_said_within_seconds(servegen):
    done = servegen(
        "package",
        "models:/iris/1",
        "--tracking-uri",
        "http://127.0.0.1:9",
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
    )
    error, _ = two_lines(done)
    assert "does not answer" in error
    assert done.returncode == errors.ModelStoreError.exit_code


def test_nothing_is_left_beside_the_cache_after_a_failure(servegen):
    servegen("package", "./absent")
    servegen("package", "models:/iris/1")
    assert list(Path(servegen.folder).iterdir()) == []
