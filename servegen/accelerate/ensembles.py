"""Estimators of scikit-learn that ask other estimators: votes, bags, boosts, stacks, searches.

Each function gets `ask`, which converts an inner estimator. Where all members are plain trees, they become
one sum of trees, which is both exact and quicker than a graph of many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from servegen.accelerate.estimators import Classifier, Predict, Regressor
from servegen.accelerate.estimators.forests import chances_of, grown, rounded
from servegen.accelerate.estimators.linear import logs, positive, two_classes
from servegen.accelerate.estimators.scalers import is_universal, universal
from servegen.accelerate.graph import Graph, Unconvertible, argmax, sigmoid, softmax
from servegen.accelerate.tables import Front, Matrix, Table, as_double, as_matrix, concat, pick
from servegen.accelerate.trees import Tree, split_targets, sum_trees

Ensemble = Callable[[Predict, Front, str, Any, Table | Matrix], Classifier | Regressor]
_TREES = ("DecisionTreeClassifier", "ExtraTreeClassifier", "DecisionTreeRegressor", "ExtraTreeRegressor")


def _inner(step: str, member: Any) -> str:
    return f"{step}: {type(member).__name__}"


def _voting(ask: Predict, front: Front, step: str, model: Any, value: Table | Matrix) -> Any:
    graph = front.graph
    made = [ask(front, _inner(step, each), each, value) for each in model.estimators_]
    weights = [1.0] * len(made) if model.weights is None else [float(w) for w in model._weights_not_none]
    if type(model).__name__ == "VotingClassifier":
        if model.voting == "hard":
            return Classifier(classes=model.classes_, index=_majority(graph, step, model, made, weights))
        parts = [_score(step, each, "predict_proba")[0] for each in made]
        total = _average(graph, parts, weights)
        scores: dict[str, tuple[str, int | None]] = {"predict_proba": (total, len(model.classes_))}
        return Classifier(classes=model.classes_, index=argmax(graph, total), scores=scores)
    return Regressor(value=_average(graph, [_column(graph, each) for each in made], weights))


def _majority(
    graph: Graph, step: str, model: Any, made: Sequence[Classifier | Regressor], weights: Sequence[float]
) -> str:
    """The class with the most votes, the first of several."""
    votes = []
    for each, weight in zip(made, weights, strict=True):
        if not isinstance(each, Classifier):
            raise Unconvertible(step, "an estimator within does not classify")
        vote = graph.cast(_chosen(graph, each, range(len(model.classes_))), "float64")
        votes.append(graph.op("Mul", vote, graph.constant(weight)))
    return argmax(graph, _sum(graph, votes))


def _average(graph: Graph, parts: Sequence[str], weights: Sequence[float]) -> str:
    weighted = [graph.op("Mul", p, graph.constant(w)) for p, w in zip(parts, weights, strict=True)]
    return graph.op("Div", _sum(graph, weighted), graph.constant(sum(weights)))


def _sum(graph: Graph, parts: Sequence[str]) -> str:
    """One added to the other in their order."""
    total = parts[0]
    for each in parts[1:]:
        total = graph.op("Add", total, each)
    return total


def _score(step: str, made: Classifier | Regressor, name: str) -> tuple[str, int | None]:
    if not isinstance(made, Classifier) or name not in made.scores:
        raise Unconvertible(step, f"its {name} is not converted")
    return made.scores[name]


def _column(graph: Graph, made: Classifier | Regressor) -> str:
    """The numbers of a regressor of one target: (rows, 1)."""
    if not isinstance(made, Regressor) or made.targets is not None:
        msg = "an estimator within gives more than one number a row"
        raise TypeError(msg)
    return graph.reshape(graph.cast(made.value, "float64"), [-1, 1])


def _several(ask: Predict, front: Front, step: str, model: Any, value: Table | Matrix) -> Regressor:
    """MultiOutputRegressor: a regressor for each target."""
    found = [_column(front.graph, ask(front, _inner(step, each), each, value)) for each in model.estimators_]
    whole = found[0] if len(found) == 1 else front.graph.op("Concat", *found, axis=1)
    return Regressor(value=whole, targets=len(found))


def _search(ask: Predict, front: Front, step: str, model: Any, value: Table | Matrix) -> Any:
    """A search for parameters hands everything to the best estimator it has found."""
    best = model.best_estimator_
    return ask(front, _inner(step, best), best, value)


def _are_trees(members: Sequence[Any]) -> bool:
    return all(
        type(each).__module__.startswith("sklearn.tree.")
        and type(each).__name__ in _TREES
        and each.n_outputs_ == 1
        for each in members
    )


def _within(value: Matrix, features: Sequence[Any] | None, count: int) -> list[list[int]]:
    """For each member, the columns of `value` that it sees."""
    if features is None:
        return [list(range(value.width))] * count
    return [[int(position) for position in each] for each in features]


def _grown(members: Sequence[Any], columns: Sequence[Sequence[int]], values: Sequence[Any]) -> list[Tree]:
    """The members' trees over the columns of all of them."""
    return [
        grown(member, each, features=seen)
        for member, seen, each in zip(members, columns, values, strict=True)
    ]


