"""The peers' own Dockerfiles, built by buildah on a base that is made here and pushed.

A peer's Dockerfile begins with an image of Docker Hub. The way there must not count, so one base takes its
place, made once before anything is timed: Debian 12 with Python 3.11 and pip.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sidebyside.environments import child_environ
from sidebyside.machine import progress

_SUITE = "bookworm"
_PACKAGES = "ca-certificates,python3,python3-pip,python3-venv,python-is-python3"
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_SERVICE = """\
from pathlib import Path

import bentoml
import mlflow
import pandas as pd


@bentoml.service
class Model:
    def __init__(self) -> None:
        self.model = mlflow.pyfunc.load_model(str(Path(__file__).parent / "model"))

    @bentoml.api
    def predict(self, rows: list[dict]) -> list:
        return list(self.model.predict(pd.DataFrame(rows)))
"""
_BENTOFILE = {
    "service": "service:Model",
    "include": ["service.py", "model/"],
    "python": {"requirements_txt": "./requirements.txt"},
}


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a peer would give to `docker build`."""

    peer: str
    folder: Path
    dockerfile: Path

    @property
    def bases(self) -> list[str]:
        """The images that its Dockerfile begins with."""
        return re.findall(r"^FROM (\S+)", self.dockerfile.read_text(), re.MULTILINE)


def mlflow(tools: Path, model: Path, folder: Path) -> Context:
    """As `mlflow models generate-dockerfile` writes it."""
    argv = [tools.parent / "mlflow", "models", "generate-dockerfile", "-m", model, "-d", folder]
    _quietly(argv, folder.parent)
    return Context(peer="mlflow", folder=folder, dockerfile=folder / "Dockerfile")


def bentoml(tools: Path, model: Path, folder: Path) -> Context:
    """As `bentoml build` writes it, for a Service as its documentation has it."""
    folder.mkdir()
    shutil.copytree(model, folder / "model")
    shutil.copy(model / "requirements.txt", folder / "requirements.txt")
    (folder / "service.py").write_text(_SERVICE)
    (folder / "bentofile.yaml").write_text(json.dumps(_BENTOFILE))
    home = folder / "home"
    _quietly([tools.parent / "bentoml", "build", "--output", "tag", folder], folder, BENTOML_HOME=str(home))
    (bento,) = (p.parent for p in home.glob("bentos/*/*/bento.yaml"))
    # It names the default index, which this machine may replace by another one.
    lock = bento / "env/python/requirements.txt"
    lock.write_text(re.sub(r"^--index-url .*\n", "", lock.read_text(), flags=re.MULTILINE))
    return Context(peer="bentoml", folder=bento, dockerfile=bento / "env/docker/Dockerfile")


def make_base(folder: Path) -> Path:
    """The base's files as a tar: made once, and outside of what is timed."""
    archive = folder / f"base-{_SUITE}.tar"
    if archive.is_file():
        return archive
    progress(f"making the peers' base from Debian {_SUITE} (once)")
    root = folder / "base-root"
    shutil.rmtree(root, ignore_errors=True)
    _quietly(["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, root, _mirror()], folder)
    # Docker Hub's Python images take pip's packages beside their own, too, and bring no package lists.
    for path in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        path.unlink()
    for place in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(root / place)
        (root / place / "partial").mkdir(parents=True)
    if _BUNDLE.is_file():
        shutil.copy(_BUNDLE, root / _BUNDLE.relative_to("/"))
    _quietly(["tar", "-C", root, "-cf", archive.with_suffix(".part"), "."], folder)
    archive.with_suffix(".part").rename(archive)
    shutil.rmtree(root)
    return archive


class Buildah:
    """One container storage; a new one has only the base in it."""

    def __init__(self, storage: Path, base: Path, names: list[str]) -> None:
        shutil.rmtree(storage, ignore_errors=True)
        self.driver = os.environ.get("STORAGE_DRIVER", "overlay")
        places = ("--root", str(storage / "root"), "--runroot", str(storage / "run"))
        self._argv = ("buildah", "--storage-driver", self.driver, *places)
        container = self._run("from", "scratch").strip()
        self._run("add", container, str(base), "/")
        for name, value in _index_variables().items():
            self._run("config", "--env", f"{name}={value}", container)
        self._run("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", container)
        self._run("commit", "--rm", container, "base")
        for name in names:
            self._run("tag", "base", f"docker.io/library/{name}")

    def build_and_push(self, context: Context, reference: str) -> None:
        """`build` with its layer cache, and `push`."""
        self._run(
            *("bud", "--isolation", "chroot", "--layers", "--pull-never", "--tag", reference),
            *("--file", str(context.dockerfile), str(context.folder)),
        )
        self._run("push", "--tls-verify=false", reference, f"docker://{reference}")

    def _run(self, *arguments: str) -> str:
        return _quietly([*self._argv, *arguments], Path.cwd())


def _index_variables() -> dict[str, str]:
    """The machine's own settings of pip, uv and proxies: for the local base, which is thrown away."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("PIP_", "UV_")) and not value.startswith("/") and "CACHE" not in name
    }
    kept |= {n: v for n, v in os.environ.items() if n.lower() in ("http_proxy", "https_proxy", "no_proxy")}
    found = subprocess.run(["pip", "config", "get", "global.index-url"], capture_output=True, text=True)
    if index := found.stdout.strip():
        kept |= {"PIP_INDEX_URL": index, "UV_DEFAULT_INDEX": index}
    if _BUNDLE.is_file():
        kept |= dict.fromkeys(("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE"), str(_BUNDLE))
    return kept


def _mirror() -> str:
    from servegen.oci.debian import apt_sources

    sources = apt_sources(_SUITE, Path("/etc/apt"))
    if not sources:
        raise SystemExit(f"bench: apt on this machine has no sources for {_SUITE}, so the peers get no base")
    return str(sources[0].uri)


def _quietly(argv: list[object], folder: Path, **environ: str) -> str:
    words = [str(word) for word in argv]
    done = subprocess.run(
        words, cwd=folder, env=child_environ(**environ), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words[:9])}: {(done.stdout + done.stderr)[-1500:]}")
    return done.stdout
