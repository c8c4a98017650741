"""Registry, repository and cluster side by side: who is behind, since when, and what nobody could tell."""

from dataclasses import replace

import pytest

from servegen.gitops.drift import Committed, Live, Named, Unknown, compare, overriding, span
from servegen.values.gitops import Record
from servegen.values.image import ImageRef

NOW = 1_000_000.0
OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
IMAGE = ImageRef(registry="r.example.com", repository="ml/iris", tag="7", digest=OLD)
RECORD = Record(
    model_name="iris",
    version="7",
    image=IMAGE,
    environment="prod",
    uri="models:/iris@champion",
    pin="models:/iris/7",
    model_digest="sha256:" + "1" * 64,
    profile="9b1d",
)
REGISTRY = Named(uri="models:/iris@champion", name="champion", version="7")
GIT = Committed(record=RECORD, since=NOW - 300, built=IMAGE.pinned)
CLUSTER = Live(image=IMAGE.pinned, version="7", pin="models:/iris/7", pods=(IMAGE.pinned,) * 3)
MOVED = replace(REGISTRY, version="8", since=NOW - 7300)
OTHER = f"{IMAGE.name}@{NEW}"


def compared(registry=REGISTRY, git=GIT, cluster=CLUSTER):
    return compare("iris", "prod", registry, git, cluster, now=NOW)


def test_equal_legs_are_in_sync():
    one = compared()
    assert (one.registry, one.git, one.cluster, one.state) == ("v7", "v7", "v7", "in sync")
    assert one.findings == ()


@pytest.mark.parametrize(
    ("legs", "message", "behind", "since"),
    [
        ({"registry": MOVED}, "champion is v8 (since 2 h); git has v7", "git", NOW - 7300),
        (
            {"registry": replace(REGISTRY, version=None, why="the alias is not set")},
            "models:/iris@champion stands for no version: the alias is not set",
            None,
            None,
        ),
        (
            {
                "registry": MOVED,
                "git": replace(GIT, record=replace(RECORD, held="models:/iris/9\nmodels:/iris/8")),
            },
            "champion is v8 (since 2 h); git has v7, and holds back what was rolled back",
            None,
            NOW - 7300,
        ),
        (
            {"registry": replace(MOVED, name="8", uri="models:/iris/8", since=None)},
            "models:/iris/8 is asked for; git has v7",
            "git",
            None,
        ),
        (
            {"git": Committed(record=None), "cluster": Live(image=None)},
            "champion is v7; git has no release",
            "git",
            None,
        ),
        (
            {"registry": Unknown(why="x"), "git": Committed(record=None)},
            "git has no release; the cluster runs v7",
            "git",
            None,
        ),
        (
            {"cluster": Live(image=None)},
            "git has v7 (since 5 min); the cluster runs nothing",
            "cluster",
            NOW - 300,
        ),
        (
            {"cluster": replace(CLUSTER, image=OTHER, version="8", pods=(), differences=("noise",))},
            f"git has v7 (since 5 min), {OLD[:19]}…; the cluster v8, {NEW[:19]}…: not synced, or edited",
            "cluster",
            NOW - 300,
        ),
        (
            {"cluster": replace(CLUSTER, pods=(IMAGE.pinned, OTHER, IMAGE.pinned))},
            f"1 of 3 pods still on {NEW[:19]}…",
            "cluster",
            None,
        ),
        (
            {"cluster": replace(CLUSTER, differences=("Service spec.ports is 1, wanted is 2",))},
            "Service spec.ports is 1, wanted is 2",
            None,
            None,
        ),
        (
            {"registry": replace(REGISTRY, digest="sha256:" + "2" * 64)},
            "models:/iris/7 was overwritten in place: its files are not those that were packaged",
            None,
            None,
        ),
        (
            {
                "git": replace(GIT, built=OTHER),
                "cluster": replace(CLUSTER, image=OTHER, pods=(OTHER,)),
            },
            f"what is built runs {NEW[:19]}…, the release is {OLD[:19]}…",
            None,
            None,
        ),
        (
            {"registry": MOVED, "git": Unknown(why="no repository is named")},
            "champion is v8 (since 2 h); the cluster runs v7",
            "cluster",
            NOW - 7300,
        ),
    ],
)
def test_a_difference_says_who_is_behind_and_since_when(legs, message, behind, since):
    one = compared(**legs)
    (found,) = [each for each in one.findings if each.kind == "drift"]
    assert (found.message, found.behind, found.since) == (message, behind, since)
    assert one.state == "drift"


@pytest.mark.parametrize(
    ("legs", "state"),
    [
        ({"cluster": Unknown(why="no kubeconfig")}, "in part"),
        ({"cluster": Unknown(why="a"), "registry": Unknown(why="b")}, "not checked"),
        ({"cluster": replace(CLUSTER, unchecked="may not ask")}, "in part"),
    ],
)
def test_what_nobody_could_ask_is_never_equal(legs, state):
    one = compared(**legs)
    assert one.state == state
    assert {each.kind for each in one.findings} == {"not checked"}
    assert all("not checked: " in each.message for each in one.findings)
    assert (one.cluster == "not checked") is isinstance(legs["cluster"], Unknown)


def test_what_an_overlay_overrides_and_an_old_profile_are_warnings():
    git = replace(GIT, overriding=("overlays/prod/kustomization.yaml",), measured=NEW)
    one = compared(git=git)
    assert one.state == "in sync"
    assert [each.message for each in one.findings] == [
        "overlays/prod/kustomization.yaml sets the image itself under `images`, which wins over the release",
        f"profile 9b1d was measured on another image, {NEW[:19]}…",
    ]


@pytest.mark.parametrize(
    ("overlay", "found"),
    [
        ({"images": [{"name": IMAGE.name, "newTag": "6"}]}, True),
        ({"images": [{"name": "other", "newTag": "6"}, {"name": IMAGE.name, "digest": OLD}]}, True),
        ({"images": [{"name": "other", "newTag": "6"}]}, False),
        ({"images": [{"name": IMAGE.name}]}, False),
        ({"images": "odd"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_an_entry_of_the_overlay_for_our_image_wins_over_the_release(overlay, found):
    assert overriding(overlay, IMAGE.name) is found


def test_spans_are_told_in_their_largest_unit():
    assert [span(one) for one in (-5, 0, 59, 60, 7300, 86400 * 3)] == [
        "0 s",
        "0 s",
        "59 s",
        "1 min",
        "2 h",
        "3 d",
    ]
