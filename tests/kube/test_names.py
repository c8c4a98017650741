import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from servegen.kube import names

DNS = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("iris", "iris"),
        ("a-b-9", "a-b-9"),
        ("Fraud Détection/v2", r"fraud-detection-v2-[0-9a-f]{8}"),
        ("模型", r"m-[0-9a-f]{8}"),
        ("8e1", r"m-8e1-[0-9a-f]{8}"),
        ("Iris", r"iris-[0-9a-f]{8}"),
        ("", r"m-[0-9a-f]{8}"),
        ("x" * 60, r"x{36}-[0-9a-f]{8}"),
    ],
)
def test_names_become_dns_labels(text, expected):
    assert re.fullmatch(expected, names.slug(text))


@given(st.text(), st.integers(15, 63))
def test_every_text_gives_a_dns_label_within_the_limit(text, limit):
    slug = names.slug(text, limit)
    assert DNS.fullmatch(slug)
    assert len(slug) <= limit


@given(st.text(), st.text())
def test_different_names_never_meet(one, other):
    assume(one != other)
    assert names.slug(one) != names.slug(other)


@given(
    st.from_regex(r"[a-z](-?[a-z0-9])*", fullmatch=True).filter(lambda text: len(text) <= names.NAME_LIMIT)
)
def test_a_name_that_fits_and_has_no_run_of_dashes_is_kept(text):
    assert names.slug(text) == text


@given(st.text(min_size=1))
def test_every_text_gives_a_label_value(text):
    value = names.label_value(text)
    assert names.is_label_value(value)
    assert value == text or not names.is_label_value(text)


@pytest.mark.parametrize(
    ("text", "fits"),
    [("", True), ("7", True), ("a_B.c-9", True), ("-a", False), ("a-", False), ("a b", False), ("é", False)],
)
def test_label_values_follow_the_servers_rule(text, fits):
    assert names.is_label_value(text) is fits
    assert names.is_label_value("a" * 63)
    assert not names.is_label_value("a" * 64)


@pytest.mark.parametrize(
    ("key", "fits"),
    [
        ("team", True),
        ("example.com/Role", True),
        ("/a", False),
        ("a/", False),
        ("A.com/x", False),
        ("", False),
    ],
)
def test_keys_are_a_name_with_an_optional_domain(key, fits):
    assert names.is_key(key) is fits