def _summed(
    front: Front,
    step: str,
    matrix: Matrix,
    members: Sequence[Any],
    columns: Sequence[Sequence[int]],
    values: Sequence[Any],
) -> str:
    """The sum of what `members` have in `values` for their leaves."""
    trees = _grown(members, columns, values)
    ref = rounded(front, step, members, matrix, trees, seen=sorted({c for each in columns for c in each}))
    return sum_trees(front.graph, ref, [part for each in trees for part in split_targets(each)])


def _spread(values: Any, positions: Sequence[int], width: int) -> Any:
    """Columns of `values` at `positions` of a matrix that is `width` wide."""
    found = np.zeros((len(values), width))
    found[:, list(positions)] = values
    return found


def _bagged_classifier(
    ask: Predict, front: Front, step: str, model: Any, value: Table | Matrix
) -> Classifier:
    """The mean of the members' chances, or of their votes where they know no chances."""
    graph, count = front.graph, len(model.classes_)
    matrix, members = front.matrix(value, step), list(model.estimators_)
    columns = _within(matrix, model.estimators_features_, len(members))
    if _are_trees(members):
        values = [_spread(chances_of(each), each.classes_, count) for each in members]
        total = _summed(front, step, matrix, members, columns, values)
    else:
        parts = []
        for member, seen in zip(members, columns, strict=True):
            made = ask(front, _inner(step, member), member, pick(front, matrix, seen))
            if not isinstance(made, Classifier):
                raise Unconvertible(step, f"{type(member).__name__} does not classify")
            if hasattr(member, "predict_proba"):
                parts.append(_placed(graph, _score(step, made, "predict_proba")[0], made.classes, count))
            else:
                parts.append(graph.cast(_chosen(graph, made, range(count)), "float64"))
        total = _sum(graph, parts)
    total = graph.op("Div", total, graph.constant(float(model.n_estimators)))
    return Classifier(
        classes=model.classes_, index=argmax(graph, total), scores={"predict_proba": (total, count)}
    )


def _placed(graph: Graph, value: str, positions: Sequence[Any], width: int) -> str:
    """The columns of `value` at `positions`, with zeros between them."""
    places = [int(each) for each in positions]
    if places == list(range(width)):
        return value
    first = graph.take(value, [0])
    whole = graph.op("Concat", value, graph.op("Sub", first, first), axis=1)
    return graph.take(whole, [places.index(k) if k in places else len(places) for k in range(width)])


def _chosen(graph: Graph, made: Classifier, classes: Sequence[Any]) -> str:
    """Truth values (rows, classes): which of `classes` a classifier within has chosen."""
    known = list(classes)
    places = np.array([known.index(each) for each in made.classes], dtype=np.int64)
    index = graph.op("Gather", graph.constant(places, np.int64), made.index, axis=0)
    numbers = graph.constant(np.arange(len(known)).reshape(1, -1), np.int64)
    return graph.op("Equal", graph.reshape(index, [-1, 1]), numbers)


def _bagged_regressor(ask: Predict, front: Front, step: str, model: Any, value: Table | Matrix) -> Regressor:
    graph = front.graph
    matrix, members = front.matrix(value, step), list(model.estimators_)
    columns = _within(matrix, model.estimators_features_, len(members))
    if _are_trees(members):
        values = [each.tree_.value[:, 0, :1] for each in members]
        total = _summed(front, step, matrix, members, columns, values)
    else:
        parts = [
            _column(graph, ask(front, _inner(step, member), member, pick(front, matrix, seen)))
            for member, seen in zip(members, columns, strict=True)
        ]
        total = _sum(graph, parts)
    return Regressor(value=graph.op("Div", total, graph.constant(float(model.n_estimators))))


