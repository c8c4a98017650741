"""Which files of an image get bytecode: a part of the layers' keys, and the rule by which they are filled."""

from __future__ import annotations

import hashlib
import json

TESTS = ("tests", "test")
"""Folders whose files no server imports: a quarter of all bytecode."""
IDLE = (
    "databricks/",
    "git/",
    "google/auth/",
    "google/oauth2/",
    "mlflow/assistant/",
    "mlflow/cli/",
    "mlflow/demo/",
    "mlflow/dspy/",
    "mlflow/gateway/providers/",
    "mlflow/langchain/",
    "mlflow/llama_index/",
    "mlflow/metrics/",
    "mlflow/openai/",
    "mlflow/pyspark/",
    "mlflow/sagemaker/",
    "mlflow/server/",
    "narwhals/_arrow/",
    "narwhals/_dask/",
    "narwhals/_duckdb/",
    "narwhals/_ibis/",
    "narwhals/_polars/",
    "narwhals/_spark_like/",
    "narwhals/_sql/",
    "numpy/distutils/",
    "numpy/f2py/",
    "prettytable/",
    "pyasn1/",
    "pyasn1_modules/",
    "pycparser/",
    "pydantic/v1/",
    "skops/card/",
    "skops/hub_utils/",
    "wcwidth/",
)
"""What neither a server's start nor a prediction imports; found by running images."""


def has_bytecode(path: str, below: str) -> bool:
    """Whether the Python file `path` of the image is compiled; `below` is the folder of the wheels' files."""
    if any(part in TESTS for part in path.split("/")[:-1]):
        return False
    return not path.removeprefix(f"{below}/").startswith(IDLE)


def policy() -> str:
    """Equal exactly when the rule is."""
    text = json.dumps(["unchecked", TESTS, IDLE], separators=(",", ":"))
    return "unchecked-" + hashlib.sha256(text.encode()).hexdigest()[:12]
