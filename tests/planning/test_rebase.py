from dataclasses import replace

import pytest

from servegen.errors import BaseImageError
from servegen.planning.image import plan
from servegen.planning.rebase import base_spec, check_swap, extra_packages, is_on, swapped_env, swapped_labels
from tests.planning.test_image import BASE, PACKAGES, environment

OLD = replace(BASE, glibc=(2, 36), extra=("libgl1",))
NEW = replace(OLD, digest="sha256:" + "e" * 64, layers=("new",))


@pytest.fixture
def labels(model):
    return dict(plan(model, environment(*PACKAGES), OLD, "uvicorn", (), "zstd").labels)


def test_labels_name_the_new_base_and_keep_everything_else(labels, model):
    swapped = dict(swapped_labels(labels, NEW))
    again = dict(plan(model, environment(*PACKAGES), NEW, "uvicorn", (), "zstd").labels)
    assert swapped == again
    assert swapped != labels
    assert not is_on(labels, NEW)
    assert is_on(swapped, NEW)


def test_a_base_without_extra_packages_leaves_no_label_of_them(labels):
    assert extra_packages(labels) == ("libgl1",)
    assert extra_packages(dict(swapped_labels(labels, replace(NEW, extra=())))) == ()


def test_variables_of_the_old_base_go_and_ours_stay(model):
    settings = [("SERVEGEN_BATCH_MAX_ROWS", "1")]
    old = replace(OLD, env=(("PATH", "/old/bin"), ("FROM_OLD", "1")))
    env = plan(model, environment(), old, "uvicorn", (), "zstd", settings).env
    swapped = dict(swapped_env(env, "uvicorn", replace(NEW, env=(("FROM_NEW", "1"), ("PATH", "/new/bin")))))
    assert swapped["PATH"] == "/opt/servegen/bin:/new/bin"
    assert "FROM_OLD" not in swapped
    assert (swapped["FROM_NEW"], swapped["SERVEGEN_BATCH_MAX_ROWS"]) == ("1", "1")


def test_the_environment_is_as_if_packaged_on_the_new_base(model):
    old = plan(model, environment(), OLD, "uvicorn", (), "zstd").env
    assert swapped_env(old, "uvicorn", NEW) == old


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"python": "3.13"}, r"the image has Python 3\.11, the base debian:bookworm has 3\.13"),
        ({"interpreter": "/usr/local/bin/python3.11"}, r"the image starts /usr/bin/python3\.11"),
        ({"glibc": (2, 31)}, r"has glibc 2\.31, the image was built for 2\.36"),
        ({"glibc": ()}, r"has glibc none"),
    ],
)
def test_a_base_that_the_wheels_could_not_run_on_is_refused(labels, change, said):
    with pytest.raises(BaseImageError, match=said):
        check_swap(labels, ["/usr/bin/python3.11", "-m"], replace(NEW, **change))


def test_a_newer_base_is_taken(labels):
    check_swap(labels, ["/usr/bin/python3.11", "-m"], replace(NEW, glibc=(2, 41)))
    del labels["dev.servegen.glibc"]
    check_swap(labels, ["/usr/bin/python3.11", "-m"], NEW)


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("debian:bookworm", "debian"),
        ("ghcr.io/me/base:1", "ghcr.io/me/base:1"),
        ("localhost/debian:12", None),
    ],
)
def test_the_base_of_an_image_is_told_from_its_labels(name, spec):
    assert base_spec({"org.opencontainers.image.base.name": name}) == (spec or name)
