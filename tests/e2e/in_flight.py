"""An autoscaler without KEDA follows requests in flight: `python -m tests.e2e.in_flight IMAGE NAMESPACE`.

IMAGE was packaged by servegen, NAMESPACE is empty. The script serves `custom.metrics.k8s.io` from here, as
prometheus-adapter does with the rule of docs/how-to/autoscale.md. The API is the whole
cluster's and is removed at the end: one run at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from tests.e2e.test_scaling import CLIENTS, PROMETHEUS, load, ready, request_body, until

API = "custom.metrics.k8s.io/v1beta2"
METRIC = "servegen_requests_in_flight"
HOST = "10.88.0.1"
"""This machine as the cluster sees it."""
NAME = "servegen-custom-metrics"


class Adapter(BaseHTTPRequestHandler):
    """Answers what the autoscaler's controller asks: the API, and a metric of all pods of a namespace."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        parts = path.strip("/").split("/")
        if parts[3:4] == ["namespaces"] and parts[5:] == ["pods", "*", METRIC]:
            answer = {"kind": "MetricValueList", "apiVersion": API, "items": values(parts[4])}
        else:
            about = {
                "name": f"pods/{METRIC}",
                "namespaced": True,
                "kind": "MetricValueList",
                "verbs": ["get"],
            }
            answer = {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": API,
                "resources": [about | {"singularName": ""}],
            }
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None: ...


def values(namespace: str) -> list[dict[str, Any]]:
    """What Prometheus knows of each pod."""
    query = urllib.parse.urlencode({"query": f'sum({METRIC}{{namespace="{namespace}"}}) by (pod)'})
    with urllib.request.urlopen(f"{PROMETHEUS}/api/v1/query?{query}", timeout=5) as answer:
        found = json.load(answer)["data"]["result"]
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [
        {
            "describedObject": {
                "kind": "Pod",
                "apiVersion": "/v1",
                "namespace": namespace,
                "name": one["metric"]["pod"],
            },
            "metric": {"name": METRIC},
            "timestamp": now,
            "value": one["value"][1],
        }
        for one in found
    ]


@contextlib.contextmanager
def adapter() -> Iterator[None]:
    """The API, as long as it is needed."""
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder) / "cert.pem"
        key = Path(folder) / "key.pem"
        make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=adapter"]
        subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server = ThreadingHTTPServer((HOST, 0), Adapter)
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        kubectl("apply", "--server-side", "-f", "-", text=json.dumps(registration(server.server_port)))
        yield
    finally:
        kubectl("delete", "--ignore-not-found", "apiservice", "v1beta2.custom.metrics.k8s.io")
        kubectl("delete", "--ignore-not-found", "--namespace", "kube-system", "service", NAME)
        server.shutdown()


def registration(port: int) -> dict[str, Any]:
    """A Service that leads to this machine, and the API that it serves."""
    about = {"name": NAME, "namespace": "kube-system"}
    group, _, version = API.partition("/")
    service = {"spec": {"ports": [{"name": "https", "port": 443, "targetPort": port}]}}
    slices = {
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": port}],
        "endpoints": [{"addresses": [HOST], "conditions": {"ready": True}}],
    }
    api = {
        "group": group,
        "version": version,
        "service": about | {"port": 443},
        "insecureSkipTLSVerify": True,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
    }
    named = {"labels": {"kubernetes.io/service-name": NAME}}
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {"apiVersion": "v1", "kind": "Service", "metadata": about} | service,
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": about | named}
            | slices,
            {
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"name": f"{version}.{group}"},
                "spec": api,
            },
        ],
    }


def kubectl(*arguments: str, text: str = "") -> None:
    subprocess.run(["kubectl", *arguments], input=text, text=True, check=True, stdout=sys.stderr)


def deploy(image: str, folder: Path, namespace: str) -> dict[str, Any]:
    """`servegen deploy`, scaled on 4 requests in flight for each replica; its report."""
    scaling = {
        "metric": "in-flight",
        "in_flight": "4",
        "min_replicas": 1,
        "max_replicas": 3,
        "cpu_utilization": 1000,
        "scale_down_window_seconds": 0,
        "scale_down_percent": 100,
        "scale_down_period_seconds": 5,
    }
    settings = {"namespace": namespace, "name": "iris", "min_ready_seconds": 0, "autoscaling": scaling}
    settings["resources"] = {"cpu": "100m", "memory": "512Mi"}
    file = folder / "servegen.yaml"
    file.write_text(json.dumps({"deploy": settings}))
    argv = [sys.executable, "-m", "servegen", "deploy", image, "--file", str(file), "--json"]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def main() -> int:
    """Exit status 1 when replicas do not follow, or a request fails."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("image")
    parser.add_argument("namespace")
    args = parser.parse_args()
    options = ClusterOptions(kubeconfig=os.environ.get("KUBECONFIG"), namespace=args.namespace)
    with tempfile.TemporaryDirectory() as folder:
        report = deploy(args.image, Path(folder), args.namespace)
        print("without the API:", *report["warnings"])
        with adapter():
            until(lambda: Cluster.connect(options).serves(API), "the cluster serves the API")
            report = deploy(args.image, Path(folder), args.namespace)
            print("with the API:", report["warnings"] or "no warning")
            started = time.monotonic()
            with load(f"http://{report['cluster_ip']}/invocations", request_body(), CLIENTS) as failed:
                until(lambda: ready(options) == 3, f"three replicas for {CLIENTS} requests in flight")
            print(f"1 → 3 ready after {time.monotonic() - started:.0f} s, {len(failed)} requests failed")
            started = time.monotonic()
            until(lambda: ready(options) == 1, "one replica without load")
            print(f"3 → 1 after {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
