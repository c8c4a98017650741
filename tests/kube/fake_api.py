"""An API server of one process: stores objects, applies, watches, and refuses what a test tells it to.

It speaks HTTP on a loopback socket, so that the real client is under test. Deployments get their ReplicaSet,
pods and status from `controller`, which a test may replace.
"""

from __future__ import annotations

import copy
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]
NAMESPACE = "ml"
_LISTED = (
    "configmaps",
    "deployments",
    "events",
    "horizontalpodautoscalers",
    "httproutes",
    "ingresses",
    "networkpolicies",
    "poddisruptionbudgets",
    "podmonitors",
    "pods",
    "replicasets",
    "scaledobjects",
    "serviceaccounts",
    "servicemonitors",
    "services",
)


@dataclass
class FakeApi:
    """The state of the server; `requests` is what was asked of it, in order."""

    kubeconfig: Path
    objects: dict[str, Object] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str], str]] = field(default_factory=list)
    """Verb, path, query and content type."""
    refuse: dict[tuple[str, str], list[Object]] = field(default_factory=dict)
    """Verb and last part of a path to Status objects, answered one after the other.

    A watch has the verb `WATCH`.
    """
    answer: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Path to an answer that is no object of Kubernetes."""
    once: dict[str, Object] = field(default_factory=dict)
    """Path to a Status object, answered to the next PATCH without force."""
    forbid: set[tuple[str, str]] = field(default_factory=set)
    """Verb and resource that the login may not use."""
    warnings: dict[str, str] = field(default_factory=dict)
    """Last part of a path to the text of a Warning header."""
    log: str = ""
    namespaces: dict[str, str] = field(default_factory=lambda: {NAMESPACE: "Active"})
    """Name and phase."""
    down: bool = False
    """Whether every connection is closed without an answer."""
    controller: Callable[[FakeApi, Object], None] = lambda api, deployment: api.run_pods(deployment)
    _events: list[tuple[str, Object]] = field(default_factory=list)
    _version: int = 1
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def writes(self) -> list[str]:
        """Paths that were changed for good, in order."""
        return [
            path.rpartition("/namespaces/ml/")[2]
            for verb, path, query, _ in self.requests
            if verb != "GET" and "dryRun" not in query and not path.endswith("reviews")
        ]

    def put(self, path: str, one: Object) -> Object:
        """Store `one` and tell whoever watches."""
        with self._lock:
            before = self.objects.get(path)
            kept = copy.deepcopy(one)
            about = kept["metadata"]
            about.setdefault("uid", f"uid-{path}")
            about["generation"] = (before or {"metadata": {"generation": 0}})["metadata"]["generation"]
            if before is None or before.get("spec") != kept.get("spec"):
                about["generation"] += 1
            about["resourceVersion"] = str(self._version + 1)
            if before is not None:
                unchanged = before | {"metadata": before["metadata"] | {"resourceVersion": None}}
                if unchanged == kept | {"metadata": about | {"resourceVersion": None}}:
                    return before
            self._version += 1
            self.objects[path] = kept
            self._events.append((path, {"type": "ADDED" if before is None else "MODIFIED", "object": kept}))
            return kept

    def run_pods(self, deployment: Object, **status: Any) -> None:
        """What the controllers do for a Deployment; `status` replaces the pods' good one."""
        name, wanted = deployment["metadata"]["name"], deployment["spec"].get("replicas", 2)
        root = f"/apis/apps/v1/namespaces/{NAMESPACE}"
        deployment["spec"]["replicas"] = wanted
        good = not status
        deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1"
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": wanted,
            "updatedReplicas": wanted,
            "availableReplicas": wanted if good else 0,
            "readyReplicas": wanted if good else 0,
        }
        labels = deployment["spec"]["template"]["metadata"]["labels"] | {"pod-template-hash": "abc"}
        replica_set = {
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{name}-abc",
                "labels": labels,
                "annotations": {"deployment.kubernetes.io/revision": "1"},
                "ownerReferences": [{"uid": deployment["metadata"]["uid"]}],
            },
        }
        self.put(f"{root}/replicasets/{name}-abc", replica_set)
        for index in range(wanted):
            pod = {
                "kind": "Pod",
                "metadata": {"name": f"{name}-abc-{index}", "namespace": NAMESPACE, "labels": labels},
                "spec": deployment["spec"]["template"]["spec"],
                "status": status or {"conditions": [{"type": "Ready", "status": "True"}]},
            }
            self.put(f"/api/v1/namespaces/{NAMESPACE}/pods/{name}-abc-{index}", pod)
        self.put(f"{root}/deployments/{name}", deployment)

    def apply(self, path: str, body: Object, manager: str, *, dry_run: bool) -> Object:
        """Server-side apply as far as the tests need it: ours replaces, nothing is shared."""
        with self._lock:
            before = self.objects.get(path)
            after = copy.deepcopy(body)
            fields = _fields(body)
            entry = {"manager": manager, "operation": "Apply", "apiVersion": body["apiVersion"]}
            managed = [entry | {"fieldsV1": fields}]
            if before is not None:
                others = [one for one in before["metadata"]["managedFields"] if one["manager"] != manager]
                managed += others
                if manager == "servegen-handover":
                    after = copy.deepcopy(before) | {"spec": before["spec"] | body["spec"]}
                elif "replicas" in before.get("spec", {}) and "replicas" not in body.get("spec", {}):
                    # Only who owned the field alone takes it away by leaving it out.
                    ours = [one for one in before["metadata"]["managedFields"] if one not in others]
                    alone = any("f:spec" in one["fieldsV1"] for one in ours) and not any(
                        "f:spec" in one["fieldsV1"] for one in others
                    )
                    after["spec"]["replicas"] = 1 if alone else before["spec"]["replicas"]
                for key in ("uid", "generation"):
                    after["metadata"][key] = before["metadata"][key]
                if "status" in before:
                    after["status"] = before["status"]
                notes = before["metadata"].get("annotations", {})
                kept = {key: value for key, value in notes.items() if key.startswith("deployment.k")}
                after["metadata"].setdefault("annotations", {}).update(kept)
            after["metadata"]["managedFields"] = managed
            if dry_run:
                after["metadata"].setdefault("uid", "dry")
                return after
            stored = self.put(path, after)
            if body["kind"] == "Deployment" and manager == "servegen":
                self.controller(self, copy.deepcopy(stored))
            return stored

    def collect(self, uid: str) -> None:
        """Forget what belongs to the object `uid`."""
        with self._lock:
            for path, one in list(self.objects.items()):
                if uid in [owner.get("uid") for owner in one["metadata"].get("ownerReferences", ())]:
                    del self.objects[path]

    def watch(self, prefix: str, since: int, seconds: float) -> Iterator[Object]:
        """Changes below `prefix` after `since`."""
        end, place = time.monotonic() + seconds, 0
        while time.monotonic() < end and not self.down:
            with self._lock:
                fresh = self._events[place:]
                place = len(self._events)
            for path, event in fresh:
                if path.startswith(prefix) and int(event["object"]["metadata"]["resourceVersion"]) > since:
                    yield event
            time.sleep(0.02)

    @property
    def version(self) -> str:
        return str(self._version)


