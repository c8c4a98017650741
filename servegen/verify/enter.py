"""Starts a program inside an image's root filesystem: `python enter.py --root DIR … -- PROGRAM …`.

Run as a program of its own, because what it changes (namespaces, root folder, user) cannot be undone. The
order of its steps is that of every container runtime; see namespaces(7), user_namespaces(7) and
mount_namespaces(7).
Standard library only, and nothing of servegen.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

NEWNS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
DEVICES = ("null", "zero", "full", "random", "urandom")

_libc = ctypes.CDLL(None, use_errno=True)


def main(argv: list[str]) -> int:
    """Enter and replace this process, or run the program as its child in a process namespace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", required=True, type=Path)
    parser.add_argument("--means", required=True, choices=["namespace", "chroot"])
    parser.add_argument("--network", choices=["none", "host"], default="none")
    parser.add_argument("--user", type=int, default=10001)
    parser.add_argument("--directory", default="/")
    parser.add_argument("--parent", type=int, help="end when this process, which started us, does")
    parser.add_argument("program", nargs="+")
    args = parser.parse_args(argv)
    root = args.root.resolve()
    try:
        if args.means == "chroot":
            _chroot(root, args.directory)
            _drop(args.user)
            _end_with_parent(args.parent)
            _replace(args.program)
        return _in_namespaces(root, args)
    except OSError as exc:
        print(f"enter: {exc}", file=sys.stderr)  # noqa: T201 (a program's only way to say why it failed)
        return 125


def _in_namespaces(root: Path, args: argparse.Namespace) -> int:
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    flags = NEWNS | NEWIPC | NEWPID | (NEWNET if args.network == "none" else 0)
    _call("unshare", _libc.unshare(ctypes.c_int(flags | (NEWUSER if outer_uid else 0))))
    if outer_uid:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{args.user} {outer_uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {outer_gid} 1", encoding="ascii")
    _end_with_parent(args.parent)
    if args.network == "none":
        _loopback_up()
    child = os.fork()
    if child:
        return _wait(child)
    _end_with_parent(None)
    _mounts(root)
    _chroot(root, args.directory)
    _drop(args.user)
    _end_with_parent(None)
    return _replace(args.program)


def _mounts(root: Path) -> None:
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    _mount(str(root), str(root), None, MS_BIND | MS_REC)
    for folder in ("proc", "dev", "tmp"):
        (root / folder).mkdir(exist_ok=True)
    _mount("tmpfs", str(root / "tmp"), "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=512m")
    _proc(root)
    _devices(root)
    # A mount of a user namespace may not lose flags that the one below it has.
    below = os.statvfs(root).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _mount(None, str(root), None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | below)


def _proc(root: Path) -> None:
    try:
        _mount("proc", str(root / "proc"), "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError:
        # Inside a container whose /proc is partly covered the kernel refuses a new one; without any,
        # Python and its libraries still work.
        with contextlib.suppress(OSError):
            _mount("/proc", str(root / "proc"), None, MS_BIND | MS_REC)


def _devices(root: Path) -> None:
    dev = root / "dev"
    _mount("tmpfs", str(dev), "tmpfs", MS_NOSUID, "mode=755,size=64k")
    for name in DEVICES:
        (dev / name).touch()
        _mount(f"/dev/{name}", str(dev / name), None, MS_BIND)
    (dev / "shm").mkdir()
    _mount("tmpfs", str(dev / "shm"), "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=256m")
    (dev / "fd").symlink_to("/proc/self/fd")


def _chroot(root: Path, directory: str) -> None:
    os.chroot(root)
    try:
        os.chdir(directory)
    except OSError:
        os.chdir("/")


def _drop(user: int) -> None:
    if os.geteuid() == 0 and user != 0:
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(user, user, user)
    _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _end_with_parent(parent: int | None) -> None:
    # The kernel forgets this wish whenever user or rights change, so it comes after them.
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        # It ended before the wish was made.
        os.kill(os.getpid(), signal.SIGKILL)


def _replace(program: list[str]) -> NoReturn:
    os.execve(program[0], program, dict(os.environ))  # noqa: S606 (a shell would need one in the image)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def _wait(child: int) -> int:
    def forward(number: int, _: FrameType | None) -> None:
        os.kill(child, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, forward)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    done = _libc.mount(
        source.encode() if source else None,
        target.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    _call(f"mount {target}", done)


def _call(what: str, result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
