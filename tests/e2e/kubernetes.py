"""Fixtures for tests on a real cluster: a restricted namespace each, and a tiny image that plays a server.

`KUBECONFIG` and `SERVEGEN_TEST_REGISTRY` say where cluster and registry are. The image holds Debian's
static busybox and one script; the variable `MODE` makes it serve, crash, grow or stay silent.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servegen.kube.options import ClusterOptions
from servegen.values.image import LABEL, Image, ImageRef, Platform

_APPLETS = ("sh", "httpd", "sleep", "mkdir", "touch", "rm", "tail", "wget", "echo")
# The shell stays process 1 and ends on SIGTERM; httpd as process 1 would sit out the grace period.
_START = """#!/bin/sh
mkdir -p /tmp/www
cd /tmp/www
touch livez
serve() { trap 'exit 0' TERM; httpd -f -p 3000 -h /tmp/www & wait; }
case "${MODE:-serve}" in
serve) touch readyz; serve ;;
crash) echo "loading the model"; echo "ValueError: no column petal"; exit 3 ;;
oom) echo "loading a large model"; exec tail /dev/zero ;;
silent) echo "waiting for the feature store"; serve ;;
flaky) touch readyz; (sleep 10; rm readyz) & serve ;;
esac
"""
# `helm test` runs `python3 -m servegen.server.check --url URL`.
_PYTHON = '#!/bin/sh\nexec wget -q -O - "$4"readyz\n'


@pytest.fixture(scope="session")
def kubeconfig() -> str:
    path = os.environ.get("KUBECONFIG")
    if not path:
        pytest.skip("NO CLUSTER: set KUBECONFIG to run the tests on a real cluster")
    return path


@pytest.fixture(scope="session")
def test_registry() -> str:
    address = os.environ.get("SERVEGEN_TEST_REGISTRY")
    if not address:
        pytest.skip("NO REGISTRY: set SERVEGEN_TEST_REGISTRY to one that the cluster's nodes pull from")
    return address


@pytest.fixture(scope="session")
def api(kubeconfig: str) -> Any:
    """The official client, for what only tests do."""
    from kubernetes import client, config

    return client.CoreV1Api(config.new_client_from_config(config_file=kubeconfig))


@pytest.fixture
def namespace(api: Any) -> Iterator[str]:
    """A namespace that enforces Pod Security `restricted`."""
    name = f"servegen-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.create_namespace({"metadata": {"name": name, "labels": labels}})
    yield name
    api.delete_namespace(name, grace_period_seconds=0)


@pytest.fixture
def options(kubeconfig: str, namespace: str) -> ClusterOptions:
    return ClusterOptions(kubeconfig=kubeconfig, namespace=namespace, timeout_seconds=60)


@pytest.fixture(scope="session")
def stub_image(test_registry: str, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The tiny image, as `servegen package` would describe it."""
    return push_stub(test_registry, tmp_path_factory.mktemp("busybox"))


def push_stub(registry: str, folder: Path, version: str = "3") -> Image:
    """The tiny image in `registry`, as that version of a model; `folder` takes files in between."""
    return _push(registry, _layer(folder), entrypoint="/srv/start", version=version)


@pytest.fixture(scope="session")
def broken_image(test_registry: str, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The same with an entrypoint that does not exist."""
    return _push(test_registry, _layer(tmp_path_factory.mktemp("busybox")), entrypoint="/srv/missing")


def _busybox(folder: Path) -> bytes:
    """The machine's static busybox, or that of Debian's package."""
    installed = Path("/bin/busybox")
    if installed.exists() and b"/ld-linux" not in installed.read_bytes():
        return installed.read_bytes()
    download = ["apt-get", "download", "-q", "busybox-static"]
    subprocess.run(download, cwd=folder, check=True, capture_output=True)
    (package,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", package, folder / "root"], check=True)
    return (folder / "root/bin/busybox").read_bytes()


def _layer(folder: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        _add(tar, "bin/busybox", _busybox(folder))
        _add(tar, "bin/python3", _PYTHON.encode())
        _add(tar, "srv/start", _START.encode())
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return out.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o755
    tar.addfile(entry, io.BytesIO(content))


def _push(registry: str, layer: bytes, *, entrypoint: str, version: str = "3") -> Image:
    labels = {
        f"{LABEL}model-name": "iris",
        f"{LABEL}pin": f"models:/iris/{version}",
        f"{LABEL}model-version": version,
        f"{LABEL}example": '{"inputs": [[5.1, 3.5, 1.4, 0.2]]}',
    }
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": "10001:0",
            "Entrypoint": [entrypoint],
            "Env": ["PATH=/bin"],
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    media = "application/vnd.oci.image."
    packed = gzip.compress(layer, mtime=0)
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{media}manifest.v1+json",
        "config": _blob(registry, json.dumps(config).encode(), f"{media}config.v1+json"),
        "layers": [_blob(registry, packed, f"{media}layer.v1.tar+gzip")],
    }
    body = json.dumps(manifest).encode()
    url = f"http://{registry}/v2/servegen-stub/manifests/{_digest(body)}"
    _send("PUT", url, body, f"{media}manifest.v1+json")
    reference = ImageRef(registry=registry, repository="servegen-stub", tag="1", digest=_digest(body))
    return Image(ref=reference, platform=Platform.parse("linux/amd64"), labels=tuple(sorted(labels.items())))


def _blob(registry: str, content: bytes, media_type: str) -> dict[str, Any]:
    place = _send("POST", f"http://{registry}/v2/servegen-stub/blobs/uploads/", b"", "")
    joiner = "&" if "?" in place else "?"
    _send("PUT", f"{place}{joiner}digest={_digest(content)}", content, "application/octet-stream")
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _send(method: str, url: str, body: bytes, content_type: str) -> str:
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": content_type})
    with urllib.request.urlopen(request, timeout=30) as response:
        return str(response.headers.get("Location", ""))


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
