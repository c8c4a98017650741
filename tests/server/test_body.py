import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from servegen.server.body import Overflow, has_lone_surrogate, loads, plain
from servegen.server.errors import RefusedError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(VALUES)
@example(-(2**63) - 1)
@example(2**64)
def test_texts_are_read_as_python_reads_them(value: object):
    text = json.dumps(value)
    assert repr(loads(text.encode())) == repr(json.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff[1]",
        " \n[1]\n ",
        '{"a": 1, "a": 2}',
        "[18446744073709551616]",
        "[-18446744073709551617, 1e5]",
        '["\\ud800"]',
        "[-0.0, 1E5, -0]",
    ],
)
def test_oddities_are_read_as_python_reads_them(text: str):
    assert repr(loads(text.encode())) == repr(json.loads(text.encode()))


def test_literals_that_overflow_differ_from_infinities():
    overflowed, infinite, nan = loads(b"[1e400, -Infinity, NaN]")
    assert type(overflowed) is Overflow
    assert type(infinite) is float
    assert math.isnan(nan)
    assert [type(v) for v in plain([overflowed, {"a": overflowed}["a"]])] == [float, float]


@pytest.mark.parametrize("body", [b"", b"{", b"[1,]", b'"\xff"', b"[" * 100_000, b"nan", b"{'a': 1}"])
def test_what_is_not_json_is_refused_without_being_quoted(body: bytes):
    with pytest.raises(RefusedError) as caught:
        loads(body)
    assert (caught.value.status, caught.value.code) == (400, "BAD_REQUEST")
    assert body[:3].decode("latin-1") not in caught.value.message or body == b""


@pytest.mark.parametrize(("body", "reason"), [(b"[" * 2000 + b"]" * 2000, "nested"), (b"1" * 5000, "digits")])
def test_a_refusal_says_which_limit_is_passed(body: bytes, reason: str):
    with pytest.raises(RefusedError, match=reason):
        loads(body)


def test_values_are_made_plain_at_any_depth_in_a_copy():
    value = loads(b"[" * 900 + b"1e400" + b"]" * 900)
    made = plain(value)
    for _ in range(900):
        value, made = value[0], made[0]
    assert (type(value), type(made)) == (Overflow, float)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (rb'"\ud83d\ude00"', False),
        (rb'"\uD83D\uDE00"', False),
        ('"í 한"'.encode(), False),
        (rb'"\ud83d"', True),
        (rb'"\uDE00"', True),
        (rb'"\ud83d\ud83d\ude00"', True),
        (b'"\xed\xa0\x80"', True),
    ],
)
def test_half_of_a_surrogate_pair_is_found(body: bytes, found: bool):
    assert has_lone_surrogate(body) is found
