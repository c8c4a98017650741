"""tests/e2e/test_patches.py compares the same with `kubectl patch`."""

import pytest

from servegen.errors import RenderError
from servegen.kube import objects
from servegen.kube.patch import patched
from tests.kube.deployments import deployment

POD = {
    "kind": "Deployment",
    "spec": {
        "replicas": 2,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "server",
                        "image": "a",
                        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                        "ports": [{"containerPort": 3000, "name": "http"}],
                        "args": ["x", "y"],
                    }
                ],
                "tolerations": [{"key": "a"}],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            }
        },
    },
}
"""What tests/e2e/test_patches.py gives to kubectl, too."""
PATCHES = {
    "a field is set": {"spec": {"replicas": 3}},
    "null takes a field away": {"spec": {"replicas": None}},
    "a mapping is merged": {"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": 0}}}},
    "a mapping is replaced": {"spec": {"strategy": {"$patch": "replace", "type": "Recreate"}}},
    "a mapping is deleted": {"spec": {"strategy": {"$patch": "delete"}}},
    "keys are retained": {
        "spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}},
    },
    "containers by name": {
        "spec": {"template": {"spec": {"containers": [{"name": "server", "image": "b"}]}}}
    },
    "a container more": {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "b"}]}}}},
    "env by name": {
        "spec": {
            "template": {
                "spec": {
                    "containers": [
                        {"name": "server", "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]}
                    ]
                }
            }
        }
    },
    "env deleted": {
        "spec": {
            "template": {
                "spec": {"containers": [{"name": "server", "env": [{"name": "A", "$patch": "delete"}]}]}
            }
        }
    },
    "ports by number": {
        "spec": {
            "template": {
                "spec": {
                    "containers": [{"name": "server", "ports": [{"containerPort": 3000, "name": "web"}]}]
                }
            }
        }
    },
    "other lists are replaced": {
        "spec": {
            "template": {
                "spec": {
                    "tolerations": [{"key": "b"}],
                    "containers": [{"name": "server", "args": ["z"]}],
                }
            }
        }
    },
    "a list with keys is replaced": {
        "spec": {"template": {"spec": {"volumes": [{"$patch": "replace"}, {"name": "new", "emptyDir": {}}]}}}
    },
}


def result(name):
    return patched(POD, PATCHES[name])["spec"]


def server(spec):
    return spec["template"]["spec"]["containers"][0]


def test_patches_merge_as_kubernetes_does():
    assert result("a field is set")["replicas"] == 3
    assert "replicas" not in result("null takes a field away")
    assert result("a mapping is merged")["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert result("a mapping is replaced")["strategy"] == {"type": "Recreate"}
    assert result("a mapping is deleted")["strategy"] == {}
    assert result("keys are retained")["strategy"] == {"type": "Recreate"}
    assert server(result("containers by name"))["image"] == "b"
    assert [one["name"] for one in result("a container more")["template"]["spec"]["containers"]] == [
        "server",
        "side",
    ]
    assert [one["value"] for one in server(result("env by name"))["env"]] == ["1", "3", "4"]
    assert [one["name"] for one in server(result("env deleted"))["env"]] == ["B"]
    assert server(result("ports by number"))["ports"] == [{"containerPort": 3000, "name": "web"}]
    assert server(result("other lists are replaced"))["args"] == ["z"]
    assert result("other lists are replaced")["template"]["spec"]["tolerations"] == [{"key": "b"}]
    volumes = result("a list with keys is replaced")["template"]["spec"]["volumes"]
    assert volumes == [{"name": "new", "emptyDir": {}}]


def test_a_patch_leaves_the_object_it_is_given_as_it_was():
    before = repr(POD)
    for name in PATCHES:
        result(name)
    assert repr(POD) == before


@pytest.mark.parametrize("name", PATCHES)
def test_a_patch_that_is_applied_twice_changes_nothing_more(name):
    once = patched(POD, PATCHES[name])
    assert patched(once, PATCHES[name]) == once


CONTAINER = {"name": "server", "securityContext": {"privileged": True}}
WAITS = {"name": "server", "env": [{"name": "SERVEGEN_DRAIN_TIMEOUT", "value": "long"}]}


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({"kind": "Ingress"}, "there is no Ingress to patch"),
        ({"spec": {}}, "there is no object without kind to patch"),
        ({"kind": "Service", "metadata": {"name": "other"}}, "it changes metadata.name of the Service"),
        (
            {"kind": "Service", "metadata": {"labels": {"servegen.dev/instance": "x"}}},
            "it changes the labels of the Service",
        ),
        (
            {"kind": "Deployment", "spec": {"selector": {"matchLabels": {"a": "b"}}}},
            "it changes spec.selector",
        ),
        (
            {"kind": "Deployment", "spec": {"template": {"spec": {"containers": [CONTAINER]}}}},
            "container server is privileged",
        ),
        ({"kind": "Deployment", "spec": {"replicas": 2}}, "sets replicas although"),
        ({"kind": "Deployment", "spec": {"template": None}}, 'spec: "template" is a required property'),
        ({"kind": "Deployment", "spec": "x"}, "would refuse spec: "),
        ({"kind": "HorizontalPodAutoscaler", "spec": {"minReplicas": None}}, "it takes minReplicas away"),
        (
            {"kind": "Deployment", "spec": {"template": {"spec": {"containers": [WAITS]}}}},
            "SERVEGEN_DRAIN_TIMEOUT=long, which is no number",
        ),
        (
            {"kind": "Deployment", "spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}},
            "has no name",
        ),
        (
            {"kind": "Service", "spec": {"$setElementOrder/ports": []}},
            "there is no directive $setElementOrder",
        ),
        ({"kind": "Service", "spec": {"$patch": "merge-it"}}, "$patch is 'merge-it' in spec"),
    ],
)
def test_a_patch_that_breaks_something_is_named(patch, words):
    fine = {"kind": "Service", "spec": {"type": "NodePort"}}
    with pytest.raises(RenderError) as caught:
        objects.build(deployment(patches=(fine, patch)))
    assert str(caught.value).startswith("deploy.patches[1]: ")
    assert words in str(caught.value)
    assert caught.value.hint
