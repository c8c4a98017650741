"""Many writers on one repository, refused and killed at random: no release may be lost, or be there twice.

By hand, for the large size: `python -m tests.e2e.writers FOLDER`; pytest runs a small one.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from servegen.progress import Silent
from servegen.values.image import LABEL
from tests.e2e.repositories import Workshop, deployment
from tests.oci import fake_registry

# A sixth of the pushes ends as where a server dies, a sixth as where another writer holds the branch.
_REFUSE = """#!/bin/sh
chance=$(od -An -N1 -tu1 /dev/urandom)
if [ $chance -lt 43 ]; then
  kill -9 $PPID
elif [ $chance -lt 86 ]; then
  set -C
  { : > refs/heads/main.lock; } 2>/dev/null && { sleep 0.3; rm -f refs/heads/main.lock; } >/dev/null 2>&1 &
  sleep 0.05
fi
"""
_ONE = "import sys; from tests.e2e.writers import one; one(*sys.argv[1:])"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the repository holds at the end."""

    commits: int
    linear: bool
    lost: list[str]
    seconds: float
    attempts: tuple[int, ...]


def run(folder: Path, *, writers: int, models: int, refusing: bool = False, max_attempts: int = 60) -> Report:
    """`writers` processes at a time, each with `models` models of its own, and one shared repository."""
    shop = Workshop.at(folder)
    remote = shop.bare()
    if refusing:
        shop.git("config", "core.filesRefLockTimeout", "50", at=remote)
        hook = remote / "hooks/pre-receive"
        hook.write_text(_REFUSE)
        hook.chmod(0o755)
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(writers) as pool:
        names = [[f"model-{writer}-{model}" for model in range(models)] for writer in range(writers)]
        attempts = pool.starmap(_write, [(folder, remote, mine, max_attempts) for mine in names])
    return _report(shop, remote, [name for mine in names for name in mine], began, attempts)


def one(folder: str, repo: str, name: str, version: str) -> None:
    """Deliver one model; what a process does that is killed."""
    Workshop.at(Path(folder)).deliver(repo, deployment(name, version))


def kill(folder: Path, *, kills: int, seed: int = 7) -> list[str]:
    """Kill writers at random moments and run them again; what was wrong then."""
    shop, chance = Workshop.at(folder), random.Random(seed)
    remote = shop.bare()
    checkout = shop.checkout(remote)
    before = _state(shop, checkout)
    began = time.monotonic()
    assert _start(folder, checkout, "warm").wait() == 0
    usual = time.monotonic() - began
    wrong = []
    for number in range(kills):
        name, place = f"model-{number}", checkout if number % 2 else remote
        process = _start(folder, place, name)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0.4, 1) * usual)
        # The programs that it started go on, or die with it.
        with contextlib.suppress(ProcessLookupError):
            (os.kill if number % 3 else os.killpg)(process.pid, signal.SIGKILL)
        process.wait()
        _await_children(process.pid)
        wrong += [f"{name}: {text}" for text in _unsound(shop, remote, checkout)]
        if _start(folder, place, name).wait():
            wrong.append(f"{name}: the second run failed")
        subjects = [line for line in shop.log(remote) if f"chore({name}/staging)" in line]
        if len(subjects) != 1:
            wrong.append(f"{name}: {len(subjects)} commits")
        if list((folder / "cache/git").iterdir()) or _state(shop, checkout) != before:
            wrong.append(f"{name}: something is left in the cache or the checkout")
    return wrong


def _start(folder: Path, repo: Path, name: str) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", _ONE, str(folder), str(repo), name, "7"]
    root = Path(__file__).parents[2]
    with (folder / "writers.log").open("ab") as log:
        return subprocess.Popen(argv, cwd=root, stdout=log, stderr=log, start_new_session=True)


def _await_children(group: int) -> None:
    """Wait until the programs of a killed run have ended: what they use is theirs until then."""
    until = time.monotonic() + 60
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < until:
            os.killpg(group, 0)
            time.sleep(0.05)


def _unsound(shop: Workshop, *places: Path) -> Iterator[str]:
    for place in places:
        done = subprocess.run(
            ["git", "fsck", "--strict"],
            cwd=place,
            env=shop.variables,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            yield f"fsck of {place.name}: {done.stderr}"


def _state(shop: Workshop, checkout: Path) -> tuple[str, str]:
    """What a user sees of a checkout."""
    status = shop.git("status", "--porcelain=v2", at=checkout)
    return status, shop.git("worktree", "list", at=checkout)


def _write(folder: Path, remote: Path, names: list[str], max_attempts: int) -> list[int]:
    target = Workshop.at(folder).target(remote, max_attempts=max_attempts)
    attempts = []
    for name in names:
        made = target.deliver(deployment(name), progress=Silent()).commit
        attempts.append(made.attempts if made else 0)
    target.close()
    return attempts


def _report(
    shop: Workshop, remote: Path, names: list[str], began: float, attempts: list[list[int]]
) -> Report:
    subjects = collections.Counter(line.partition(":")[0] for line in shop.log(remote))
    files = set(shop.git("ls-tree", "-r", "--name-only", "main", at=remote).splitlines())
    lost = [
        name
        for name in names
        if subjects[f"chore({name}/staging)"] != 1
        or f"apps/{name}/components/release-staging/kustomization.yaml" not in files
    ]
    shop.git("fsck", "--strict", at=remote)
    return Report(
        commits=sum(subjects.values()) - 1,
        linear=shop.git("rev-list", "--count", "--min-parents=2", "main", at=remote) == "0",
        lost=lost,
        seconds=round(time.monotonic() - began, 1),
        attempts=tuple(sorted(number for mine in attempts for number in mine)),
    )


@contextlib.contextmanager
def registry() -> Iterator[Callable[[str, str], str]]:
    """A registry, and what puts an image into it as `servegen package` could have made it."""
    with fake_registry.running() as server:

        def push(name: str, version: str) -> str:
            labels = {
                f"{LABEL}model-name": name,
                f"{LABEL}pin": f"models:/{name}/{version}",
                f"{LABEL}model-version": version,
            }
            config = json.dumps(
                {
                    "architecture": "amd64",
                    "os": "linux",
                    "config": {"Labels": labels, "Entrypoint": ["serve"]},
                    "rootfs": {"type": "layers", "diff_ids": []},
                }
            ).encode()
            kind = "application/vnd.oci.image.manifest.v1+json"
            entry = {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": f"sha256:{hashlib.sha256(config).hexdigest()}",
                "size": len(config),
            }
            manifest = {"schemaVersion": 2, "mediaType": kind, "config": entry, "layers": []}
            digest = server.put_image(name, version, json.dumps(manifest).encode(), kind, config)
            return f"{server.host}/{name}@{digest}"

        yield push


def main(folder: Path) -> None:
    """The large size: 8 writers with 25 models each, calm and refused, and 100 kills."""
    for name, refusing in (("calm", False), ("refusing", True)):
        report = run(folder / name, writers=8, models=25, refusing=refusing)
        tries = report.attempts
        print(f"{name}: {report.commits} commits, linear: {report.linear}, lost: {report.lost or 'none'}")
        print(f"  {report.seconds} s, attempts: median {tries[len(tries) // 2]}, most {tries[-1]}")
    wrong = kill(folder / "killed", kills=100)
    print("\n".join(wrong) or "100 kills: nothing lost, nothing left")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
