"""Decision trees as one TreeEnsemble node, summed in the order and precision of the original."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from servegen.accelerate.graph import Graph

LESS_OR_EQUAL, LESS = 0, 1
"""How a node compares: modes of the operator."""


@dataclass(frozen=True, kw_only=True)
class Tree:
    """One tree as arrays over its nodes; the root is node 0."""

    left: Any
    """The node taken where the comparison holds; -1 in a leaf."""
    right: Any
    feature: Any
    threshold: Any
    missing_left: Any
    """Whether NaN goes left."""
    values: Any
    """(nodes, targets): what a leaf adds; NaN for a target that it adds nothing to."""
    mode: int = LESS_OR_EQUAL


def constant_tree(values: Any) -> Tree:
    """A tree of one leaf, for what a sum begins with."""
    return Tree(
        left=np.array([-1]),
        right=np.array([-1]),
        feature=np.array([0]),
        threshold=np.array([0.0]),
        missing_left=np.array([False]),
        values=np.asarray(values).reshape(1, -1),
    )


def sum_trees(graph: Graph, matrix: str, trees: Sequence[Tree], *, dtype: str = "float64") -> str:
    """The sum of what the trees' leaves add, tree after tree: (rows, targets), in `dtype` throughout.

    With one thread the operator adds in this order, so that the sum is that of the original to the bit.
    """
    from onnx import numpy_helper

    nodes: dict[str, list[Any]] = {
        name: []
        for name in (
            *("featureids", "splits", "modes", "truenodeids", "falsenodeids"),
            *("trueleafs", "falseleafs", "missing_value_tracks_true"),
        )
    }
    targets: list[int] = []
    weights: list[float] = []
    roots: list[int] = []
    for tree in trees:
        roots.append(len(nodes["modes"]))
        _add(tree, nodes, targets, weights)
    used = trees[0].values.shape[1]
    attributes = {
        f"nodes_{name}": [int(item) for item in items]
        for name, items in nodes.items()
        if name not in ("splits", "modes")
    }
    return graph.op(
        "TreeEnsemble",
        matrix,
        domain="ai.onnx.ml",
        **attributes,
        nodes_splits=numpy_helper.from_array(np.array(nodes["splits"], dtype=dtype)),
        nodes_modes=numpy_helper.from_array(np.array(nodes["modes"], dtype=np.uint8)),
        leaf_targetids=targets,
        leaf_weights=numpy_helper.from_array(np.array(weights, dtype=dtype)),
        tree_roots=roots,
        n_targets=used,
        aggregate_function=1,
        post_transform=0,
    )


def _add(tree: Tree, nodes: dict[str, list[Any]], targets: list[int], weights: list[float]) -> None:
    """Append a tree; each of its leaves becomes a chain of one-target leaves.

    The operator's leaves add to one target, so a leaf of several targets is spread over as many trees.
    """
    inner = np.flatnonzero(tree.left >= 0)
    leaves = np.flatnonzero(tree.left < 0)
    first_node, first_leaf = len(nodes["modes"]), len(targets)
    place = np.zeros(len(tree.left), dtype=np.int64)
    place[inner] = first_node + np.arange(len(inner))
    place[leaves] = first_leaf + np.arange(len(leaves))
    for leaf in leaves:
        (position,) = np.flatnonzero(~np.isnan(tree.values[leaf]))
        targets.append(int(position))
        weights.append(tree.values[leaf, position])
    if len(inner) == 0:
        # The operator has no tree without a comparison.
        rows = [(0, 0.0, tree.mode, first_leaf, first_leaf, 1, 1, 0)]
    else:
        rows = [
            (
                tree.feature[node],
                tree.threshold[node],
                tree.mode,
                place[tree.left[node]],
                place[tree.right[node]],
                tree.left[tree.left[node]] < 0,
                tree.left[tree.right[node]] < 0,
                tree.missing_left[node],
            )
            for node in inner
        ]
    for row in rows:
        for name, item in zip(nodes, row, strict=True):
            nodes[name].append(item)


def split_targets(tree: Tree) -> list[Tree]:
    """One tree a target, for leaves that add to several; comparisons that change nothing are left out."""
    count = tree.values.shape[1]
    if count == 1:
        return [tree]
    found = []
    for target in range(count):
        values = np.full_like(tree.values, np.nan)
        values[:, target] = tree.values[:, target]
        found.append(_pruned(Tree(**{**vars(tree), "values": values}), target))
    return found


def _pruned(tree: Tree, target: int) -> Tree:
    """`tree` with a leaf wherever both branches add the same."""
    left, right = tree.left.copy(), tree.right.copy()
    values = tree.values.copy()
    order, waiting = [], [0]
    while waiting:
        node = waiting.pop()
        order.append(node)
        if left[node] >= 0:
            waiting += [left[node], right[node]]
    for node in reversed(order):
        if left[node] < 0:
            continue
        one, other = left[node], right[node]
        if left[one] < 0 and left[other] < 0 and values[one, target] == values[other, target]:
            values[node, target] = values[one, target]
            left[node] = right[node] = -1
    return _compact(Tree(**{**vars(tree), "left": left, "right": right, "values": values}))


def _compact(tree: Tree) -> Tree:
    """`tree` without the nodes that the root does not reach."""
    order, waiting = [], [0]
    while waiting:
        node = waiting.pop()
        order.append(node)
        if tree.left[node] >= 0:
            waiting += [tree.right[node], tree.left[node]]
    place = np.full(len(tree.left) + 1, -1)
    place[order] = np.arange(len(order))
    return Tree(
        left=place[tree.left[order]],
        right=place[tree.right[order]],
        feature=np.asarray(tree.feature)[order],
        threshold=np.asarray(tree.threshold)[order],
        missing_left=np.asarray(tree.missing_left)[order],
        values=tree.values[order],
        mode=tree.mode,
    )
