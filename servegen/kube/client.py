"""One namespace of one API server: get, list, apply, delete, watch and logs of plain objects."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from servegen.errors import AbsentKindError, ClusterUnreachableError
from servegen.kube import Object
from servegen.kube.connection import Connection, Lost, connect
from servegen.kube.options import ClusterOptions
from servegen.kube.refusal import LoginError, RefusalError, refusal
from servegen.values.deployment import KubeVersion

RETRY_SECONDS = 60
READ_SECONDS = 30
HASTY_SECONDS = 5
"""How long an answer may take for those who ask again anyway."""
FOLLOW_SECONDS = 300
"""How long a log that is followed may be silent before the connection is renewed."""
_BUSY = (429, 502, 503, 504)
_PLURALS = {
    ("apps/v1", "Deployment"): "deployments",
    ("apps/v1", "ReplicaSet"): "replicasets",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "horizontalpodautoscalers",
    ("networking.k8s.io/v1", "Ingress"): "ingresses",
    ("networking.k8s.io/v1", "NetworkPolicy"): "networkpolicies",
    ("policy/v1", "PodDisruptionBudget"): "poddisruptionbudgets",
    ("v1", "ConfigMap"): "configmaps",
    ("v1", "Event"): "events",
    ("v1", "Pod"): "pods",
    ("v1", "Service"): "services",
    ("v1", "ServiceAccount"): "serviceaccounts",
}
"""Kinds that need no discovery."""
_WARNING = re.compile(r'\d{3} \S+ "((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An object as the server returned it, and what it warned about."""

    object: Object
    warnings: tuple[str, ...]


