"""How long packaging iris takes beside a Dockerfile of the same base, versions and files, built by buildah.

    make bench            needs root, buildah, a Debian mirror and a package index

Both sides get the same locked wheels and the same base layer, alternately, three times. Prints the medians in
seconds and their ratio; ratios, because machines differ.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS = 3
BUILDAH = ("buildah", "--storage-driver", "vfs")


def main() -> None:
    """Measure and print."""
    if not shutil.which("buildah"):
        sys.exit("bench: buildah is not installed; apt-get install buildah")
    with tempfile.TemporaryDirectory(prefix="servegen-bench-") as name:
        work = Path(name)
        uri = f"sqlite:///{work}/mlflow.db"
        subprocess.run(
            [sys.executable, ROOT / "models/iris/train.py", uri], cwd=work, check=True, capture_output=True
        )
        (work / "servegen.yaml").write_text("model: models:/iris@champion\nimage: bench/iris\n")
        servegen(work, work / "warm", uri, "--no-verify")
        context = dockerfile(work)
        rows = {
            "cold: every cache empty": (
                lambda: servegen(work, fresh(work / "cold"), uri, "--no-verify"),
                lambda: buildah(fresh(work / "storage"), context),
            ),
            "nothing changed": (
                lambda: servegen(work, work / "warm", uri, "--no-verify"),
                lambda: buildah(work / "storage", context),
            ),
        }
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, median of {RUNS}\n")
        print(f"{'':26}{'servegen':>10}{'buildah':>10}{'ratio':>8}")
        for row, (ours, theirs) in rows.items():
            mine, other = alternate(ours, theirs)
            print(f"{row:26}{mine:9.2f}s{other:9.2f}s{other / mine:8.1f}")


def alternate(ours: Callable[[], None], theirs: Callable[[], None]) -> tuple[float, float]:
    """Median seconds of each side; they take turns, so that a busy machine hits both."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(RUNS):
        for side, action in enumerate((ours, theirs)):
            start = time.perf_counter()
            action()
            times[side].append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def fresh(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def servegen(work: Path, cache: Path, uri: str, *arguments: str) -> None:
    """Package the model with this cache; uv's own cache goes with it."""
    env = {**os.environ, "SERVEGEN_CACHE_DIR": str(cache), "UV_CACHE_DIR": str(cache / "uv")}
    argv = [
        sys.executable,
        "-m",
        "servegen",
        "package",
        "--tracking-uri",
        uri,
        "--frozen",
        "--quiet",
        *arguments,
    ]
    if not (work / "servegen.lock").is_file():
        argv.remove("--frozen")
    subprocess.run(argv, cwd=work, env=env, check=True, capture_output=True)


def dockerfile(work: Path) -> Path:
    """A context with the same base, wheels, code and model, as a careful user would write it."""
    context = work / "context"
    context.mkdir()
    lock = json.loads((work / "servegen.lock").read_text())
    lines = [f"{p['name']}=={p['version']} --hash=sha256:{p['sha256']}" for p in lock["packages"]]
    (context / "requirements.txt").write_text("\n".join(lines) + "\n")
    shutil.copytree(
        ROOT / "servegen/server",
        context / "app/servegen/server",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copy(ROOT / "servegen/__init__.py", context / "app/servegen/__init__.py")
    model = next((work / "mlruns").glob("*/models/m-*/artifacts"))
    shutil.copytree(model, context / "model")
    base = next((work / "warm/rootfs").glob("base-*"))
    subprocess.run(["tar", "-C", base, "-cf", context / "base.tar", "."], check=True)
    shutil.copy(Path(sys.executable).parent / "uv", context / "uv")
    (context / "Dockerfile").write_text(
        "FROM scratch\n"
        "ADD base.tar /\n"
        "COPY uv requirements.txt /tmp/\n"
        'RUN ["/tmp/uv", "pip", "install", "--python", "/usr/bin/python3.11", "--target", "/opt/packages",'
        ' "--require-hashes", "--no-deps", "--compile-bytecode", "-r", "/tmp/requirements.txt"]\n'
        "COPY app /srv/app\n"
        "COPY model /srv/model\n"
        "USER 10001:0\n"
        'ENTRYPOINT ["/usr/bin/python3.11", "-m", "servegen.server"]\n'
    )
    return context


def buildah(storage: Path, context: Path) -> None:
    """Build the context, with layer caching, into this storage."""
    places = ("--root", str(storage / "root"), "--runroot", str(storage / "run"))
    passed = [f"--volume={p}:{p}:ro" for p in ("/etc/ssl/certs", "/etc/resolv.conf") if Path(p).exists()]
    argv = [
        *BUILDAH,
        *places,
        "bud",
        "--isolation",
        "chroot",
        "--layers",
        *passed,
        "-t",
        "iris",
        str(context),
    ]
    subprocess.run(argv, check=True, capture_output=True)


if __name__ == "__main__":
    main()
