"""Rules of other tools that are broken on purpose."""

from __future__ import annotations

from click.testing import CliRunner

from servegen.cli.render import command
from servegen.kube import objects
from servegen.kube.exceptions import WAIVED, suppressing
from servegen.planning.deployment import plan
from servegen.values.deployment import Settings
from tests.kube.deployments import image
from tests.kube.test_objects import by_kind


def test_no_rule_is_listed_twice() -> None:
    assert len({(one.tool, one.id, one.kind) for one in WAIVED}) == len(WAIVED)


def test_suppressions_are_annotations_beside_those_of_users() -> None:
    settings = suppressing(Settings(annotations={"example.com/contact": "ops"}))
    made = by_kind(objects.build(plan(image(), settings)))["Deployment"]
    annotations = made["metadata"]["annotations"]
    assert annotations["example.com/contact"] == "ops"
    assert annotations["checkov.io/skip1"].startswith("CKV_K8S_11=throttling")
    assert "container-resources" in annotations["kube-score/ignore"].split(",")
    assert not any("checkov" in key for key in made["spec"]["template"]["metadata"]["annotations"])


def test_no_reason_ends_checkov() -> None:
    # It splits the annotation at every one of them, and fails on two.
    assert not any("=" in one.reason for one in WAIVED)


def test_the_list_is_told_without_a_model() -> None:
    done = CliRunner().invoke(command, ["--explain-checks"])
    assert done.exit_code == 0
    assert all(one.id in done.output and one.reason in done.output for one in WAIVED)
