"""An API server in this process, for tests of the target k8s."""

import pytest

from servegen.kube.options import ClusterOptions
from tests.kube import fake_api


@pytest.fixture
def api(tmp_path):
    """The server, which knows what it was asked."""
    with fake_api.running(tmp_path) as server:
        yield server


@pytest.fixture
def options(api):
    """How to reach it; pods have five seconds."""
    return ClusterOptions(kubeconfig=str(api.kubeconfig), timeout_seconds=5)
