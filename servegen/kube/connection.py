"""Opens the connection that kubeconfig describes; all use of the `kubernetes` package is in this file.

The package's DynamicClient brings credentials, TLS and proxies. Its discovery is left out: it keeps a
cache in the temporary folder that outlives the cluster it describes.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from servegen.errors import ClusterUnreachableError, NamespaceError
from servegen.kube import Object, names
from servegen.kube.options import ClusterOptions
from servegen.kube.refusal import one_line

CONNECT_SECONDS = 3
_DEFAULT = "~/.kube/config"
_POD_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Lost(Exception):  # noqa: N818 (not an error of ours: the client turns it into one)
    """The server did not answer."""


@dataclass(frozen=True)
class _Reply:
    status: int
    data: bytes
    headers: Any


class Connection:
    """Sends requests with the credentials of one context."""

    def __init__(self, dynamic: Any, *, server: str, context: str, namespace: str) -> None:
        self._dynamic = dynamic
        self.server = server
        self.context = context
        self.namespace = namespace

    def request(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: Object | Sequence[Object] | bytes | None,
        content_type: str,
        read_timeout: float,
    ) -> Any:
        """The response, unread, whatever its status; raises Lost when there is none."""
        from kubernetes.dynamic.exceptions import DynamicApiError
        from urllib3.exceptions import HTTPError

        try:
            return self._dynamic.request(
                verb,
                path,
                body=body,
                content_type=content_type or None,
                query_params=[(key, value) for key, value in query.items() if value],
                _request_timeout=(CONNECT_SECONDS, read_timeout),
                serialize=False,
            )
        except DynamicApiError as exc:
            if not exc.status:
                raise Lost(one_line(str(exc.reason))) from exc
            content = exc.body if isinstance(exc.body, bytes) else str(exc.body or "").encode()
            return _Reply(int(exc.status), content, exc.headers)
        except (HTTPError, OSError) as exc:
            raise Lost(_cause(exc)) from exc

    def forward(self, namespace: str, pod: str, port: int) -> socket.socket:
        """A stream to `port` of a pod; raises Lost with the server's words when there is none."""
        from kubernetes import client, stream

        # A client of its own: the package replaces a method of it while it opens the stream.
        api = client.CoreV1Api(client.ApiClient(self._dynamic.client.configuration))
        try:
            made = stream.portforward(
                api.connect_get_namespaced_pod_portforward, pod, namespace, ports=str(port)
            )
        except client.ApiException as exc:
            said = re.search(r'"message":"((?:[^"\\]|\\.)*)"', str(exc.reason))
            raise Lost(one_line(said[1] if said else str(exc.reason), 200)) from exc
        return cast("socket.socket", made.socket(port))

    @staticmethod
    def lines(response: Any) -> Iterator[bytes]:
        """The lines of a response as they arrive; raises Lost when the stream breaks."""
        from urllib3.exceptions import HTTPError

        rest = b""
        try:
            for chunk in response.stream(amt=None, decode_content=False):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from (line for line in whole if line.strip())
        except (HTTPError, OSError) as exc:
            raise Lost(_cause(exc)) from exc
        finally:
            with contextlib.suppress(HTTPError, OSError):
                response.close()


def connect(options: ClusterOptions) -> Connection:
    """The connection for `options`; raises ClusterUnreachableError when no configuration fits."""
    from kubernetes import client, dynamic

    configuration = client.Configuration()
    # Fail at once: whether to try again is decided in one place, by the caller.
    configuration.retries = False
    # Only kept, not opened ahead: a fleet has two watches and a request for each of its workers.
    configuration.connection_pool_maxsize = 64
    where = options.kubeconfig or _DEFAULT
    try:
        with _complaints() as complaints:
            context, namespace = _load(options, configuration)
    except Exception as exc:
        # The package checks no types, and providers of credentials raise whatever they like.
        msg = f"{where} describes no cluster to use: {one_line(str(exc))}"
        raise ClusterUnreachableError(
            msg, hint="set KUBECONFIG or --context; kubectl config get-contexts lists what there is"
        ) from exc
    if not names.is_subdomain(namespace):
        # It becomes part of a path, in which .. would lead somewhere else.
        msg = f"{namespace!r} is not a namespace's name"
        raise NamespaceError(
            msg, hint="use a-z, 0-9 and -: --namespace NAME, deploy.namespace, or the context's"
        )
    if complaints:
        msg = f"the credentials of context {context} cannot be had: {one_line(complaints[0])}"
        raise ClusterUnreachableError(msg, hint=f"log in again; the user of that context in {where} says how")
    if not all(key.isascii() and key.isprintable() for key in configuration.api_key.values()):
        msg = f"the token of context {context} contains a line break, or a character that no token has"
        raise ClusterUnreachableError(msg, hint=f"write it in one line in {where}, or log in again")
    api = dynamic.DynamicClient(client.ApiClient(configuration), discoverer=lambda *_: None)
    return Connection(api, server=str(configuration.host), context=context, namespace=namespace)


def _load(options: ClusterOptions, configuration: Any) -> tuple[str, str]:
    """Fill `configuration`; the name of the context and the namespace to use."""
    from kubernetes import config

    path = options.kubeconfig or str(Path(_DEFAULT).expanduser())
    if options.kubeconfig is None and not Path(path).exists() and _POD_TOKEN.exists():
        config.load_incluster_config(client_configuration=configuration)
        return "in-cluster", options.namespace or (_POD_TOKEN / "namespace").read_text().strip()
    config.load_kube_config(config_file=path, context=options.context, client_configuration=configuration)
    contexts, current = config.list_kube_config_contexts(config_file=path)
    name = options.context or current["name"]
    chosen = next(one for one in contexts if one["name"] == name)
    return name, options.namespace or chosen["context"].get("namespace") or "default"


@contextlib.contextmanager
def _complaints() -> Iterator[list[str]]:
    """What the package logs as errors: when a credential plugin fails, it goes on without a login."""
    texts: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: texts.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield texts
    finally:
        root.removeHandler(handler)


def _cause(exc: Exception) -> str:
    """The innermost reason, in the words of the operating system where it has some."""
    inner: Any = exc
    while (deeper := getattr(inner, "reason", None)) and isinstance(deeper, Exception):
        inner = deeper
    inner = inner.__cause__ or inner
    text = getattr(inner, "strerror", None) or str(inner)
    return one_line(str(text), 200)
