"""Between messages and the values that the REST protocol has too, without JSON text in between."""

from __future__ import annotations

from typing import Any

from servegen.server import binary
from servegen.server.errors import bad_request, internal
from servegen.server.inference_grpc.messages import ModelInferResponse, ModelMetadataResponse
from servegen.server.v2_answers import Answer

_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The list that holds items of a datatype; FP16 has none."""


def request(message: Any) -> dict[str, Any]:
    """The `infer` request of a ModelInferRequest, as its JSON form would be read."""
    raws = message.raw_input_contents
    if raws and len(raws) != len(message.inputs):
        msg = "raw_input_contents needs one entry for each input"
        raise bad_request(msg)
    return {
        "id": message.id or None,
        "parameters": _parameters(message.parameters),
        "inputs": [
            {
                "name": tensor.name,
                "shape": list(tensor.shape),
                "datatype": tensor.datatype,
                "parameters": _parameters(tensor.parameters),
                "data": _data(tensor, raws[place] if raws else None),
            }
            for place, tensor in enumerate(message.inputs)
        ],
        "outputs": [{"name": output.name} for output in message.outputs] or None,
    }


def response(answer: Answer, *, raw: bool) -> bytes:
    """The ModelInferResponse for `answer`; `raw` as the request was, and always when FP16 is in it."""
    message = ModelInferResponse(model_name=answer.model_name, model_version=answer.model_version)
    if answer.id is not None:
        message.id = answer.id
    if answer.content:
        message.parameters["content_type"].string_param = answer.content
    raw = raw or any(output.datatype not in _CONTENTS for output in answer.outputs)
    try:
        for output in answer.outputs:
            tensor = message.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
            tensor.parameters["content_type"].string_param = output.content
            if raw:
                message.raw_output_contents.append(binary.encoded(output.data, output.datatype))
            else:
                items = binary.items(output.data, output.datatype)
                getattr(tensor.contents, _CONTENTS[output.datatype]).extend(items)
        return bytes(message.SerializeToString())
    except (TypeError, ValueError, OverflowError) as exc:
        msg = "the model's answer cannot be written as tensors"
        raise internal(msg) from exc


def metadata(described: dict[str, Any]) -> Any:
    """The ModelMetadataResponse for the metadata of a model."""
    message = ModelMetadataResponse(
        name=described["name"], versions=described["versions"], platform=described["platform"]
    )
    for key in ("inputs", "outputs"):
        for tensor in described[key]:
            getattr(message, key).add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
    return message


def _parameters(parameters: Any) -> dict[str, Any]:
    given = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        given[name] = getattr(parameter, choice) if choice else None
    return given


def _data(tensor: Any, raw: bytes | None) -> Any:
    if raw is not None:
        if tensor.HasField("contents"):
            msg = f"input {tensor.name!r} has both contents and raw_input_contents"
            raise bad_request(msg)
        return binary.decoded(tensor.name, tensor.datatype, raw)
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        if tensor.datatype == "FP16":
            msg = f"input {tensor.name!r} is FP16, which needs raw_input_contents"
            raise bad_request(msg)
        # Whoever reads it says that there is no such datatype.
        return []
    items = list(getattr(tensor.contents, field))
    return binary.texts(tensor.name, items) if tensor.datatype == "BYTES" else items
