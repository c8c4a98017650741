"""Columns to a DataFrame, as MLflow's parser and schema enforcement would have left it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from servegen.server.inputs import Columns


def frame(columns: Columns) -> Any:
    """The DataFrame of `columns`."""
    dtypes = set(columns.dtypes)
    if len(dtypes) == 1 and "text" not in dtypes:
        # One block, transposed: the layout a frame of equal columns has inside.
        block = np.array(columns.cells, dtype=columns.dtypes[0]).reshape(len(columns.names), columns.rows)
        return pd.DataFrame(block.T, columns=list(columns.names), index=columns.labels, copy=False)
    data: dict[str, Any] = {}
    for name, dtype, cells in zip(columns.names, columns.dtypes, columns.cells, strict=True):
        data[name] = _text(cells) if dtype == "text" else np.array(cells, dtype=dtype)
    made = pd.DataFrame(data, copy=False)
    if columns.labels is not None:
        made.index = pd.Index(columns.labels)
    return made


def _text(cells: Any) -> Any:
    """A column of text as pandas infers it; other values in it keep their Python type."""
    series = pd.Series(list(cells), dtype=None if len(cells) else object)
    return series if isinstance(series.dtype, pd.StringDtype) else series.astype(object)
