"""The command line as a user types it."""

import errno
import json
import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from servegen import cli, errors


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
    "arguments",
    [("delete", ""), ("render", "x", "-n", ""), ("deploy", "--gateway=", "x"), ("validate", "", "--server")],
)
def test_an_empty_text_is_a_variable_that_is_not_set(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.servegen, arguments)
    assert done.exit_code == 2
    assert "is the variable set" in done.stderr


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
        (["validate", "absent.yaml"], errors.RenderError.exit_code),
        (["validate", "-", "--kube-version", "1.2"], errors.RenderError.exit_code),
        (["deploy", "iris:1"], errors.ClusterUnreachableError.exit_code),
        (["render", "UPPER/case"], errors.ConfigError.exit_code),
        (["render", "127.0.0.1:9/iris:1"], errors.RegistryError.exit_code),
        (["inspect", "iris:1"], errors.ImageNotFoundError.exit_code),
        (["package", "-f", "absent.yaml"], errors.ConfigError.exit_code),
        (["render", "."], errors.ConfigError.exit_code),
        (["deploy", "."], errors.ConfigError.exit_code),
        (["package", "x", "-o", "oci:"], errors.ConfigError.exit_code),
        (["package", "x", "--push"], errors.ConfigError.exit_code),
        (["package", "x", "--tag", "iris:1", "--push"], errors.ConfigError.exit_code),
        (["package", "x", "--tag", "Iris:1"], errors.ConfigError.exit_code),
        (["package", "x", "--python", "abc"], errors.ConfigError.exit_code),
        (["package", "x", "--python", "3"], errors.ConfigError.exit_code),
        (["package", "x", "--platform", "linux/vax"], errors.ConfigError.exit_code),
        (["package", "x", "--platform", "linux/amd64,linux/vax"], errors.ConfigError.exit_code),
        (["package", "x", "--apt", "Lib GL"], errors.ConfigError.exit_code),
        (["package", "x", "--apt", "libgl1", "--base", "h.example/base:1"], errors.ConfigError.exit_code),
        (["package", "x", "--debian-mirror", "mirror"], errors.ConfigError.exit_code),
        (["rebase", "x:1"], errors.ImageNotFoundError.exit_code),
        (["rebase", f"h.example/x@sha256:{'a' * 64}"], errors.ConfigError.exit_code),
        (["package", "x", "--exclude-newer", "yesterday"], errors.ConfigError.exit_code),
        (["package", "x", "--exclude-newer", "2026-13-01"], errors.ConfigError.exit_code),
        (["package", "x", "--index-url", "index.example/simple"], errors.ConfigError.exit_code),
        (["package", "x", "--extra-index-url", "http://me:sec/ret@h/s"], errors.ConfigError.exit_code),
        (["serve", "x", "--runtime", "apache"], errors.ConfigError.exit_code),
        (["package", "x", "--tag", "h.example:99999/x:1", "--push"], errors.ConfigError.exit_code),
        (["package", "x", "--tag", "h.example:0/x:1", "--push"], errors.ConfigError.exit_code),
        (["package", "x", "--compression", "none"], errors.ConfigError.exit_code),
        (["package", "x", "--builder", "magic"], errors.ConfigError.exit_code),
        (["package", "x", "--verify-with", "magic"], errors.ConfigError.exit_code),
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


@pytest.mark.parametrize("options", [["-v"], ["-qv"], ["--verbose"]])
def test_a_traceback_on_request_changes_neither_exit_code_nor_last_lines(servegen, options):
    done = servegen("package", "foo:/x", *options)
    assert done.returncode == errors.ModelURIError.exit_code
    assert done.stderr.startswith("Traceback")
    assert done.stderr.strip().splitlines()[-2].startswith("servegen: 'foo:/x'")


def test_a_value_that_looks_like_the_option_asks_for_no_traceback(servegen):
    assert "Traceback" not in servegen("serve", "foo:/x", "--name", "-v").stderr


@pytest.mark.parametrize("port", ["0", "65536", "-1", "99999999"])
def test_a_port_that_cannot_be_is_a_usage_error(servegen, port):
    assert servegen("run", "iris:1", "--port", port).returncode == 2
    assert servegen("serve", "x", "--port", port).returncode == 2
    assert servegen("verify", "iris:1", "--verify-timeout", "-5").returncode == 2


