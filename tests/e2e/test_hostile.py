"""Hostile strings at the API server: a value is kept as it was given, or refused before it gets there.

What kubectl and helm read is compared in test_formats.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from servegen.errors import RenderError
from servegen.kube import objects
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.kube.refusal import RefusalError
from servegen.planning.deployment import plan
from servegen.values.deployment import Settings
from tests.kube.deployments import image
from tests.kube.hazards import HAZARDS
from tests.kube.test_objects import by_kind
from tests.renderers.configurations import CONFIGURATIONS, IMAGES

pytest_plugins = ("tests.e2e.kubernetes",)
pytestmark = pytest.mark.e2e


def test_there_are_as_many_as_were_promised() -> None:
    assert len(set(HAZARDS)) == len(HAZARDS) >= 83


def test_variables_and_annotations_are_kept(options: ClusterOptions) -> None:
    hostile = CONFIGURATIONS["hostile"]
    cluster = Cluster.connect(options)
    settings = replace(hostile, namespace=options.namespace)
    for one in objects.build(plan(IMAGES["hostile"], settings)):
        kept = cluster.apply(one, manager="servegen", dry_run=True).object
        assert kept["metadata"]["annotations"].items() >= one["metadata"]["annotations"].items()
        assert kept["metadata"]["labels"] == one["metadata"]["labels"]
        if one["kind"] == "Deployment":
            (container,) = kept["spec"]["template"]["spec"]["containers"]
            values = {each["name"]: each.get("value", "") for each in container["env"]}
            assert {name: values[name] for name in hostile.env} == hostile.env


def test_a_label_is_kept_or_refused_by_us_as_the_server_would(options: ClusterOptions) -> None:
    cluster = Cluster.connect(options)
    kept, refused = {}, []
    for index, text in enumerate(HAZARDS):
        try:
            plan(image(), Settings(labels={"example.com/hazard": text}))
        except RenderError as exc:
            assert "deploy.labels" in str(exc)
            refused.append(text)
        else:
            kept[f"example.com/hazard-{index}"] = text
    assert kept
    assert refused
    service = by_kind(objects.build(plan(image(), Settings(namespace=options.namespace, labels=kept))))[
        "Service"
    ]
    answer = cluster.apply(service, manager="servegen", dry_run=True)
    assert answer.object["metadata"]["labels"].items() >= kept.items()
    for text in refused:
        one = {"apiVersion": "v1", "kind": "ConfigMap"}
        metadata = {"name": "x", "namespace": options.namespace, "labels": {"hazard": text}}
        with pytest.raises(RefusalError):
            cluster.apply({**one, "metadata": metadata}, manager="servegen", dry_run=True)


def test_a_model_of_any_name_gets_objects_that_the_server_takes(options: ClusterOptions) -> None:
    cluster = Cluster.connect(options)
    names = set()
    for text in filter(None, HAZARDS):
        deployment = plan(image(model_name=text), Settings(namespace=options.namespace))
        names.add(deployment.name)
        service = by_kind(objects.build(deployment))["Service"]
        answer = cluster.apply(service, manager="servegen", dry_run=True)
        assert answer.object["metadata"]["annotations"]["servegen.dev/model-name"] == text
    assert len(names) == len(HAZARDS) - 1
