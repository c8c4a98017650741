"""Builds an ONNX graph node by node; equal calls give equal bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

OPSET = {"ai.onnx": 21, "ai.onnx.ml": 5}
"""ai.onnx.ml 5 is the first with trees in double precision from input to answer."""
_IR = 10


class Unconvertible(Exception):  # noqa: N818 (an answer to the question whether it can be, not a fault)
    """A part of the model has no exact form as ONNX; says which and why."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"{step}: {reason}")
        self.step = step
        self.reason = reason


def unexpected(step: str, exc: Exception) -> Unconvertible:
    """What to say of a part of the model with which `exc` happened."""
    text = " ".join(f"{type(exc).__name__}: {exc}".split())[:200]
    return Unconvertible(step, f"it cannot be read as usual: {text}")


class Graph:
    """An ONNX graph that grows; only what the outputs need is written."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._by_content: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._guards: list[str] = []
        self._count = 0

    def input(self, name: str, dtype: str, shape: Sequence[int | None]) -> str:
        """A new input of the graph."""
        from onnx import helper

        self._inputs.append(helper.make_tensor_value_info(name, _type(dtype), list(shape)))
        return name

    def constant(self, value: Any, dtype: Any = np.float64) -> str:
        """A constant array."""
        from onnx import helper, numpy_helper

        array = np.asarray(value, dtype=object if dtype is str else dtype)
        content = repr(array.tolist()).encode() if dtype is str else array.tobytes()
        key = (str(dtype), array.shape, content)
        if key not in self._by_content:
            name = self.fresh("c")
            self._by_content[key] = name
            if dtype is str:
                texts = [str(item).encode() for item in array.ravel()]
                tensor = helper.make_tensor(name, _type("str"), array.shape, texts)
            else:
                tensor = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
            self._constants[name] = tensor
        return self._by_content[key]

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """The output of a new node with one output."""
        return self.ops(kind, inputs, 1, domain=domain, **attributes)[0]

    def ops(
        self, kind: str, inputs: Sequence[str], outputs: int, *, domain: str = "", **attributes: Any
    ) -> list[str]:
        """The outputs of a new node."""
        from onnx import helper

        names = [self.fresh("t") for _ in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **attributes))
        return names

    def cast(self, value: str, dtype: str) -> str:
        """`value` as `dtype`."""
        return self.op("Cast", value, to=_type(dtype))

    def take(self, value: str, positions: Sequence[int], axis: int = 1) -> str:
        """Some columns of `value`."""
        return self.op("Gather", value, self.constant(list(positions), np.int64), axis=axis)

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """`value` in another shape, with -1 for the rows."""
        return self.op("Reshape", value, self.constant(list(shape), np.int64))

    def total(self, value: str, axis: int = 1) -> str:
        """Sums along `axis`, which stays with length one."""
        return self.op("ReduceSum", value, self.constant([axis], np.int64), keepdims=1)

    def guard(self, value: str, *, nan: bool = True) -> None:
        """Where the original raises because `value` is not finite: NaN there, or infinity alone."""
        if not nan:
            value = self.op("Where", self.op("IsNaN", value), self.constant(0.0), value)
        zeros = self.op("Mul", value, self.constant(0.0))
        self._guards.append(self.op("ReduceSum", zeros, keepdims=0))

    def output(self, value: str, name: str, dtype: str, rank: int = 2) -> None:
        """Make `value` an output called `name`, of so many dimensions."""
        from onnx import helper

        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, _type(dtype), [None] * rank))

    def guarded(self, name: str) -> bool:
        """Add the output `name`, NaN where a guard was hurt; False when there is no guard."""
        if not self._guards:
            return False
        whole = self._guards[0] if len(self._guards) == 1 else self.op("Sum", *self._guards)
        self.output(whole, name, "float64", 0)
        return True

    def inline(self, proto: Any, given: Sequence[str]) -> list[str]:
        """Outputs of another model's graph, whose inputs are `given`."""
        names = {each.name: ours for each, ours in zip(proto.graph.input, given, strict=True)}
        names[""] = ""
        for tensor in proto.graph.initializer:
            names[tensor.name] = self.fresh("c")
            copied = type(tensor)()
            copied.CopyFrom(tensor)
            copied.name = names[tensor.name]
            self._constants[copied.name] = copied
        for node in proto.graph.node:
            copied = type(node)()
            copied.CopyFrom(node)
            copied.name = ""
            copied.input[:] = [names[name] for name in node.input]
            for name in node.output:
                if name:
                    names[name] = self.fresh("t")
            copied.output[:] = [names[name] for name in node.output]
            self._nodes.append(copied)
        return [names[each.name] for each in proto.graph.output]

    def written(self) -> tuple[bytes, list[str]]:
        """The model as a file, and the names of its inputs; onnx's checker raises for what is not valid."""
        import onnx
        from onnx import helper

        needed = {each.name for each in self._outputs}
        kept = []
        for node in reversed(self._nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        graph = helper.make_graph(
            kept[::-1],
            "model",
            [each for each in self._inputs if each.name in needed],
            self._outputs,
            [tensor for name, tensor in self._constants.items() if name in needed],
        )
        domains = {"": OPSET["ai.onnx"], "ai.onnx.ml": OPSET["ai.onnx.ml"]}
        model = helper.make_model(
            graph,
            producer_name="servegen",
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in domains.items()],
            ir_version=_IR,
        )
        onnx.checker.check_model(model)
        names = [each.name for each in model.graph.input]
        return model.SerializeToString(deterministic=True), names

    def fresh(self, prefix: str) -> str:
        """A name that nothing has yet."""
        self._count += 1
        return f"{prefix}{self._count}"


def sigmoid(graph: Graph, value: str) -> str:
    """1 / (1 + e^-x), in the precision of `value`, which must be double."""
    one = graph.constant(1.0)
    return graph.op("Div", one, graph.op("Add", one, graph.op("Exp", graph.op("Neg", value))))


def softmax(graph: Graph, value: str) -> str:
    """e^x by rows, made to sum to one; as scikit-learn and the boosters compute it."""
    largest = graph.op("ReduceMax", value, graph.constant([1], np.int64), keepdims=1)
    powers = graph.op("Exp", graph.op("Sub", value, largest))
    return graph.op("Div", powers, graph.total(powers))


def argmax(graph: Graph, value: str) -> str:
    """Position of the first largest value of each row: (rows,), int64."""
    return graph.op("ArgMax", value, axis=1, keepdims=0)


def clean(value: Any) -> Any:
    """A label or category as JSON has it: numpy's scalars as Python's, NaN as None."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def _type(dtype: str) -> int:
    from onnx import TensorProto

    return int(
        {
            "float64": TensorProto.DOUBLE,
            "float32": TensorProto.FLOAT,
            "int64": TensorProto.INT64,
            "int32": TensorProto.INT32,
            "bool": TensorProto.BOOL,
            "str": TensorProto.STRING,
        }[dtype]
    )