def _boosted_classifier(
    ask: Predict, front: Front, step: str, model: Any, value: Table | Matrix
) -> Classifier:
    """AdaBoost: each member adds its weight to the class it chooses, and takes some from the others."""
    graph, count = front.graph, len(model.classes_)
    if count < 2:
        raise Unconvertible(step, "one class alone")
    matrix, members = front.matrix(value, step), list(model.estimators_)
    weights = [float(w) for w in model.estimator_weights_[: len(members)]]
    if _are_trees(members):
        values = []
        for member, weight in zip(members, weights, strict=True):
            best = np.searchsorted(model.classes_, member.classes_)[
                member.tree_.value[:, 0, :].argmax(axis=1)
            ]
            chosen = best.reshape(-1, 1) == np.arange(count)
            values.append(np.where(chosen, weight, -1 / (count - 1) * weight))
        front.check(matrix, single=True)
        total = _summed(front, step, matrix, members, _within(matrix, None, len(members)), values)
    else:
        front.check(matrix)
        parts = []
        for member, weight in zip(members, weights, strict=True):
            made = ask(front, _inner(step, member), member, matrix)
            if not isinstance(made, Classifier):
                raise Unconvertible(step, f"{type(member).__name__} does not classify")
            chosen, rest = _chosen(graph, made, list(model.classes_)), -1 / (count - 1) * weight
            parts.append(graph.op("Where", chosen, graph.constant(weight), graph.constant(rest)))
        total = _sum(graph, parts)
    total = graph.op("Div", total, graph.constant(float(model.estimator_weights_.sum())))
    if count == 2:
        decision = graph.op("Sub", graph.take(total, [1]), graph.take(total, [0]))
        index = positive(graph, decision)
        both = graph.op("Concat", graph.op("Neg", decision), decision, axis=1)
        chances = softmax(graph, graph.op("Div", both, graph.constant(2.0)))
    else:
        decision, index = total, argmax(graph, total)
        chances = softmax(graph, graph.op("Div", total, graph.constant(float(count - 1))))
    return Classifier(
        classes=model.classes_,
        index=index,
        scores={
            "decision_function": (decision, None if count == 2 else count),
            "predict_proba": (chances, count),
            "predict_log_proba": (logs(graph, chances), count),
        },
    )


def _boosted_regressor(ask: Predict, front: Front, step: str, model: Any, value: Table | Matrix) -> Regressor:
    """AdaBoost: the median of what the members say, each as heavy as its weight."""
    graph = front.graph
    matrix, members = front.matrix(value, step), list(model.estimators_)
    count = len(members)
    if _are_trees(members):
        values = []
        for place, member in enumerate(members):
            own = np.full((member.tree_.node_count, count), np.nan)
            own[:, place] = member.tree_.value[:, 0, 0]
            values.append(own)
        trees = _grown(members, _within(matrix, None, count), values)
        front.check(matrix, single=True)
        answers = sum_trees(graph, rounded(front, step, members, matrix, trees), trees)
    else:
        front.check(matrix)
        found = [_column(graph, ask(front, _inner(step, each), each, matrix)) for each in members]
        answers = found[0] if count == 1 else graph.op("Concat", *found, axis=1)
    ordered, order = graph.ops(
        "TopK", [answers, graph.constant([count], np.int64)], 2, axis=1, largest=0, sorted=1
    )
    weights = graph.constant(np.asarray(model.estimator_weights_[:count], dtype=np.float64))
    heavy = graph.op("CumSum", graph.op("Gather", weights, order, axis=0), graph.constant(1, np.int64))
    half = graph.op("Mul", graph.take(heavy, [count - 1]), graph.constant(0.5))
    reached = graph.cast(graph.op("GreaterOrEqual", heavy, half), "int64")
    middle = graph.op("ArgMax", reached, axis=1, keepdims=1)
    return Regressor(value=graph.op("GatherElements", ordered, middle, axis=1))


def _stack(ask: Predict, front: Front, step: str, model: Any, value: Table | Matrix) -> Any:
    """What the first estimators say, side by side, goes into the last one."""
    graph = front.graph
    classes = getattr(model, "classes_", None)
    if isinstance(classes, list):
        raise Unconvertible(step, "several labels a row")
    parts = []
    for member, method in zip(model.estimators_, model.stack_method_, strict=True):
        made = ask(front, _inner(step, member), member, value)
        if isinstance(made, Regressor):
            parts.append(Matrix(ref=_column(graph, made), width=1))
        elif method == "predict":
            chosen = graph.op("Gather", graph.constant(made.classes), made.index, axis=0)
            parts.append(Matrix(ref=graph.reshape(chosen, [-1, 1]), width=1))
        else:
            ref, width = _score(step, made, method)
            whole = Matrix(ref=ref, width=width or 1)
            drops = method == "predict_proba" and classes is not None and len(classes) == 2
            parts.append(as_matrix(pick(front, whole, range(1, whole.width))) if drops else whole)
    if model.passthrough:
        parts.append(front.matrix(value, step))
    last = ask(front, _inner(step, model.final_estimator_), model.final_estimator_, concat(front, parts))
    if classes is None or isinstance(last, Regressor):
        return last
    if list(last.classes) != list(range(len(classes))):
        raise Unconvertible(step, "its last estimator has not seen all classes")
    return Classifier(classes=classes, index=last.index, scores=last.scores)


