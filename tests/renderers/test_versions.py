"""Every configuration for every supported Kubernetes: no field that this version would refuse."""

from __future__ import annotations

import kubernetes_validate
import pytest
import yaml

from servegen.kube import strict, versions
from servegen.renderers.manifests import Manifests
from servegen.values.deployment import KubeVersion
from tests.renderers.configurations import CONFIGURATIONS, VERSIONS, planned

CUSTOM = ("PodMonitor", "ServiceMonitor", "ScaledObject", "HTTPRoute")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_what_is_written_for_a_version_is_strictly_valid_there(name: str, version: str) -> None:
    target = KubeVersion.parse(version)
    written = list(yaml.safe_load_all(Manifests().stream(planned(name, version))))
    assert {one["kind"] for one in written} >= {"Deployment", "Service", "ServiceAccount"}
    assert [text for one in written for text in strict.problems(one, target)] == []
    assert all(strict.knows(one, target) for one in written)


def test_the_package_that_the_schemas_come_from_agrees() -> None:
    for name in ("everything", "added", "keda"):
        for one in yaml.safe_load_all(Manifests().stream(planned(name, str(versions.DEFAULT)))):
            if one["kind"] not in CUSTOM:
                kubernetes_validate.validate(one, str(versions.DEFAULT), strict=True)
