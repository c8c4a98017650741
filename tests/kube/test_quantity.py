import pytest
from hypothesis import given
from hypothesis import strategies as st

from servegen.kube import quantity


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("500m", "500m"),
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("6.0", "6"),
        ("6000m", "6"),
        ("0.05", "50m"),
        ("2", "2"),
        ("1000", "1k"),
        ("1.5Gi", "1536Mi"),
        ("1024Mi", "1Gi"),
        ("0.5Gi", "512Mi"),
        ("512Mi", "512Mi"),
        ("1536Ki", "1536Ki"),
        ("500M", "500M"),
        ("1000M", "1G"),
        ("0", "0"),
        ("1234567890123456789012345678901234567", "1234567890123456789012345678901234567"),
    ],
)
def test_quantities_are_written_as_the_server_stores_them(text, stored):
    assert quantity.canonical(text) == stored


@pytest.mark.parametrize(
    "text", ["", "1 Gi", "1gb", "-1", "1e3", "0x1", "1.", ".5", "1Ki2", "0.0001", "0.3Ki", f"1.{'0' * 40}1"]
)
def test_what_is_not_an_exact_quantity_is_refused(text):
    with pytest.raises(ValueError, match="is"):
        quantity.canonical(text)


@given(st.integers(1, 10**6), st.sampled_from(["m", "", "k", "M", "G", "Ki", "Mi", "Gi", "Ti"]))
def test_the_value_stays_and_a_second_pass_changes_nothing(number, suffix):
    stored = quantity.canonical(f"{number}{suffix}")
    assert quantity.value(stored) == quantity.value(f"{number}{suffix}")
    assert quantity.canonical(stored) == stored
