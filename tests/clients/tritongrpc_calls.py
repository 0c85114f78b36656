"""Calls a server of the model `every` by tritonclient over gRPC, in the environment of that library.

python tritongrpc_calls.py HOST:PORT        prints the number of checks
"""

from __future__ import annotations

import sys
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton
from triton_values import VALUES
from tritonclient.grpc import service_pb2

LISTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def check(address: str) -> int:
    client = triton.InferenceServerClient(address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("every")
    assert client.is_model_ready("every", "1")
    assert not client.is_model_ready("none")
    assert client.get_server_metadata().name == "serialization"
    metadata = client.get_model_metadata("every")
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("every", ["1"], "tensorflow_graphdef")
    datatypes = {tensor.name: tensor.datatype for tensor in metadata.inputs}
    assert set(datatypes.values()) == set(VALUES)
    assert all(list(tensor.shape) == [-1, 2] for tensor in metadata.inputs)
    done = 9

    def make_inputs(rows: int) -> list[Any]:
        inputs = []
        for name, datatype in datatypes.items():
            array = np.repeat(VALUES[datatype], rows, axis=0)
            inputs.append(triton.InferInput(name, array.shape, datatype))
            inputs[-1].set_data_from_numpy(array)
        return inputs

    for rows, named in ((1, True), (3, False)):
        outputs = [triton.InferRequestedOutput(f"{name}_out") for name in datatypes] if named else None
        result = client.infer("every", make_inputs(rows), outputs=outputs, request_id="mine")
        assert result.get_response().id == "mine"
        for name, datatype in datatypes.items():
            expected = np.repeat(VALUES[datatype], rows, axis=0)
            found = result.as_numpy(f"{name}_out")
            if datatype == "BYTES":
                found = np.array([value.decode() for value in found.ravel()], object).reshape(expected.shape)
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype), (name, found.shape, found.dtype)
            assert (found == expected).all(), (name, found)
            done += 1

    done += check_lists(client, datatypes)
    good = make_inputs(1)
    number = triton.InferInput("fp32", (1, 2), "FP32")
    number.set_data_from_numpy(np.array([[1, np.nan]], np.float32))
    wide = triton.InferInput("fp32", (1, 3), "FP32")
    wide.set_data_from_numpy(np.ones((1, 3), np.float32))
    rest = [given for given in good if given.name() != "fp32"]
    for model, inputs, wanted, status, message in (
        ("every", [number, *rest], None, "INVALID_ARGUMENT", "fp32[0][1]: expected a number, got NaN or Infinity"),
        ("every", [wide, *rest], None, "INVALID_ARGUMENT", "fp32: expected the shape [None, 2], got [1, 3]"),
        ("every", rest, None, "INVALID_ARGUMENT", "missing input 'fp32'"),
        ("every", good, ["z"], "INVALID_ARGUMENT", "unknown output 'z'"),
        ("none", good, None, "NOT_FOUND", "no model none; the model here is every"),
    ):
        refused = None
        try:
            client.infer(model, inputs, outputs=wanted and [triton.InferRequestedOutput(name) for name in wanted])
        except triton.InferenceServerException as error:
            refused = error
        assert refused is not None, f"not refused: {message}"
        assert (refused.status(), message in refused.message()) == (f"StatusCode.{status}", True), refused
        done += 1
    client.close()
    return done


def check_lists(client: Any, datatypes: dict[str, str]) -> int:
    """The lists of InferTensorContents, which the client does not send; halves are sent as raw bytes alone."""
    request = service_pb2.ModelInferRequest(model_name="every")
    for name, datatype in datatypes.items():
        given = request.inputs.add(name=name, datatype=datatype, shape=[1, 2])
        values = VALUES[datatype].ravel().tolist()
        if datatype in LISTS:
            values = [value.encode() for value in values] if datatype == "BYTES" else values
            getattr(given.contents, LISTS[datatype]).extend(values)
    refused = None
    try:
        client._client_stub.ModelInfer(request, timeout=60)
    except grpc.RpcError as error:
        refused = error
    assert refused is not None
    assert "has no list in contents; send raw_input_contents" in refused.details()
    return 1


if __name__ == "__main__":
    print(check(sys.argv[1]))
