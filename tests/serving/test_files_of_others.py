"""The server runs ONNX and LiteRT files that another program wrote: no record, signatures of their own, any dtype."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from onnx import TensorProto, helper, numpy_helper
from serving_models import post

import freezemodel_serve
from serialization.errors import UserError
from serialization.serving.http.predict_route import SERVING
from serialization.serving.limits import Settings
from serialization.tensorflow import np, tf


def serve(**model: Any) -> FlaskClient:
    client: FlaskClient = freezemodel_serve.create_app(**model, settings=Settings()).test_client()
    return client


def get_engine(client: FlaskClient) -> Any:
    return client.application.config[SERVING].first.current.engine


def write_onnx(file: Path, *, opset: int = 18, domain: str = "") -> Path:
    """Left, right float32 [batch, 2] -> sum float32 [batch, 2] and mean, which is that of all rows."""
    value, kind = helper.make_tensor_value_info, TensorProto.FLOAT
    nodes = [
        helper.make_node("Add", ["left", "weights"], ["weighted"]),
        helper.make_node("Add", ["weighted", "right"], ["sum"], domain=domain),
        helper.make_node("ReduceMean", ["sum"], ["mean"], keepdims=0),
    ]
    weights = numpy_helper.from_array(np.array([10, 20], "f"), "weights")
    inputs = [value(name, kind, ["batch", 2]) for name in ("left", "right")]
    # Exporters before IR version 4 listed the weights among the inputs.
    inputs += [value("weights", kind, [2])] if opset < 9 else []
    outputs = [value("sum", kind, ["batch", 2]), value("mean", kind, [])]
    graph = helper.make_graph(nodes, "made elsewhere", inputs, outputs, [weights])
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=3 if opset < 9 else 8, producer_name="pytorch")
    file.write_bytes(model.SerializeToString())
    return file


def write_quantized(file: Path, dtype: Any) -> Path:
    """X [any, 4] of this dtype -> y [any, 3]: 8 bits that stand for a float32, by a scale and a zero point."""
    generator = np.random.default_rng(0)
    weights = tf.constant(generator.normal(size=[4, 3]), tf.float32)
    function = tf.function(lambda x: {"y": tf.matmul(x, weights)})
    concrete = function.get_concrete_function(x=tf.TensorSpec([None, 4], tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = dtype
    converter.representative_dataset = lambda: ([generator.normal(size=[1, 4]).astype("f")] for _ in range(50))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it measures the inputs itself
        file.write_bytes(converter.convert())
    return file


@pytest.mark.parametrize("opset", [8, 13, 18])
def test_an_onnx_file_is_served_by_its_own_names_and_each_request_alone(tmp_path: Path, opset: int) -> None:
    client = serve(onnx=write_onnx(tmp_path / "m.onnx", opset=opset))
    body = json.dumps({"x": {"left": [[1, 2], [3, 4]], "right": [[0, 0], [1, 1]]}})
    assert post(client, body) == (200, {"y": {"sum": [[11, 22], [14, 25]], "mean": 18}})
    assert not get_engine(client).together, "the mean is of all rows"
    assert get_engine(client).batch_size == 1
    status, answer = post(client, '{"x": {"left": [[1, 2]], "weights": [1, 2]}}')
    assert (status, answer["error"][:1]) == (400, "x")
    names = [tensor["name"] for tensor in client.get("/v2/models/m").get_json()["inputs"]]
    assert names == ["left", "right"]


@pytest.mark.parametrize(("name", "least", "most"), [("int8", -128, 127), ("uint8", 0, 255)])
def test_a_quantized_litert_file_takes_and_gives_its_own_numbers(
    tmp_path: Path, name: str, least: int, most: int
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    file = write_quantized(tmp_path / "m.tflite", tf.as_dtype(name))
    client = serve(tflite=file)
    rows = [[least, 0, 1, most], [most, most, 0, least]]
    interpreter = Interpreter(model_path=str(file))
    (taken,) = interpreter.get_input_details()
    assert taken["quantization"][0] > 0
    interpreter.resize_tensor_input(taken["index"], [2, 4])
    interpreter.allocate_tensors()
    interpreter.set_tensor(taken["index"], np.array(rows, name))
    interpreter.invoke()
    expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    assert expected.dtype == name
    assert len(np.unique(expected)) > 2
    assert post(client, json.dumps({"x": rows})) == (200, {"y": expected.tolist()})
    for wrong in (least - 1, most + 1, 0.5, True):
        status, answer = post(client, json.dumps({"x": [[wrong, 0, 0, 0]]}))
        assert (status, answer["error"].partition(":")[0]) == (400, "x[0][0]")
    metadata = client.get("/v2/models/m").get_json()
    assert [one[0]["datatype"] for one in (metadata["inputs"], metadata["outputs"])] == [name.upper()] * 2


@pytest.mark.parametrize("flag", ["onnx", "tflite"])
@pytest.mark.parametrize("damage", ["cut", "other bytes", "empty"])
def test_a_damaged_file_is_one_line(tmp_path: Path, flag: str, damage: str) -> None:
    file = tmp_path / f"m.{flag}"
    whole = (write_onnx(file) if flag == "onnx" else write_quantized(file, tf.int8)).read_bytes()
    parts = {"cut": whole[: len(whole) // 2], "other bytes": whole[:20] + bytes(len(whole) - 20), "empty": b""}
    file.write_bytes(parts[damage])
    with pytest.raises(UserError) as caught:
        serve(**{flag: file})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"opset": 99}, "its opset 99 is newer than those that this onnxruntime knows"),
        ({"domain": "their.ops"}, "their.ops:Add"),
    ],
)
def test_a_file_of_another_opset_is_one_line(tmp_path: Path, how: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=f"^onnxruntime cannot run the model: .*{reason}") as caught:
        serve(onnx=write_onnx(tmp_path / "m.onnx", **how))
    assert "\n" not in str(caught.value)
