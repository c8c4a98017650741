"""Opens the connection that kubeconfig describes; all use of the `kubernetes` package is in this file.

The package's DynamicClient brings credentials, TLS and proxies. Its discovery is left out: it keeps a
cache in the temporary folder that outlives the cluster it describes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from servegen.errors import ClusterUnreachableError
from servegen.kube import Object
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
        body: Object | None,
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
    from kubernetes.config import ConfigException

    configuration = client.Configuration()
    # Fail at once: whether to try again is decided in one place, by the caller.
    configuration.retries = False
    configuration.connection_pool_maxsize = 16
    try:
        context, namespace = _load(options, configuration)
    except (ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError) as exc:
        where = options.kubeconfig or _DEFAULT
        msg = f"{where} describes no cluster to use: {one_line(str(exc))}"
        raise ClusterUnreachableError(
            msg, hint="set KUBECONFIG or --context; kubectl config get-contexts lists what there is"
        ) from exc
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


def _cause(exc: Exception) -> str:
    """The innermost reason, in the words of the operating system where it has some."""
    inner: Any = exc
    while (deeper := getattr(inner, "reason", None)) and isinstance(deeper, Exception):
        inner = deeper
    inner = inner.__cause__ or inner
    text = getattr(inner, "strerror", None) or str(inner)
    return one_line(str(text), 200)
