"""Symmetric trees of CatBoost over numbers."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from servegen.accelerate.convert import Loaded, Made
from servegen.accelerate.graph import Graph, Unconvertible, argmax
from servegen.accelerate.sklearn import labels
from servegen.accelerate.tables import Front
from servegen.accelerate.trees import Tree, split_targets, sum_trees
from servegen.server.accelerated import Output

LIBRARIES = ("catboost", "onnx")
_STEP = "catboost"
_PLAIN = ("RMSE", "MAE", "Quantile", "MAPE", "Huber", "Expectile", "LogCosh", "Lq")


def convert(loaded: Loaded) -> Made:
    """The graph of a model whose features are all numbers."""
    model = loaded.native
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        dump = json.loads(path.read_text(encoding="utf-8"))
    if "oblivious_trees" not in dump:
        raise Unconvertible(_STEP, "its trees are not symmetric")
    features = dump["features_info"]
    if odd := sorted(set(features) - {"float_features"}):
        raise Unconvertible(_STEP, f"features of other kinds: {', '.join(odd)}")
    columns = features["float_features"]
    place = {f["feature_index"]: f["flat_feature_index"] for f in columns}
    up = {f["feature_index"]: f["nan_value_treatment"] == "AsTrue" for f in columns}
    scale, biases = dump["scale_and_bias"]
    width = len(biases)
    trees = [_tree(each, place, up, width) for each in dump["oblivious_trees"]]
    graph = Graph()
    front = Front(graph=graph)
    matrix = front.matrix(front.table(loaded.signature, exact_integers=True), _STEP)
    front.reveal_trees(matrix, trees)
    total = sum_trees(
        graph, front.single(matrix).ref, [part for each in trees for part in split_targets(each)]
    )
    scaled = graph.op("Mul", total, graph.constant(float(scale)))
    raw = graph.op("Add", scaled, graph.constant(np.array(biases, dtype=np.float64)))
    output = _answer(graph, model, dump, raw, width)
    return Made(graph=graph, front=front, outputs=(output,), refuses_empty=False)


def _tree(tree: dict[str, Any], place: dict[int, int], up: dict[int, bool], width: int) -> Tree:
    """A full tree: its level k asks split k, and going right sets bit k of the leaf's number."""
    splits = tree["splits"] or []
    if any(split["split_type"] != "FloatFeature" for split in splits):
        raise Unconvertible(_STEP, "splits on other than numbers")
    depth = len(splits)
    inner = 2**depth - 1
    count = 2 * inner + 1
    number = np.arange(count)
    is_leaf = number >= inner
    level = np.floor(np.log2(number + 1)).astype(int)
    asked = [splits[k]["float_feature_index"] for k in range(depth)] or [0]
    borders = [float(np.float32(splits[k]["border"])) for k in range(depth)] or [0.0]
    at = np.minimum(level, max(depth - 1, 0))
    values = np.full((count, width), np.nan)
    leaves = np.array(tree["leaf_values"], dtype=np.float64).reshape(-1, width)
    for leaf in range(2**depth):
        # The path from the root, turn by turn, is the number's bits from the lowest.
        path = int(format(leaf, f"0{depth}b")[::-1], 2) if depth else 0
        values[inner + path] = leaves[leaf]
    return Tree(
        left=np.where(is_leaf, -1, 2 * number + 1),
        right=np.where(is_leaf, -1, 2 * number + 2),
        feature=np.array([place[k] for k in asked])[at] if depth else np.zeros(count, dtype=int),
        threshold=np.array(borders)[at],
        missing_left=np.array([not up[k] for k in asked])[at] if depth else np.ones(count, dtype=bool),
        values=values,
    )


def _answer(graph: Graph, model: Any, dump: dict[str, Any], raw: str, width: int) -> Output:
    kind = type(model).__name__
    classes = np.asarray(model.classes_) if kind == "CatBoostClassifier" else np.array([])
    if len(classes):
        if width == 1:
            above = graph.op("Greater", raw, graph.constant(0.0))
            return labels(graph, graph.reshape(graph.cast(above, "int64"), [-1]), classes)
        found = labels(graph, argmax(graph, raw), classes)
        return Output(**{**vars(found), "shape": (-1, 1)})
    loss = dump["model_info"].get("params", {}).get("loss_function", {})
    name = loss.get("type") if isinstance(loss, dict) else None
    if kind != "CatBoost" and name not in _PLAIN:
        raise Unconvertible(_STEP, f"loss {name}")
    graph.output(raw, "answer", "float64")
    return Output(name="answer", dtype="float64", shape=(-1, width) if width > 1 else (-1,))
