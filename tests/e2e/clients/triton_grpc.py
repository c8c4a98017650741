"""What tritonclient sees of a server over gRPC: `triton_grpc.py HOST:PORT`; in an environment of its own."""

import sys

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException


def given(name: str, values: list[float]) -> InferInput:
    tensor = InferInput(name, [len(values), 1], "FP64")
    tensor.set_data_from_numpy(np.array(values).reshape(-1, 1))
    return tensor


def refused(client: InferenceServerClient, *args: object, **kwargs: object) -> InferenceServerException:
    try:
        client.infer(*args, **kwargs)
    except InferenceServerException as exc:
        return exc
    raise AssertionError("the request was answered")


client = InferenceServerClient(sys.argv[1])
assert client.is_server_live()
assert client.is_server_ready()
assert client.is_model_ready("linear")
assert client.is_model_ready("linear", "1")
assert client.get_server_metadata().name == "servegen"
metadata = client.get_model_metadata("linear")
assert [(i.name, i.datatype) for i in metadata.inputs] == [("x1", "FP64"), ("x2", "FP64")]
assert metadata.outputs[0].datatype == "FP64"

inputs = [given("x1", [2.0, 0.0]), given("x2", [1.0, 0.0])]
answer = client.infer("linear", inputs, request_id="r1")
assert answer.as_numpy("output-0").ravel().tolist() == [8.0, 1.0]
assert answer.get_response().id == "r1"
answer = client.infer("linear", inputs, outputs=[InferRequestedOutput("output-0")], client_timeout=30)
assert answer.as_numpy("output-0").ravel().tolist() == [8.0, 1.0]

assert refused(client, "linear", inputs[:1]).status() == "StatusCode.INVALID_ARGUMENT"
assert "output" in refused(client, "linear", inputs, outputs=[InferRequestedOutput("nope")]).message()
assert refused(client, "other", inputs).status() == "StatusCode.NOT_FOUND"
sys.stdout.write("ok\n")
