"""What a program in an image can reach when it is verified; needs root and Debian's static busybox."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from servegen.verify.rootfs import ENTER

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root folder with a shell and nothing else."""
    folder = tmp_path_factory.mktemp("root")
    for part in (*folder.parents, folder):
        if part.is_relative_to("/tmp") and part != Path("/tmp"):
            part.chmod(0o755)
    (folder / "bin").mkdir()
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(0o1777)
    (folder / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (folder / "bin/busybox").chmod(0o755)
    for applet in ("sh", "id", "touch", "ip", "wget", "sleep", "cat"):
        (folder / "bin" / applet).symlink_to("busybox")
    return folder


def enter(root: Path, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-I", str(ENTER), "--root", str(root), *options, "--", "/bin/sh", "-c", script]
    env = {"PATH": "/bin", "VISIBLE": "yes"}
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.parametrize("means", ["namespace", "chroot"])
def test_the_program_has_the_images_user_files_and_environment(root, means):
    done = enter(root, "id -u; echo $VISIBLE; test -e /etc/passwd || echo no host; exit 7", "--means", means)
    assert done.stdout.split("\n")[:3] == ["10001", "yes", "no host"]
    assert done.returncode == 7


def test_only_tmp_can_be_written(root):
    script = "touch /x 2>&1; touch /bin/x 2>&1; touch /tmp/x && echo written"
    done = enter(root, script, "--means", "namespace")
    assert done.stdout.count("Read-only file system") == 2
    assert "written" in done.stdout
    assert not (root / "tmp/x").exists()


def test_there_is_no_way_to_the_network_but_loopback(root):
    done = enter(root, "ip addr", "--means", "namespace")
    assert "127.0.0.1" in done.stdout
    assert done.stdout.count("mtu") == 1


def test_the_hosts_processes_are_not_to_be_seen(root):
    done = enter(root, "cat /proc/1/cmdline; echo; echo $$", "--means", "namespace")
    assert done.stdout.rstrip().endswith("\n1")


def test_a_stop_signal_reaches_the_program(root):
    argv = [
        sys.executable,
        "-I",
        str(ENTER),
        "--root",
        str(root),
        "--means",
        "namespace",
        "--",
        "/bin/sh",
        "-c",
    ]
    script = "trap 'echo bye; exit 3' TERM; echo up; while true; do sleep 0.1; done"
    process = subprocess.Popen([*argv, script], env={"PATH": "/bin"}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "bye\n"
    assert process.wait(10) == 3


def test_an_ordinary_user_can_do_the_same(root, tmp_path):
    """Debian's own Python, because the one of the tests may lie where that user may not look."""
    program = tmp_path / "enter.py"
    program.write_text(ENTER.read_text())
    for part in (tmp_path, *tmp_path.parents):
        if part.is_relative_to("/tmp") and part != Path("/tmp"):
            part.chmod(0o755)
    argv = [
        "setpriv",
        "--reuid",
        "12345",
        "--regid",
        "12345",
        "--clear-groups",
        "/usr/bin/python3",
        "-I",
        str(program),
    ]
    argv += ["--root", str(root), "--means", "namespace", "--", "/bin/sh", "-c", "id -u; touch /x 2>&1"]
    subprocess.run(["chown", "-R", "12345", str(root)], check=True)
    try:
        done = subprocess.run(
            argv, env={"PATH": "/bin"}, capture_output=True, text=True, check=False, timeout=30
        )
    finally:
        subprocess.run(["chown", "-R", str(os.geteuid()), str(root)], check=True)
    assert done.stdout.startswith("10001\n"), done.stderr
    assert "Read-only" in done.stdout


def test_nothing_stays_mounted(root):
    enter(root, "true", "--means", "namespace")
    time.sleep(0.1)
    assert str(root) not in Path("/proc/mounts").read_text()


@pytest.mark.parametrize(
    ("means", "command"),
    [
        # Its children end with it where it has a process namespace; elsewhere only the program itself.
        ("namespace", "echo up; sleep 60; echo done"),
        ("chroot", "echo up; exec sleep 60"),
    ],
)
def test_a_program_does_not_outlive_who_started_it(root, means, command):
    """SIGKILL gives nobody the chance to clean up, so the kernel has to."""
    starter = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([*sys.argv[1:3], '--parent', str(os.getpid()), *sys.argv[3:]])\n"
        "child.wait()\n"
    )
    enter_it = [str(ENTER), "--root", str(root), "--means", means, "--", "/bin/sh", "-c"]
    argv = [sys.executable, "-c", starter, sys.executable, *enter_it, command]
    process = subprocess.Popen(argv, env={"PATH": "/bin"}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.kill()
    # The pipe is at its end when the last process that holds it is gone.
    ready, _, _ = select.select([process.stdout], [], [], 10)
    assert ready
    assert process.stdout.read() == ""
    process.wait()


def test_a_program_whose_starter_is_gone_already_does_not_run(root):
    done = enter(root, "echo up", "--means", "namespace", "--parent", "1")
    assert done.stdout == ""
    assert done.returncode == -signal.SIGKILL
