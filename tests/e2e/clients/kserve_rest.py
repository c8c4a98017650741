"""What kserve's REST client sees of a server: `kserve_rest.py URL`; runs in an environment of its own."""

import asyncio
import sys

import httpx
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig


async def main(url: str) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, model_name="linear")
    inputs = [
        InferInput(name="x1", shape=[2, 1], datatype="FP64", data=[2.0, 0.0]),
        InferInput(name="x2", shape=[2, 1], datatype="FP64", data=[1.0, 0.0]),
    ]
    request = InferRequest(model_name="linear", request_id="r1", infer_inputs=inputs)
    answer = await client.infer(url, request, model_name="linear")
    assert answer.outputs[0].as_numpy().ravel().tolist() == [8.0, 1.0]
    assert answer.id == "r1"
    try:
        await client.infer(
            url, InferRequest(model_name="linear", infer_inputs=inputs[:1]), model_name="linear"
        )
    except httpx.HTTPStatusError as exc:
        assert exc.response.status_code == 400
    else:
        raise AssertionError("a request without a column was answered")


asyncio.run(main(sys.argv[1]))
sys.stdout.write("ok\n")
