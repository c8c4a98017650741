"""Rows that reach each comparison of a tree, with the number compared at the threshold and beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from servegen.accelerate.tables import FLOAT32_LIMIT, Origin
from servegen.accelerate.trees import Tree

Place = tuple[str, int]
"""Input of the graph, and position in it."""


def neighbours(number: float) -> list[float]:
    """`number`, the doubles beside it, and the floats of 32 bits on both sides of it."""
    if not math.isfinite(number):
        return [number]
    found = [number, math.nextafter(number, -math.inf), math.nextafter(number, math.inf)]
    if abs(number) < FLOAT32_LIMIT:
        single = np.float32(number)
        # What rounds to the same float32, and what just does not.
        found += [float(single), *(float(np.nextafter(single, np.float32(s * np.inf))) for s in (-1, 1))]
        half = float(single) + (float(np.nextafter(single, np.float32(np.inf))) - float(single)) / 2
        found += [half, math.nextafter(half, -math.inf), math.nextafter(half, math.inf)]
    return sorted({each for each in found if math.isfinite(each)})


def comparisons(
    trees: Sequence[tuple[tuple[Origin | None, ...], Tree]],
) -> Iterator[tuple[dict[Place, float], Place, float]]:
    """For each comparison of each tree: cells that lead to it, the cell compared, and its threshold.

    The cells are in the middle of what the comparisons above leave them.
    """
    for origins, tree in trees:
        waiting: list[tuple[int, dict[int, tuple[float, float]]]] = [(0, {})]
        while waiting:
            node, bounds = waiting.pop()
            if tree.left[node] < 0:
                continue
            feature, threshold = int(tree.feature[node]), float(tree.threshold[node])
            origin = origins[feature]
            if origin is not None and origin.scale and math.isfinite(threshold):
                fixed = _fixed(origins, {f: b for f, b in bounds.items() if f != feature})
                yield fixed, (origin.name, origin.position), origin.cell(threshold)
            low, high = bounds.get(feature, (-math.inf, math.inf))
            waiting.append((int(tree.left[node]), {**bounds, feature: (low, min(high, threshold))}))
            waiting.append((int(tree.right[node]), {**bounds, feature: (max(low, threshold), high)}))


def _fixed(origins: Sequence[Origin | None], bounds: dict[int, tuple[float, float]]) -> dict[Place, float]:
    cells = {}
    for feature, (low, high) in bounds.items():
        origin = origins[feature]
        if origin is not None and origin.scale:
            cells[origin.name, origin.position] = origin.cell(_between(low, high))
    return cells


def _between(low: float, high: float) -> float:
    if math.isinf(low) and math.isinf(high):
        return 0.0
    if math.isinf(low):
        return high - abs(high) / 8 - 0.125
    if math.isinf(high):
        return low + abs(low) / 8 + 0.125
    return low / 2 + high / 2
