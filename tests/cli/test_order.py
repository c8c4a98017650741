"""What is cheap to know is known before anything is fetched, built or pushed."""

import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from servegen import errors
from tests.kube import fake_api

ABSENT = "./absent"
"""A model that would be the error, if it were looked at."""


@pytest.fixture
def start(tmp_path):
    """Starts the command line in an empty folder, with a cache of its own."""
    work = tmp_path / "work"
    work.mkdir()

    def run(*arguments: str, **variables: str) -> "subprocess.Popen[str]":
        own = {"SERVEGEN_CACHE_DIR": str(tmp_path / "cache"), "KUBECONFIG": str(tmp_path / "kubeconfig")}
        argv = [sys.executable, "-m", "servegen", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            argv, cwd=work, env={**os.environ, **own, **variables}, stdout=pipe, stderr=pipe, text=True
        )

    run.folder = work
    return run


def ended(process):
    """Exit code and the last two lines; standard output must be empty."""
    out, err = process.communicate(timeout=60)
    assert out == ""
    assert "Traceback" not in err
    error, hint = err.strip().splitlines()[-2:]
    assert error.startswith("servegen: ")
    assert hint.startswith("hint: ")
    return process.returncode, error, hint


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["-o", "iris.tgz"], 2, "add --format helm"),
        (["--format", "kustomize", "--push", "oci://r.example.com/charts"], 2, "add --format helm"),
        (["--format", "helm", "--push", "r.example.com/charts"], 10, "is no place in a registry"),
        (["--format", "helm", "-o", "a.tgz", "--chart-version", "1"], 10, "is no version of a chart"),
    ],
)
def test_options_of_charts_are_checked_before_the_model_is_looked_at(start, arguments, code, words):
    process = start("render", ABSENT, *arguments)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert words in err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--repo", "https://git.example.com/a/b"], 2, "--gitops argo or flux"),
        (["--gitops", "flux", "--format", "helm", "-o", "iris.tgz"], 2, "not for FILE.tgz"),
        (["--gitops", "spinnaker", "--repo", "https://git.example.com/a/b"], 10, "argo, flux"),
        (["--gitops", "argo", "--repo", "https://git.example.com/a/b"], 10, "--project NAME"),
        (["--gitops", "flux", "--format", "kserve", "--repo", "https://git.example.com/a/b"], 10, "kserve"),
        (["--gitops", "flux", "--repo", "https://me:s3cret@git.example.com/a/b"], 10, "has a login"),
    ],
)
def test_what_no_controller_could_read_is_known_before_the_model_is_looked_at(start, arguments, code, words):
    process = start("render", ABSENT, *arguments)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert words in err
    assert "s3cret" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "nope"], "no format 'nope'"),
        (["--format", "helm"], "cannot be written to standard output"),
        (["--format", "kustomize"], "cannot be written to standard output"),
        (["--format", "helm", "-o", "file/iris.tgz"], "is a file"),
        (["-o", "file"], "is a file"),
        (["--name", "Not A Name"], "cannot name Kubernetes objects"),
    ],
)
def test_what_cannot_be_rendered_is_known_before_the_model_is_looked_at(start, arguments, words):
    (start.folder / "file").write_text("")
    code, error, _ = ended(start("render", ABSENT, *arguments))
    assert code == errors.RenderError.exit_code
    assert words in error


def test_a_missing_namespace_is_known_before_the_model_is_looked_at(start, tmp_path):
    with fake_api.running(tmp_path):
        code, error, hint = ended(start("deploy", ABSENT, "--tag", "127.0.0.1:9/x", "-n", "models"))
    assert code == errors.NamespaceError.exit_code
    assert "namespace models does not exist" in error
    assert "kubectl create namespace models" in hint


def test_settings_that_cannot_be_are_known_before_the_model_is_looked_at(start, tmp_path):
    (start.folder / "servegen.yaml").write_text("deploy: {autoscaling: {min_replicas: 99}}\n")
    with fake_api.running(tmp_path):
        code, error, _ = ended(start("deploy", ABSENT, "--tag", "127.0.0.1:9/x"))
    assert code == errors.RenderError.exit_code
    assert "min_replicas 99" in error


def test_a_folder_is_no_target(start):
    code, error, hint = ended(start("deploy", "iris:1", "--target", "directory"))
    assert code == errors.DeployError.exit_code
    assert "no target 'directory'" in error
    assert hint == "hint: use one of: git, k8s"


@pytest.mark.parametrize("seconds", ["0", "-5"])
def test_a_wait_of_no_length_is_a_usage_error(start, seconds):
    process = start("deploy", "iris:1", "--timeout", seconds)
    process.communicate(timeout=60)
    assert process.returncode == 2


def test_a_text_too_long_for_a_path_is_an_image_that_does_not_exist(start):
    code, error, _ = ended(start("render", "a" * 300))
    assert code == errors.ImageNotFoundError.exit_code
    assert "not in the local store" in error


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_command_with_two_lines_and_its_own_status(start, number, status):
    with socket.create_server(("127.0.0.1", 0)) as server:
        reached = threading.Event()

        def accept():
            connection, _ = server.accept()
            reached.set()
            connection.recv(1)
            held.append(connection)

        held = []
        thread = threading.Thread(target=accept)
        thread.start()
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        process = start("package", "models:/iris/1", "--tracking-uri", uri)
        assert reached.wait(60)
        process.send_signal(number)
        code, error, hint = ended(process)
        thread.join()
        for connection in held:
            connection.close()
    assert code == status
    assert error == "servegen: interrupted"
    assert "nothing was left half-written" in hint


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_what_only_ctrl_c_ends_says_so_in_one_line(start, tmp_path, number, status):
    with fake_api.running(tmp_path):
        process = start("status", "--watch", "--json")
        assert process.stdout is not None
        assert process.stdout.readline() == "[]\n"
        # The second look is within the part that Ctrl-C is meant for.
        assert process.stdout.readline() == "[]\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (status, "servegen: no longer watching\n")
