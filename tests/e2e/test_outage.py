"""A cluster whose API server goes away in the middle of a deploy, seen through a proxy that does so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from servegen.errors import ClusterUnreachableError
from servegen.kube.client import Answer, Cluster
from servegen.kube.options import ClusterOptions
from servegen.planning.deployment import plan
from servegen.progress import Silent
from servegen.targets.k8s import Kubernetes
from servegen.values.deployment import AutoscalingSettings, Deployment, ResourceSettings, Settings
from servegen.values.image import Image
from tests.e2e import proxy

pytest_plugins = ("tests.e2e.kubernetes",)
pytestmark = pytest.mark.e2e

SMALL = ResourceSettings(cpu="50m", memory="64Mi", ephemeral_storage="16Mi")
FIXED = Settings(
    resources=SMALL, min_ready_seconds=0, replicas=1, autoscaling=AutoscalingSettings(enabled=False)
)
SECONDS = 4


class Moments(Silent):
    """Calls `asked` before the first question, and `waiting` once pods are awaited."""

    def __init__(self, *, asked: Callable[[], None] = bool, waiting: Callable[[], None] = bool) -> None:
        self._asked, self._waiting = asked, waiting

    def step(self, text: str) -> None:
        if text.startswith("asking the cluster"):
            self._asked()

    def awaiting(self, title: str, states: Mapping[str, str]) -> None:
        self._waiting()


@pytest.fixture
def between(kubeconfig: str, tmp_path: Path) -> Iterator[tuple[proxy.Proxy, str]]:
    with proxy.before(kubeconfig, tmp_path) as made:
        yield made


def test_a_server_that_goes_away_is_named_in_time_and_a_second_deploy_goes_on(
    stub_image: Image,
    options: ClusterOptions,
    between: tuple[proxy.Proxy, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, kubeconfig = between
    through = replace(options, kubeconfig=kubeconfig, timeout_seconds=SECONDS)
    deployment = plan(stub_image, FIXED)

    def failure(moments: Moments, wanted: Deployment = deployment) -> ClusterUnreachableError:
        started = time.monotonic()
        with pytest.raises(ClusterUnreachableError) as caught:
            Kubernetes(options=through).deliver(wanted, progress=moments)
        # Far from the half minute that one answer may take where there is time.
        assert time.monotonic() - started < SECONDS + 20
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == ClusterUnreachableError.exit_code
        server.mode = "up"
        return caught.value

    def applied() -> list[str]:
        kinds = (("v1", "ServiceAccount"), ("v1", "Service"), ("apps/v1", "Deployment"))
        return [kind for version, kind in kinds if Cluster.connect(options).get(version, kind, "iris")]

    error = failure(Moments(asked=lambda: server.stop("cut")))
    assert "no cluster answers at https://127.0.0.1:" in str(error)
    assert applied() == []

    original = Cluster.apply

    def until_the_service(self: Cluster, one: dict[str, Any], **how: Any) -> Answer:
        answer = original(self, one, **how)
        if one["kind"] == "Service" and not how.get("dry_run"):
            server.stop("frozen")
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(Cluster, "apply", until_the_service)
        error = failure(Moments())
    assert applied() == ["ServiceAccount", "Service"]
    assert "applied: ServiceAccount iris, Service iris; not applied: Deployment iris" in error.details

    for mode in ("cut", "frozen"):
        # It never gets ready, so that there is something to wait for.
        silent = plan(stub_image, replace(FIXED, env={"MODE": "silent", "TRY": mode}))
        error = failure(Moments(waiting=lambda mode=mode: server.stop(mode)), silent)
        assert "stopped answering before the pods of iris were ready" in str(error)
        assert "the objects are applied" in error.hint
    assert applied() == ["ServiceAccount", "Service", "Deployment"]

    done = Kubernetes(options=replace(through, timeout_seconds=60)).deliver(deployment, progress=Silent())
    assert (done.ready, done.release) == (1, 1)
