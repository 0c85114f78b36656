"""Calls a server of the model `every` by kserve's InferenceRESTClient, in the environment of that library.

    python kserve_calls.py http://HOST:PORT

It prints the number of checks.
"""

from __future__ import annotations

import asyncio
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferOutput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

VALUES = {
    "BOOL": np.array([[True, False]]),
    "UINT8": np.array([[0, 255]], np.uint8),
    "UINT16": np.array([[0, 65_535]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 2**63]], np.uint64),
    "INT8": np.array([[-128, 127]], np.int8),
    "INT16": np.array([[-(2**15), 2**15 - 1]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "FP16": np.array([[0.5, -65_504]], np.float16),
    "FP32": np.array([[0.1, -3.4e38]], np.float32),
    "FP64": np.array([[0.1, -1.7e308]], np.float64),
    "BYTES": np.array([[b"a", b"b"]], object),
}
NOT_IN_JSON = ("FP16",)  # of which the client writes no JSON


async def check(url: str) -> int:
    done = 0
    async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=60)) as client:
        assert await client.is_server_live(url) is True
        assert await client.is_server_ready(url) is True
        assert await client.is_model_ready(url, "every") is True
        assert await client.is_model_ready(url, "none") is False
        done += 4
        async with httpx.AsyncClient() as plain:
            metadata = (await plain.get(f"{url}/v2/models/every")).json()
        datatypes = {t["name"]: t["datatype"] for t in metadata["inputs"] if t["datatype"] != "BF16"}
        bf16 = InferInput("bf16", [1, 2], "BF16")  # the client has no way to pack it: JSON
        bf16.data = [0.5, -3.0]
        for binary_in in (set(VALUES), set(NOT_IN_JSON)):
            for binary_out in (set(VALUES) | {"BF16"}, set(NOT_IN_JSON), None):
                inputs = []
                for name, datatype in datatypes.items():
                    inputs.append(InferInput(name, list(VALUES[datatype].shape), datatype))
                    inputs[-1].set_data_from_numpy(VALUES[datatype], binary_data=datatype in binary_in)
                wanted = None
                if binary_out is not None:
                    wanted = [
                        RequestedOutput(f"{name}_out", {"binary_data": datatype in binary_out})
                        for name, datatype in datatypes.items()
                    ]
                request = InferRequest("every", [*inputs, bf16], "mine", request_outputs=wanted)
                answer = await client.infer(url, request, model_name="every")
                assert (answer.model_name, answer.id) == ("every", "mine")
                found: dict[str, InferOutput] = {output.name: output for output in answer.outputs}
                for name, datatype in datatypes.items():
                    array = found[f"{name}_out"].as_numpy()
                    if datatype == "BYTES":
                        array = np.array([v.encode() if isinstance(v, str) else v for v in array.ravel()], object)
                        array = array.reshape(1, 2)
                    assert array.shape == (1, 2), (name, array)
                    assert (array == VALUES[datatype]).all(), (name, array)
                    done += 1
        bad = InferInput("fp32", [1, 2], "FP32", [1.0, "x"])
        for model, message in (("every", "expected a number, got a string"), ("none", "no model none")):
            refused = ""
            try:
                await client.infer(url, InferRequest(model, [bad], "mine"), model_name=model)
            except httpx.HTTPStatusError as error:
                refused = str(error)
            assert message in refused
            done += 1
    return done


if __name__ == "__main__":
    print(asyncio.run(check(sys.argv[1])))
