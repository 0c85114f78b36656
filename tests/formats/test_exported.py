"""The readers of other runtimes' files describe one model alike."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from conftest import Run
from exported_models import convert_to_litert

from serialization.formats.exported import ExportedSignature, ExportedTensor
from serialization.formats.onnx_file import read_onnx_file
from serialization.formats.tflite_file import read_tflite_file


def keys(signature: ExportedSignature) -> list[tuple[str, str, object]]:
    return [(tensor.key, tensor.dtype, tensor.shape) for tensor in (*signature.inputs, *signature.outputs)]


def test_the_toy_is_described(run: Run, toy: Path) -> None:
    frozen = toy / "frozen_model.pb"
    assert run("onnx_from_frozen", "--frozen-model", frozen, "--onnx", toy / "m.onnx").status == 0
    onnx = read_onnx_file((toy / "m.onnx").read_bytes())
    litert = read_tflite_file(convert_to_litert(frozen))
    expected = [("inputs_1", "float32", (None, 10)), ("output1", "bool", (None, 1))]
    assert [keys(model.signatures[0]) for model in (onnx, litert)] == [expected, expected]
    assert [model.signatures[0].key for model in (onnx, litert)] == ["", "serving_default"]
    assert onnx.signatures[0].inputs[0] == ExportedTensor("inputs_1", "inputs_1", "float32", (None, 10))
    assert asdict(onnx)["ops"] == {"Add": 3, "MatMul": 2, "Relu": 2, "Mul": 1, "Greater": 1}
    assert asdict(litert)["ops"]["GREATER"] == 1
