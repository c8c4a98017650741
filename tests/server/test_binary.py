import struct
from typing import Any

import numpy as np
import pytest

from servegen.server import binary
from servegen.server.errors import RefusedError

NUMBERS = {
    "BOOL": ("?", [True, False]),
    "INT8": ("b", [-128, 127]),
    "INT16": ("h", [-(2**15), 1]),
    "INT32": ("i", [-(2**31), 1]),
    "INT64": ("q", [-(2**63), 2**63 - 1]),
    "UINT8": ("B", [0, 255]),
    "UINT16": ("H", [0, 65535]),
    "UINT32": ("I", [0, 2**32 - 1]),
    "UINT64": ("Q", [0, 2**64 - 1]),
    "FP16": ("e", [1.5, -0.25]),
    "FP32": ("f", [1.5, -0.25]),
    "FP64": ("d", [0.1, -1e300]),
}


@pytest.mark.parametrize("datatype", NUMBERS)
def test_numbers_are_little_endian_without_gaps(datatype: str):
    code, values = NUMBERS[datatype]
    raw = struct.pack(f"<2{code}", *values)
    assert binary.decoded("x", datatype, raw).tolist() == values
    assert binary.encoded(values, datatype) == raw
    assert binary.encoded(np.array(values, binary.decoded("x", datatype, raw).dtype), datatype) == raw


def test_text_follows_its_length():
    raw = b"\x02\0\0\0\xc3\xa4\0\0\0\0\x01\0\0\0b"
    assert binary.decoded("x", "BYTES", raw) == ["ä", "", "b"]
    assert binary.encoded(["ä", "", "b"], "BYTES") == raw


def test_a_missing_item_is_nan_or_empty_text():
    assert np.isnan(np.frombuffer(binary.encoded([None, 1.0], "FP64"))).tolist() == [True, False]
    assert binary.encoded([None, "b"], "BYTES") == b"\0\0\0\0\x01\0\0\0b"


@pytest.mark.parametrize(
    ("datatype", "raw"),
    [
        ("FP64", bytes(7)),
        ("INT32", bytes(6)),
        ("BOOL", b"\0\x02"),
        ("BYTES", b"\x05\0\0\0abc"),
        ("BYTES", b"\x01\0\0\0a\x01"),
        ("BYTES", b"\xff\xff\xff\xffa"),
        ("BYTES", b"\x01\0\0\0\xff"),
    ],
)
def test_bytes_that_are_no_tensor_are_refused_by_the_inputs_name(datatype: str, raw: Any):
    with pytest.raises(RefusedError, match="'x'") as caught:
        binary.decoded("x", datatype, raw)
    assert caught.value.status == 400