@pytest.mark.parametrize("command", [["run", "iris:1"], ["serve", "models:/iris/1"]])
def test_a_taken_port_is_said_before_anything_is_fetched(servegen, command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = servegen(*command, "--port", str(port))
    error, hint = two_lines(done)
    assert f"port {port} of 127.0.0.1 cannot be used" in error
    assert "--port" in hint
    assert done.returncode == errors.ConfigError.exit_code


def test_the_status_that_a_command_ends_with_is_the_programs(monkeypatch):
    @click.command()
    def ends():
        raise click.exceptions.Exit(7)

    monkeypatch.setattr(cli.servegen, "get_command", lambda *_: ends)
    monkeypatch.setattr(sys, "argv", ["servegen", "ends"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 7


def closed(servegen, model_folder, redirection) -> subprocess.CompletedProcess[str]:
    """`servegen inspect`, started by a shell with this redirection."""
    line = f'exec "$0" -m servegen inspect "$1" --json {redirection}'
    env = {**os.environ, "SERVEGEN_CACHE_DIR": str(servegen.folder.parent / "cache")}
    argv = ["/bin/sh", "-c", line, sys.executable, str(model_folder)]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)


def test_a_closed_standard_output_is_no_success(servegen, model_folder):
    done = closed(servegen, model_folder, ">&-")
    error, hint = two_lines(done)
    assert "standard output is closed" in error
    assert ">FILE" in hint
    assert done.returncode == 1


@pytest.mark.parametrize("redirection", ["2>&-", "<&-", "<&- 2>&-"])
def test_other_closed_streams_change_nothing_of_the_result(servegen, model_folder, redirection):
    done = closed(servegen, model_folder, redirection)
    assert done.returncode == 0
    assert json.loads(done.stdout)["python"] == "3.11.7"


def test_an_error_does_not_go_to_standard_output_when_standard_error_is_closed(servegen, model_folder):
    done = closed(servegen, model_folder / "absent", "2>&-")
    assert done.returncode == errors.ModelError.exit_code
    assert done.stdout == ""


def test_a_reader_that_leaves_ends_the_command_as_a_broken_pipe_does(servegen, model_folder):
    read, write = os.pipe()
    os.close(read)
    env = {**os.environ, "SERVEGEN_CACHE_DIR": str(servegen.folder.parent / "cache")}
    argv = [sys.executable, "-m", "servegen", "inspect", str(model_folder), "-q"]
    done = subprocess.run(argv, env=env, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_lost_connection_is_not_taken_for_a_reader_that_left(monkeypatch, capfd):
    @click.command()
    def sends():
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(cli.servegen, "get_command", lambda *_: sends)
    monkeypatch.setattr(sys, "argv", ["servegen", "sends"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert "a connection was closed" in capfd.readouterr().err


def test_a_full_disk_has_its_own_exit_code(servegen, model_folder):
    done = closed(servegen, model_folder, ">/dev/full")
    error, hint = two_lines(done)
    assert "the disk is full" in error
    assert "SERVEGEN_CACHE_DIR" in hint
    assert done.returncode == errors.DiskFullError.exit_code


def test_a_full_disk_is_seen_behind_the_error_of_a_stage(monkeypatch, capfd):
    @click.command()
    def builds():
        msg = "a layer cannot be written"
        raise errors.BuildError(msg, hint="none") from OSError(errno.ENOSPC, "No space left", "/cache/blob")

    monkeypatch.setattr(cli.servegen, "get_command", lambda *_: builds)
    monkeypatch.setattr(sys, "argv", ["servegen", "builds"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == errors.DiskFullError.exit_code
    assert "the disk is full for /cache/blob" in capfd.readouterr().err


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_cache_that_cannot_be_a_folder_is_said(servegen, model_folder, tmp_path, where):
    (tmp_path / "file").write_text("")
    done = servegen("inspect", str(model_folder), SERVEGEN_CACHE_DIR=str(tmp_path / where))
    error, hint = two_lines(done)
    assert f"the cache folder {tmp_path / where}" in error
    assert "SERVEGEN_CACHE_DIR" in hint
    assert done.returncode == errors.ConfigError.exit_code


@pytest.mark.parametrize("arguments", [["-v"], []])
def test_the_login_of_an_index_is_shown_nowhere(servegen, model_folder, arguments):
    url = "http://me:hunter2@127.0.0.1:9/simple"
    done = servegen("lock", str(model_folder), "--index-url", url, *arguments)
    assert done.returncode == errors.LockError.exit_code
    assert "http://127.0.0.1:9 does not answer" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_the_login_of_a_mistyped_line_is_not_repeated(servegen):
    done = servegen("inspect", "models:/iris/1", "http://me:hunter2@127.0.0.1:9")
    assert done.returncode == 2
    assert "hunter2" not in done.stderr


def test_requirements_that_exclude_each_other_are_both_named(servegen, model_folder, tmp_path):
    (tmp_path / "wheels").mkdir()
    wheel(tmp_path / "wheels", "scikit_learn", "1.9.1")
    added = ["--add-requirement", "scikit-learn<1.9", "--wheelhouse", str(tmp_path / "wheels")]
    error, hint = two_lines(servegen("lock", str(model_folder), *added))
    assert "scikit-learn==1.9.1" in error
    assert "scikit-learn<1.9" in error
    assert "--add-requirement" in hint


def wheel(folder: Path, name: str, version: str) -> None:
    """A wheel with nothing in it."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")


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


@pytest.mark.parametrize("text", ["pytorch", "=torch", "pytorch="])
def test_a_translation_of_a_conda_package_that_is_none_is_refused(servegen, text):
    done = servegen("lock", "./model", "--conda-map", text)
    assert done.returncode == errors.ConfigError.exit_code
    assert two_lines(done) == (
        f"servegen: --conda-map cannot be {text!r}",
        "hint: --conda-map pytorch=torch",
    )
