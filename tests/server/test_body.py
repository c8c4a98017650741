import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from servegen.server.body import Overflow, loads, plain
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
