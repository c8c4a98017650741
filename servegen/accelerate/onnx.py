"""Models of the onnx flavor: the graph as it is, and what MLflow does around it."""

from __future__ import annotations

from typing import Any

from servegen.accelerate.convert import Loaded, Made
from servegen.accelerate.graph import Graph, Unconvertible
from servegen.accelerate.tables import Front
from servegen.server.accelerated import Input, Output

LIBRARIES = ("onnx",)
_STEP = "onnx"
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
    "tensor(string)": "str",
}
_NUMBERS = {"double": "float64", "float": "float32", "long": "int64", "integer": "int32", "boolean": "bool"}


def convert(loaded: Loaded) -> Made:
    """The graph that was logged; raises Unconvertible where its data are outside of the file."""
    import onnx

    path = loaded.path / str(loaded.settings.get("data", "model.onnx"))
    proto = onnx.load(str(path), load_external_data=False)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer):
        raise Unconvertible(_STEP, "its weights are in other files")
    session = loaded.native
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if odd := [each.type for each in (*inputs, *outputs) if each.type not in _DTYPES]:
        raise Unconvertible(_STEP, f"{odd[0]} has no form as an array")
    graph = Graph()
    front = Front(graph=graph)
    frame = loaded.signature.columns is not None
    front.inputs.update({each.name: each for each in (_columns if frame else _tensor)(loaded, inputs)})
    made = tuple(
        Output(
            name=each.name,
            dtype=_answered(each),
            shape=(-1,) if frame else (-1, *(d if isinstance(d, int) else -1 for d in each.shape[1:])),
            key=each.name,
        )
        for each in outputs
    )
    if any(each.shape.count(-1) > 1 for each in made):
        raise Unconvertible(_STEP, "the shape of an output is not known")
    return Made(
        graph=graph,
        front=front,
        outputs=made,
        answer="records" if frame else "arrays",
        refuses_empty=False,
        file=path.read_bytes(),
        opset={each.domain or "ai.onnx": each.version for each in proto.opset_import},
    )


def _answered(output: Any) -> str:
    dtype = _DTYPES[output.type]
    return "object" if dtype == "str" else dtype


def _tensor(loaded: Loaded, inputs: list[Any]) -> list[Input]:
    tensors = loaded.signature.tensors or ()
    if len(inputs) != 1 or len(tensors) != 1:
        raise Unconvertible(_STEP, "several tensors go in")
    (tensor,) = tensors
    dtype = _DTYPES[inputs[0].type]
    if tensor.dtype != dtype and not (tensor.dtype == "float64" and dtype == "float32"):
        raise Unconvertible(_STEP, f"the signature has {tensor.dtype}, the graph {dtype}")
    return [Input(name=inputs[0].name, dtype=dtype, columns=None, tensor=tensor.name)]


def _columns(loaded: Loaded, inputs: list[Any]) -> list[Input]:
    columns = loaded.signature.columns or ()
    if len(inputs) != 1:
        raise Unconvertible(_STEP, "its inputs are single columns")
    types = {_NUMBERS.get(each.type) for each in columns}
    dtype = _DTYPES[inputs[0].type]
    if len(types) != 1 or (types != {dtype} and not (types == {"float64"} and dtype == "float32")):
        raise Unconvertible(_STEP, f"its columns are not all {dtype}")
    names = tuple(c.name if c.name is not None else str(i) for i, c in enumerate(columns))
    return [Input(name=inputs[0].name, dtype=dtype, columns=names)]
