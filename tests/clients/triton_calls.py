"""Calls a server of the model `every` by tritonclient, in the environment of that library; prints the number of checks.

python triton_calls.py HOST:PORT
"""

from __future__ import annotations

import sys

import numpy as np
import tritonclient.http as triton
from triton_values import VALUES

NOT_IN_JSON = ("FP16", "BF16")  # of which the client writes no JSON


def check(url: str) -> int:
    client = triton.InferenceServerClient(url)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("every")
    assert client.is_model_ready("every", "1")
    assert not client.is_model_ready("none")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("every")
    assert (metadata["name"], metadata["versions"], metadata["platform"]) == ("every", ["1"], "tensorflow_graphdef")
    datatypes = {tensor["name"]: tensor["datatype"] for tensor in metadata["inputs"]}
    assert set(datatypes.values()) == set(VALUES)
    assert all(tensor["shape"] == [-1, 2] for tensor in metadata["inputs"])
    done = 9

    def ask(binary_in: set[str], binary_out: set[str] | None, rows: int, request_id: str = "") -> triton.InferResult:
        inputs = []
        for name, datatype in datatypes.items():
            array = np.repeat(VALUES[datatype], rows, axis=0)
            inputs.append(triton.InferInput(name, array.shape, datatype))
            inputs[-1].set_data_from_numpy(array, binary_data=datatype in binary_in)
        outputs = None
        if binary_out is not None:
            outputs = [triton.InferRequestedOutput(f"{n}_out", d in binary_out) for n, d in datatypes.items()]
        return client.infer("every", inputs, outputs=outputs, request_id=request_id)

    everything = set(VALUES)
    ways: list[tuple[set[str], set[str] | None, int]] = [
        (everything, everything, 1),
        (everything, None, 3),  # the client then asks for all outputs as bytes
        (everything, everything - {"FP32", "BYTES", "BOOL"}, 2),
        (set(NOT_IN_JSON), everything, 2),
        ({"INT8", *NOT_IN_JSON}, {"UINT64", *NOT_IN_JSON}, 2),
    ]
    for binary_in, binary_out, rows in ways:
        result = ask(binary_in, binary_out, rows, request_id="mine")
        assert result.get_response()["id"] == "mine"
        for name, datatype in datatypes.items():
            expected = np.repeat(VALUES[datatype], rows, axis=0)
            found = result.as_numpy(f"{name}_out")
            if datatype == "BYTES":
                found = np.array([v.decode() if isinstance(v, bytes) else v for v in found.ravel()], object)
                found = found.reshape(expected.shape)
            assert found.shape == expected.shape, (name, found.shape)
            assert found.dtype == expected.dtype, (name, found.dtype)
            assert (found == expected).all(), (name, found)
            done += 1

    array = np.array([[b"\xff\x00", b""]], object)  # bytes that are no text
    text = next(name for name, datatype in datatypes.items() if datatype == "BYTES")
    others = [triton.InferInput(n, (1, 2), d) for n, d in datatypes.items() if n != text]
    for given in others:
        given.set_data_from_numpy(VALUES[given.datatype()])
    strings = triton.InferInput(text, (1, 2), "BYTES")
    strings.set_data_from_numpy(array)
    result = client.infer("every", [strings, *others], outputs=[triton.InferRequestedOutput(f"{text}_out")])
    assert (result.as_numpy(f"{text}_out") == array).all()
    assert [output["name"] for output in result.get_response()["outputs"]] == [f"{text}_out"]
    done += 2

    number = triton.InferInput("fp32", (1, 2), "FP32")
    number.set_data_from_numpy(np.array([[1, np.nan]], np.float32))
    wide = triton.InferInput("fp32", (1, 3), "FP32")
    wide.set_data_from_numpy(np.ones((1, 3), np.float32))
    good = triton.InferInput("fp32", (1, 2), "FP32")
    good.set_data_from_numpy(np.ones((1, 2), np.float32))
    rest = [strings, *(given for given in others if given.name() != "fp32")]
    for model, inputs, wanted, status, message in (
        ("every", [number, *rest], None, "400", "fp32[0][1]: expected a number, got NaN or Infinity"),
        ("every", [wide, *rest], None, "400", "fp32: expected the shape [None, 2], got [1, 3]"),
        ("every", [good], None, "400", "missing input"),
        ("every", [good, *rest], [triton.InferRequestedOutput("z")], "400", "unknown output 'z'"),
        ("every", [good, *rest], [triton.InferRequestedOutput("fp32_out", class_count=2)], "400", "classification"),
        ("none", [good, *rest], None, "404", "no model none; the model here is every"),
    ):
        refused = None
        try:
            client.infer(model, inputs, outputs=wanted)
        except triton.InferenceServerException as error:
            refused = error
        assert refused is not None, f"not refused: {message}"
        assert (refused.status(), message in refused.message()) == (status, True), refused
        done += 1
    client.close()
    return done


if __name__ == "__main__":
    print(check(sys.argv[1]))