class Cluster:
    """Speaks with the API server about one namespace; safe to use from several threads."""

    def __init__(
        self,
        connection: Connection,
        *,
        namespace: str | None = None,
        hasty: bool = False,
        retry_seconds: int = RETRY_SECONDS,
    ) -> None:
        self._connection = connection
        self._plurals = dict(_PLURALS)
        self._everywhere: set[tuple[str, str]] = set()
        """Kinds of which no object is in a namespace."""
        self._reached = False
        self._retry_seconds = 0 if hasty else retry_seconds
        self._read_seconds = HASTY_SECONDS if hasty else READ_SECONDS
        self.namespace = connection.namespace if namespace is None else namespace
        """Empty: all of them, where only lists can be asked for."""
        self.context = connection.context

    @classmethod
    def connect(cls, options: ClusterOptions) -> Cluster:
        """A client for the kubeconfig and context of `options`; nothing is sent yet."""
        return cls(
            connect(options), retry_seconds=min(RETRY_SECONDS, options.timeout_seconds or RETRY_SECONDS)
        )

    def within(self, namespace: str) -> Cluster:
        """The same server, another namespace."""
        return Cluster(self._connection, namespace=namespace, retry_seconds=self._retry_seconds)

    def everywhere(self) -> Cluster:
        """The same server, all namespaces at once: for lists."""
        return Cluster(self._connection, namespace="")

    def hasty(self) -> Cluster:
        """The same server and namespace, every request sent once: for those who ask again anyway."""
        return Cluster(self._connection, namespace=self.namespace, hasty=True)

    def version(self) -> KubeVersion:
        """The server's version; raises ClusterUnreachableError when it is no Kubernetes that answers."""
        try:
            answer = self._json("get", "/version")
            return KubeVersion.parse(f"{answer.get('major')}.{answer.get('minor')}")
        except RefusalError as exc:
            if exc.status in (401, 403) or exc.status >= 429:
                raise
            raise self._strange() from exc
        except ValueError as exc:
            raise self._strange() from exc

    def serves(self, group_version: str) -> bool:
        """Whether the server knows the API `group_version`, such as `metrics.k8s.io/v1beta1`."""
        try:
            self._json("get", f"/apis/{group_version}")
        except RefusalError as exc:
            if exc.status in (403, 404, 503):
                return exc.status == 403
            raise
        return True

    def may(self, verb: str, api_version: str, kind: str) -> bool:
        """Whether our login allows `verb` on every `kind` of the namespace; True where nobody can tell."""
        resource = {
            "namespace": self.namespace,
            "verb": verb,
            "group": api_version.rpartition("/")[0].partition("/")[0],
            "resource": self._plural(api_version, kind),
        }
        api = "authorization.k8s.io/v1"
        review = {
            "apiVersion": api,
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": resource},
        }
        try:
            answer = self._send("post", f"/apis/{api}/selfsubjectaccessreviews", {}, body=review).object
        except RefusalError as exc:
            if exc.status in (403, 404):
                return True
            raise
        return bool(answer.get("status", {}).get("allowed", True))

    def phase(self) -> str:
        """`Active` or `Terminating` as the namespace is; `Absent` without one, `Active` if it is hidden."""
        try:
            found = self._json("get", f"/api/v1/namespaces/{self.namespace}")
        except LoginError:
            raise
        except RefusalError as exc:
            if exc.status == 403:
                return "Active"
            if exc.status == 404:
                return "Absent"
            raise
        return str(found.get("status", {}).get("phase", "Active"))

    def get(self, api_version: str, kind: str, name: str) -> Object | None:
        """The object, or None when it does not exist."""
        try:
            return self._json("get", f"{self._path(api_version, kind)}/{name}")
        except RefusalError as exc:
            if exc.status == 404:
                return None
            raise

    def live(self, one: Object) -> Object | None:
        """What the cluster has under the kind and name of `one`."""
        return self.get(one["apiVersion"], one["kind"], one["metadata"]["name"])

    def list(self, api_version: str, kind: str, *, labels: str = "", fields: str = "") -> Object:
        """The list object of all `kind` that fit both selectors."""
        query = {"labelSelector": labels, "fieldSelector": fields}
        return self._json("get", self._path(api_version, kind), query)

    def apply(self, one: Object, *, manager: str, force: bool = False, dry_run: bool = False) -> Answer:
        """Apply `one` server-side as `manager`; with `dry_run` the server only says what would be."""
        query = {"fieldManager": manager, "force": str(force).lower(), "dryRun": "All" if dry_run else ""}
        path = f"{self._path(one['apiVersion'], one['kind'])}/{one['metadata']['name']}"
        # Read as YAML there, which has no pairs of escapes for what lies beyond 16 bits, such as an emoji.
        body = json.dumps(one, ensure_ascii=False).encode()
        return self._send("patch", path, query, body=body, content_type="application/apply-patch+yaml")

    def create(self, one: Object, *, dry_run: bool = False) -> Answer:
        """Create `one`; with `dry_run` only ask whether the server would."""
        path = self._path(one["apiVersion"], one["kind"])
        return self._send("post", path, {"dryRun": "All" if dry_run else ""}, body=one)

    def patch(self, one: Object, operations: Sequence[Object]) -> None:
        """Change the object of that kind and name by a JSON patch."""
        path = f"{self._path(one['apiVersion'], one['kind'])}/{one['metadata']['name']}"
        query = {"fieldManager": "servegen"}
        self._send("patch", path, query, body=list(operations), content_type="application/json-patch+json")

    def delete(self, one: Object) -> None:
        """Delete exactly the object `one` was read as, its dependents in the background; gone is fine."""
        path = f"{self._path(one['apiVersion'], one['kind'])}/{one['metadata']['name']}"
        preconditions = {"uid": one["metadata"]["uid"]}
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions}
        try:
            self._send("delete", path, {"propagationPolicy": "Background"}, body=body)
        except RefusalError as exc:
            if exc.status != 404:
                raise

    def log(self, pod: str, container: str, *, previous: bool, lines: int | None) -> str:
        """The last `lines`, or all, of a container's log; raises RefusalError when the container is gone."""
        tail = "" if lines is None else str(lines)
        query = {"container": container, "previous": str(previous).lower(), "tailLines": tail}
        response = self._request("get", f"{self._path('v1', 'Pod')}/{pod}/log", query)
        return bytes(response.data).decode("utf-8", "replace")

    def follow_log(
        self, pod: str, container: str, *, since: str, lines: int | None
    ) -> Iterator[tuple[str, str]]:
        """A container's log as (time, text) as it is written, of what is there the last `lines`.

        From the second of the time `since` where that is not empty. Ends with the container, or in Lost.
        """
        query = {
            "container": container,
            "follow": "true",
            "timestamps": "true",
            "sinceTime": since,
            "tailLines": "" if lines is None or since else str(lines),
        }
        path = f"{self._path('v1', 'Pod')}/{pod}/log"
        for line in self._connection.lines(self._once("get", path, query, read_timeout=FOLLOW_SECONDS)):
            stamp, _, text = line.decode("utf-8", "replace").partition(" ")
            yield stamp, text

    def forward(self, pod: str, port: int) -> socket.socket:
        """A stream to `port` of a pod; raises Lost when the server opens none."""
        return self._connection.forward(self.namespace, pod, port)

    def watch(
        self, api_version: str, kind: str, *, labels: str, fields: str, since: str, seconds: int
    ) -> Iterator[tuple[str, Object]]:
        """Changes after the resource version `since` as (type, object), for at most `seconds`.

        The server has agreed once this returns; what is read later may still end in Lost.
        """
        query = {
            "watch": "true",
            "labelSelector": labels,
            "fieldSelector": fields,
            "resourceVersion": since,
            "timeoutSeconds": str(seconds),
        }
        path = self._path(api_version, kind)
        return self._events(self._once("get", path, query, read_timeout=seconds + 5), path)

    def _events(self, response: Any, path: str) -> Iterator[tuple[str, Object]]:
        for line in self._connection.lines(response):
            event = self._object(line)
            if event["type"] == "ERROR":
                status = event["object"]
                code = int(status.get("code", 500))
                raise refusal(code, json.dumps(status), verb="watch", path=path, context=self.context)
            yield event["type"], event["object"]

    def _path(self, api_version: str, kind: str) -> str:
        plural = self._plural(api_version, kind)
        placed = self.namespace and (api_version, kind) not in self._everywhere
        return f"{_root(api_version)}{f'/namespaces/{self.namespace}' if placed else ''}/{plural}"

    def _plural(self, api_version: str, kind: str) -> str:
        if (api_version, kind) not in self._plurals:
            found = self._discover(_root(api_version), kind)
            if not found.get("namespaced", True):
                self._everywhere.add((api_version, kind))
            self._plurals[api_version, kind] = str(found["name"])
        return self._plurals[api_version, kind]

    def _discover(self, root: str, kind: str) -> Object:
        try:
            resources = self._json("get", root)["resources"]
        except RefusalError as exc:
            if exc.status != 404:
                raise
            resources = []
        for resource in resources:
            if resource["kind"] == kind and "/" not in resource["name"]:
                return dict(resource)
        msg = f"the cluster of context {self.context} has no kind {kind} in {root.partition('s/')[2]}"
        raise AbsentKindError(msg, hint="install the operator that brings it, or render without that object")

    def _json(self, verb: str, path: str, query: Mapping[str, str] | None = None) -> Object:
        return self._object(self._request(verb, path, query or {}).data)

    def _object(self, text: bytes) -> Object:
        try:
            found = json.loads(text)
        except ValueError as exc:
            raise self._strange() from exc
        if not isinstance(found, dict):
            raise self._strange()
        return found

    def _strange(self) -> ClusterUnreachableError:
        msg = (
            f"what answers at {self._connection.server} (context {self.context}) is no Kubernetes API server"
        )
        return ClusterUnreachableError(
            msg, hint="is the address in the kubeconfig right, and is a proxy or a login page in between?"
        )

    def _send(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: Object | Sequence[Object] | bytes,
        content_type: str = "",
    ) -> Answer:
        response = self._request(verb, path, query, body=body, content_type=content_type)
        found = [_WARNING.finditer(text) for text in response.headers.getlist("Warning")]
        warnings = tuple(re.sub(r"\\(.)", r"\1", match[1]) for matches in found for match in matches)
        return Answer(object=self._object(response.data), warnings=warnings)

    def _request(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: Object | Sequence[Object] | bytes | None = None,
        content_type: str = "",
    ) -> Any:
        """One request, repeated while the server is busy or away; everything we send is idempotent."""
        deadline = time.monotonic() + self._retry_seconds
        pause = 0.5
        while True:
            # A server that took the request and fell silent must not outlast the time there is, either.
            left = max(HASTY_SECONDS, deadline - time.monotonic())
            try:
                return self._once(
                    verb,
                    path,
                    query,
                    body=body,
                    content_type=content_type,
                    read_timeout=min(self._read_seconds, left),
                )
            except (ClusterUnreachableError, RefusalError) as exc:
                busy = exc.status in _BUSY if isinstance(exc, RefusalError) else self._reached
                if not busy or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 8)

    def _once(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: Object | Sequence[Object] | bytes | None = None,
        content_type: str = "",
        read_timeout: float,
    ) -> Any:
        try:
            response = self._connection.request(
                verb,
                path,
                query,
                body=body,
                content_type=content_type,
                read_timeout=read_timeout,
            )
        except Lost as exc:
            msg = f"no cluster answers at {self._connection.server} (context {self.context}): {exc}"
            raise ClusterUnreachableError(
                msg, hint="is it running, and is this the context you mean? kubectl config get-contexts"
            ) from exc
        self._reached = True
        if not 200 <= response.status <= 299:
            text = bytes(response.data).decode("utf-8", "replace")
            raise refusal(response.status, text, verb=verb, path=path, context=self.context)
        return response


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