def _fields(body: Object) -> Object:
    """What an apply of `body` owns: of a Deployment the replicas alone are of interest."""
    if body["kind"] == "Deployment":
        return {"f:spec": {"f:replicas": {}}} if "replicas" in body["spec"] else {}
    about = {f"f:{key}": _names(body["metadata"].get(key, {})) for key in ("labels", "annotations")}
    return {"f:metadata": about, "f:spec": _names(body.get("spec", {}))}


def _names(values: Object) -> Object:
    return {f"f:{name}": {} for name in values}


@contextmanager
def running(folder: Path) -> Iterator[FakeApi]:
    """A server that is up, with the kubeconfig to reach it."""
    api = FakeApi(kubeconfig=folder / "kubeconfig")
    handler = type("Handler", (_Handler,), {"api": api})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    cluster = {"name": "fake", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
    context = {"name": "fake", "context": {"cluster": "fake", "user": "me", "namespace": NAMESPACE}}
    config = {"current-context": "fake", "clusters": [cluster], "contexts": [context]}
    api.kubeconfig.write_text(json.dumps(config | {"users": [{"name": "me", "user": {"token": "t"}}]}))
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    api: FakeApi
    protocol_version = "HTTP/1.1"
    # Head and body in one segment: apart, each answer waits 40 ms for an acknowledgement.
    wbufsize = -1

    def do_GET(self) -> None:
        path, query = self._note()
        api = self.api
        if path in api.answer:
            return self._send(*api.answer[path])
        if path == "/version":
            return self._answer({"major": "1", "minor": "35+"})
        if path.startswith("/api/v1/namespaces/") and path.count("/") == 4:
            phase = api.namespaces.get(path.rpartition("/")[2])
            return self._answer({"status": {"phase": phase}}) if phase else self._absent(path)
        if path.endswith("/log"):
            return self._send(200, api.log.encode())
        if path == "/apis/metrics.k8s.io/v1beta1":
            return self._answer({})
        if query.get("watch"):
            return self._watch(path, query)
        if path in api.objects:
            return self._answer(api.objects[path])
        if path.rpartition("/")[2] in _LISTED:
            # Across all namespaces there is no namespace in the path.
            root, _, plural = path.rpartition("/")
            start = f"{path}/" if "/namespaces/" in path else f"{root}/namespaces/{NAMESPACE}/{plural}/"
            wanted = [pair.partition("=") for pair in query.get("labelSelector", "").split(",") if pair]
            items = [
                one
                for key, one in api.objects.items()
                if key.startswith(start) and _fits(one["metadata"].get("labels", {}), wanted)
            ]
            return self._answer({"items": items, "metadata": {"resourceVersion": api.version}})
        return self._absent(path)

    def do_PATCH(self) -> None:
        path, query = self._note()
        body = json.loads(self._body)
        if isinstance(body, list):
            changed = copy.deepcopy(self.api.objects[path])
            for change in body:
                if change["path"] == "/metadata/resourceVersion":
                    if change["value"] != changed["metadata"]["resourceVersion"]:
                        raise _RefusedError({"code": 409, "message": "the object has been modified"})
                else:
                    changed["metadata"][change["path"].rpartition("/")[2]] = change["value"]
            self._answer(self.api.put(path, changed))
            return
        if re.search(rb"\\ud[89ab]", self._body):
            # Read as YAML, which has no pairs of escapes.
            message = "error converting YAML to JSON: yaml: found invalid Unicode character escape code"
            raise _RefusedError({"code": 400, "message": message})
        if query["force"] == "false" and (status := self.api.once.pop(path, None)):
            raise _RefusedError(status)
        dry_run = query.get("dryRun") == "All"
        self._answer(self.api.apply(path, body, query["fieldManager"], dry_run=dry_run))

    def do_POST(self) -> None:
        path, _ = self._note()
        body = json.loads(self._body)
        if path.endswith("/selfsubjectaccessreviews"):
            wanted = body["spec"]["resourceAttributes"]
            body["status"] = {"allowed": (wanted["verb"], wanted["resource"]) not in self.api.forbid}
        if path == "/api/v1/namespaces":
            if body["metadata"]["name"] in self.api.namespaces:
                raise _RefusedError({"code": 409, "message": "already exists"})
            self.api.namespaces[body["metadata"]["name"]] = "Active"
        self._answer(body)

    def do_DELETE(self) -> None:
        path, _ = self._note()
        gone = self.api.objects.pop(path)
        self._answer(gone)
        # What the garbage collector does, a little later.
        threading.Timer(0.2, self.api.collect, (gone["metadata"]["uid"],)).start()

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except _RefusedError as refused:
            self._send(refused.status["code"], json.dumps(refused.status).encode())
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, *args: Any) -> None: ...

    def _note(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._last = parts.path.rpartition("/")[2]
        self.api.requests.append((self.command, parts.path, query, self.headers.get("Content-Type", "")))
        if self.api.down:
            raise ConnectionResetError
        verb = "WATCH" if query.get("watch") else self.command
        if waiting := self.api.refuse.get((verb, self._last)):
            raise _RefusedError(waiting.pop(0))
        return parts.path, query

    def _absent(self, path: str) -> None:
        self._send(404, json.dumps({"message": f"{path} not found"}).encode())

    def _answer(self, answer: Object) -> None:
        self._send(200, json.dumps(answer).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if warning := self.api.warnings.get(self._last):
            self.send_header("Warning", f'299 - "{warning}"')
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def _watch(self, path: str, query: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        for event in self.api.watch(path, int(query["resourceVersion"]), 1):
            line = json.dumps(event).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
        if self.api.down:
            raise ConnectionResetError
        self.wfile.write(b"0\r\n\r\n")


def _fits(labels: dict[str, str], wanted: list[tuple[str, str, str]]) -> bool:
    """Whether `labels` have every name of a selector, and its value where it has one."""
    return all(name in labels and (not equals or labels[name] == value) for name, equals, value in wanted)


class _RefusedError(Exception):
    def __init__(self, status: Object) -> None:
        super().__init__(status["message"])
        self.status = status
