"""Datatypes of the Open Inference Protocol and the numpy dtypes that hold them."""

from __future__ import annotations

DTYPES = {
    "BOOL": "bool",
    **{f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
"""By datatype; BYTES, which is not here, holds text."""
DATATYPES = {dtype: datatype for datatype, dtype in DTYPES.items()}
"""By dtype; every other one is BYTES."""
MOST_DIMENSIONS = 64
"""Of an array in numpy; some versions have fewer."""
