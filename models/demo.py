"""The whole way in ten lines: train, package, run, ask, render, and deploy where a cluster answers.

Run by `make demo`; every step is a command that a user would type. Everything it makes is below .demo/.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
NAMESPACE = "servegen-demo"
_count = 0


def main() -> None:
    """Go through the steps; a step that fails ends the demo with its exit code."""
    work = HERE.parent / ".demo"
    work.mkdir(exist_ok=True)
    os.chdir(work)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{work / 'mlflow.db'}"
    uri = "models:/iris@champion"
    if not Path("version").is_file():
        printed = run(sys.executable, HERE / "iris" / "train.py", os.environ["MLFLOW_TRACKING_URI"])
        Path("version").write_text(printed)
    say(f"trained a random forest and registered it in MLflow: {Path('version').read_text()}, alias champion")

    start = time.monotonic()
    image = servegen("package", uri, "--tag", f"{registry() or 'demo'}/iris:1")
    say(f"packaged it and checked that the image answers as the model does: {time.monotonic() - start:.1f} s")
    say(f"the image: {image}")
    start = time.monotonic()
    again = servegen("package", uri, "--tag", f"{registry() or 'demo'}/iris:1", "--quiet")
    if again != image:
        sys.exit(f"the second build gave another digest: {again}")
    say(f"packaged it again: the same digest after {time.monotonic() - start:.1f} s")

    with server(image) as url:
        version = get(f"{url}/version")
        say(f"started a server from the image's own files, without Docker: {url}, MLflow {version}")
        body = json.loads((model_folder() / "serving_input_example.json").read_text())
        say(f"asked POST {url}/invocations {json.dumps(body['dataframe_split']['data'])}")
        say(f"it answered {post(f'{url}/invocations', body)}")

    written = servegen(
        "render", image, "--format", "manifests", "-n", NAMESPACE, "-o", "manifests", "--quiet"
    )
    say(f"rendered the Kubernetes objects: .demo/{written}/ ({names(written)})")
    written = servegen("render", image, "--format", "helm", "-n", NAMESPACE, "-o", "chart", "--quiet")
    say(f"rendered the Helm chart: .demo/{written}/ ({names(written)})")
    say(deployed(image))


def deployed(image: str) -> str:
    """Deploy where a cluster answers and can pull; otherwise say what is missing and change nothing."""
    if not cluster_answers():
        return "no cluster answers, so nothing was deployed; with one: servegen deploy --target k8s"
    if not registry():
        return "a cluster answers; SERVEGEN_DEMO_REGISTRY=HOST:PORT make demo deploys there"
    servegen("package", "models:/iris@champion", "--tag", f"{registry()}/iris:1", "--push", "--quiet")
    make_namespace()
    return "deployed: " + servegen("deploy", image, "--target", "k8s", "-n", NAMESPACE)


def cluster_answers() -> bool:
    """Whether the kubeconfig names a cluster that answers."""
    from kubernetes import client, config
    from urllib3.exceptions import HTTPError

    try:
        config.load_kube_config()
        client.VersionApi().get_code(_request_timeout=5)
    except (config.ConfigException, client.ApiException, HTTPError):
        return False
    return True


def make_namespace() -> None:
    """The demo's own namespace, with the strictest Pod Security level; one that is there stays as it is."""
    from kubernetes import client

    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    wanted = client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE, labels=labels))
    try:
        client.CoreV1Api().create_namespace(wanted, _request_timeout=5)
    except client.ApiException as exc:
        if exc.status != 409:
            raise


def registry() -> str | None:
    """The registry that the cluster pulls from, if the environment names one."""
    return os.environ.get("SERVEGEN_DEMO_REGISTRY") or os.environ.get("SERVEGEN_TEST_REGISTRY")


@contextlib.contextmanager
def server(image: str) -> Iterator[str]:
    """`servegen run` on a free port, stopped at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with Path("server.log").open("w") as log:
        process = subprocess.Popen(
            [BIN / "servegen", "run", image, "--port", str(port)], stdout=log, stderr=log
        )
        try:
            for _ in range(600):
                if process.poll() is not None:
                    sys.exit(f"the server ended:\n{Path('server.log').read_text()}")
                with contextlib.suppress(OSError):
                    if urllib.request.urlopen(f"{url}/readyz", timeout=5).status == 200:
                        break
                time.sleep(0.1)
            else:
                sys.exit(f"the server did not get ready:\n{Path('server.log').read_text()}")
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def get(url: str) -> str:
    """The answer's text."""
    return str(urllib.request.urlopen(url, timeout=30).read().decode())


def post(url: str, body: object) -> str:
    """The answer's text."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    return str(urllib.request.urlopen(request, timeout=30).read().decode())


def model_folder() -> Path:
    """Where MLflow keeps the model's files."""
    return next(Path.cwd().glob("mlruns/*/models/m-*/artifacts"))


def names(folder: str) -> str:
    """What is in a folder."""
    return ", ".join(sorted(p.name for p in Path(folder).iterdir() if not p.name.startswith(".")))


def servegen(*arguments: str) -> str:
    """What the command prints; its progress goes to standard error."""
    return run(BIN / "servegen", *arguments)


def run(*argv: str | Path) -> str:
    """Standard output of a program that must succeed."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(f"failed: {shlex.join(str(a) for a in argv)}", file=sys.stderr)
        sys.exit(done.returncode)
    return done.stdout.strip()


def say(text: str) -> None:
    """One of the ten lines."""
    global _count
    _count += 1
    print(f"{_count:2}. {text}", flush=True)


if __name__ == "__main__":
    main()
