"""One namespace of one API server: get, list, apply, delete, watch and logs of plain objects."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from servegen.errors import ClusterUnreachableError, DeployError
from servegen.kube import Object
from servegen.kube.connection import Connection, Lost, connect
from servegen.kube.options import ClusterOptions
from servegen.kube.refusal import RefusalError, refusal
from servegen.values.deployment import KubeVersion

RETRY_SECONDS = 60
_BUSY = (429, 502, 503, 504)
_PLURALS = {
    ("apps/v1", "Deployment"): "deployments",
    ("apps/v1", "ReplicaSet"): "replicasets",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "horizontalpodautoscalers",
    ("policy/v1", "PodDisruptionBudget"): "poddisruptionbudgets",
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

    def __init__(self, connection: Connection, *, namespace: str | None = None) -> None:
        self._connection = connection
        self._plurals = dict(_PLURALS)
        self._reached = False
        self.namespace = namespace or connection.namespace
        self.context = connection.context

    @classmethod
    def connect(cls, options: ClusterOptions) -> Cluster:
        """A client for the kubeconfig and context of `options`; nothing is sent yet."""
        return cls(connect(options))

    def within(self, namespace: str) -> Cluster:
        """The same server, another namespace."""
        return Cluster(self._connection, namespace=namespace)

    def version(self) -> KubeVersion:
        """The server's version."""
        answer = self._json("get", "/version")
        return KubeVersion.parse(f"{answer['major']}.{answer['minor']}")

    def serves(self, group_version: str) -> bool:
        """Whether the server knows the API `group_version`, such as `metrics.k8s.io/v1beta1`."""
        try:
            self._json("get", f"/apis/{group_version}")
        except RefusalError as exc:
            if exc.status in (403, 404, 503):
                return exc.status == 403
            raise
        return True

    def has_namespace(self) -> bool:
        """Whether the namespace exists; True where we may not know."""
        try:
            self._json("get", f"/api/v1/namespaces/{self.namespace}")
        except RefusalError as exc:
            if exc.status == 403:
                return True
            if exc.status == 404:
                return False
            raise
        return True

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
        return self._send("patch", path, query, body=one, content_type="application/apply-patch+yaml")

    def create(self, one: Object, *, dry_run: bool = False) -> Answer:
        """Create `one`; with `dry_run` only ask whether the server would."""
        path = self._path(one["apiVersion"], one["kind"])
        return self._send("post", path, {"dryRun": "All" if dry_run else ""}, body=one)

    def delete(self, one: Object) -> None:
        """Delete exactly the object `one` was read as, its dependents in the background."""
        path = f"{self._path(one['apiVersion'], one['kind'])}/{one['metadata']['name']}"
        preconditions = {"uid": one["metadata"]["uid"]}
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions}
        self._send("delete", path, {"propagationPolicy": "Background"}, body=body)

    def log(self, pod: str, container: str, *, previous: bool, lines: int) -> str:
        """The last `lines` of a container's log; raises RefusalError when the container is gone."""
        query = {"container": container, "previous": str(previous).lower(), "tailLines": str(lines)}
        response = self._request("get", f"{self._path('v1', 'Pod')}/{pod}/log", query)
        return bytes(response.data).decode("utf-8", "replace")

    def watch(
        self, api_version: str, kind: str, *, labels: str, fields: str, since: str, seconds: int
    ) -> Iterator[tuple[str, Object]]:
        """Changes after the resource version `since` as (type, object), for at most `seconds`."""
        query = {
            "watch": "true",
            "labelSelector": labels,
            "fieldSelector": fields,
            "resourceVersion": since,
            "timeoutSeconds": str(seconds),
        }
        path = self._path(api_version, kind)
        response = self._once("get", path, query, read_timeout=seconds + 5)
        for line in self._connection.lines(response):
            event = json.loads(line)
            if event["type"] == "ERROR":
                status = event["object"]
                code = int(status.get("code", 500))
                raise refusal(code, json.dumps(status), verb="watch", path=path, context=self.context)
            yield event["type"], event["object"]

    def _path(self, api_version: str, kind: str) -> str:
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        plural = self._plurals.get((api_version, kind))
        if plural is None:
            plural = self._plurals[api_version, kind] = self._discover(root, kind)
        return f"{root}/namespaces/{self.namespace}/{plural}"

    def _discover(self, root: str, kind: str) -> str:
        try:
            resources = self._json("get", root)["resources"]
        except RefusalError as exc:
            if exc.status != 404:
                raise
            resources = []
        for resource in resources:
            if resource["kind"] == kind and "/" not in resource["name"]:
                return str(resource["name"])
        msg = f"the cluster of context {self.context} has no kind {kind} in {root.partition('s/')[2]}"
        raise DeployError(msg, hint="install the operator that brings it, or render without that object")

    def _json(self, verb: str, path: str, query: Mapping[str, str] | None = None) -> Object:
        return cast(Object, json.loads(self._request(verb, path, query or {}).data))

    def _send(
        self, verb: str, path: str, query: Mapping[str, str], *, body: Object, content_type: str = ""
    ) -> Answer:
        response = self._request(verb, path, query, body=body, content_type=content_type)
        found = [_WARNING.finditer(text) for text in response.headers.getlist("Warning")]
        warnings = tuple(re.sub(r"\\(.)", r"\1", match[1]) for matches in found for match in matches)
        return Answer(object=json.loads(response.data), warnings=warnings)

    def _request(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: Object | None = None,
        content_type: str = "",
    ) -> Any:
        """One request, repeated while the server is busy or away; everything we send is idempotent."""
        deadline = time.monotonic() + RETRY_SECONDS
        pause = 0.5
        while True:
            try:
                return self._once(verb, path, query, body=body, content_type=content_type)
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
        body: Object | None = None,
        content_type: str = "",
        read_timeout: float = 30,
    ) -> Any:
        try:
            response = self._connection.request(
                verb, path, query, body=body, content_type=content_type, read_timeout=read_timeout
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
