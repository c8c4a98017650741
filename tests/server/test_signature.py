import json

from servegen.server.signature import Signature


def parse(inputs: object = None, outputs: object = None, params: object = None) -> Signature:
    def text(value: object) -> str | None:
        return None if value is None else json.dumps(value)

    block = {"inputs": text(inputs), "outputs": text(outputs), "params": text(params)}
    return Signature.parse(block, type_hints=False)


def test_columns_have_names_types_and_may_be_optional():
    signature = parse(
        [{"type": "double", "name": "a", "required": True}, {"type": "long", "required": False}]
    )
    assert [(c.name, c.type, c.required) for c in signature.columns or ()] == [
        ("a", "double", True),
        (None, "long", False),
    ]
    assert signature.tensors is None


def test_old_models_say_optional():
    (column,) = parse([{"type": "double", "name": "a", "optional": True}]).columns or ()
    assert not column.required


def test_tensors_have_dtypes_and_shapes():
    signature = parse([{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}])
    (tensor,) = signature.tensors or ()
    assert (tensor.name, tensor.dtype, tensor.shape) == (None, "float32", (-1, 2))
    assert signature.columns is None


def test_params_have_defaults_and_may_be_lists():
    signature = parse(params=[{"name": "k", "type": "long", "default": [1], "shape": [-1]}])
    (param,) = signature.params or ()
    assert (param.name, param.type, param.default, param.many) == ("k", "long", [1], True)


def test_a_model_may_have_no_signature():
    signature = Signature.parse(None, type_hints=False)
    assert (signature.columns, signature.tensors, signature.params) == (None, None, None)