def _target(ask: Predict, front: Front, step: str, model: Any, value: Table | Matrix) -> Regressor:
    """TransformedTargetRegressor: what the regressor says, back in the measure of the target."""
    graph, back = front.graph, model.transformer_
    if model._training_dim != 1:
        raise Unconvertible(step, "several targets")
    number = _column(graph, ask(front, _inner(step, model.regressor_), model.regressor_, value))
    name = type(back).__name__ if type(back).__module__.startswith("sklearn.") else ""
    if name == "FunctionTransformer":
        function = back.inverse_func
        if back.inv_kw_args or not (function is None or is_universal(function)):
            raise Unconvertible(step, "its inverse_func calls Python")
        if back.validate:
            front.check(Matrix(ref=number, width=1))
        return Regressor(value=number if function is None else universal(graph, function.__name__, number))
    front.check(Matrix(ref=number, width=1), nan=False)
    if name == "StandardScaler":
        scale, shift = back.scale_, back.mean_ if back.with_mean else None
        number = number if scale is None else graph.op("Mul", number, graph.constant(as_double(scale)))
        return Regressor(
            value=number if shift is None else graph.op("Add", number, graph.constant(as_double(shift)))
        )
    if name == "MinMaxScaler":
        less = graph.op("Sub", number, graph.constant(as_double(back.min_)))
        return Regressor(value=graph.op("Div", less, graph.constant(as_double(back.scale_))))
    raise Unconvertible(step, f"transforms its target by {type(back).__name__}")


def _calibrated(ask: Predict, front: Front, step: str, model: Any, value: Table | Matrix) -> Classifier:
    """CalibratedClassifierCV: the mean of chances that are a logistic function of scores."""
    graph, count = front.graph, len(model.classes_)
    parts = []
    for part in model.calibrated_classifiers_:
        inner = part.estimator
        if part.method != "sigmoid":
            raise Unconvertible(step, f"method={part.method!r}")
        if list(inner.classes_) != list(model.classes_):
            raise Unconvertible(step, "an estimator within has not seen all classes")
        name = "decision_function" if hasattr(inner, "decision_function") else "predict_proba"
        score, _ = _score(step, ask(front, _inner(step, inner), inner, value), name)
        if count == 2 and name == "predict_proba":
            score = graph.take(score, [1])
        slopes, shifts = (as_double([[getattr(c, key) for c in part.calibrators]]) for key in ("a_", "b_"))
        line = graph.op("Add", graph.op("Mul", score, graph.constant(slopes)), graph.constant(shifts))
        chances = sigmoid(graph, graph.op("Neg", line))
        parts.append(two_classes(graph, chances) if count == 2 else _shared(graph, chances, count))
    total = graph.op("Div", _sum(graph, parts), graph.constant(float(len(parts))))
    return Classifier(
        classes=model.classes_, index=argmax(graph, total), scores={"predict_proba": (total, count)}
    )


def _shared(graph: Graph, chances: str, count: int) -> str:
    """`chances` made to sum to one; equal ones where all are zero."""
    total = graph.total(chances)
    zero = graph.op("Equal", total, graph.constant(0.0))
    return graph.op("Where", zero, graph.constant(1 / count), graph.op("Div", chances, total))


ENSEMBLES: dict[str, Ensemble] = {
    "VotingClassifier": _voting,
    "VotingRegressor": _voting,
    **dict.fromkeys(
        ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"), _search
    ),
    "BaggingClassifier": _bagged_classifier,
    "BaggingRegressor": _bagged_regressor,
    "AdaBoostClassifier": _boosted_classifier,
    "AdaBoostRegressor": _boosted_regressor,
    "CalibratedClassifierCV": _calibrated,
    "MultiOutputRegressor": _several,
    "TransformedTargetRegressor": _target,
    "StackingClassifier": _stack,
    "StackingRegressor": _stack,
}
