"""A signature goes on from step to step with no flag: keys, order, all outputs, default values."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
from conftest import Run, environment, inspect

import freezemodel_save
from freezemodel_serve import create_app
from serialization.files.locate import find_frozen_model
from serialization.formats import protos
from serialization.graph.recorded_signature import RECORD, remove_record
from serialization.graph.signature import Signature
from serialization.sources import frozen_reader
from serialization.sources.from_frozen import prepare_frozen_model
from serialization.sources.frozen_reader import read_graph_file
from serialization.targets import to_frozen
from serialization.tensorflow import tf, tf1

ODD_KEYS = ("a:0", "1,2=3 ü", "^up")


def export(folder: Path, inputs: dict[str, Any], outputs: dict[str, Any], **defaults: Any) -> None:
    info = tf1.saved_model.build_tensor_info
    sides = ({key: info(tensor) for key, tensor in side.items()} for side in (inputs, outputs))
    signature = tf1.saved_model.build_signature_def(*sides, tf1.saved_model.signature_constants.PREDICT_METHOD_NAME)
    for key, value in defaults.items():
        signature.defaults[key].CopyFrom(tf.make_tensor_proto(value))
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        builder = tf1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()


def place(name: str = "in", *, default: float | None = None) -> Any:
    if default is None:
        return tf1.placeholder(tf.float32, [None, 2], name=name)
    return tf1.placeholder_with_default(tf.constant(default), [], name=name)


def scale(x: Any, name: str = "out") -> Any:
    return tf.matmul(x, tf1.get_variable(f"{name}_w", [2, 2], use_resource=True), name=name)


def two_and_two(folder: Path) -> None:
    x, y = place("x_1"), place("x_0")
    export(folder, {"left": x, "right": y}, {"second": scale(x, "b"), "first": scale(y, "a")})


def functions(folder: Path) -> None:
    """As TensorFlow 2 writes it: no node has the name of a key."""
    module = tf.Module()
    module.weights = tf.Variable([[1.0, 2.0], [3.0, 4.0]])
    specs = [tf.TensorSpec([None, 2], tf.float32, name) for name in ("b", "a")]
    module.call = tf.function(lambda b, a: {"z": b @ module.weights, "same": a, "again": a}, input_signature=specs)
    tf.saved_model.save(module, str(folder), signatures=module.call)


def defaults(folder: Path) -> None:
    """One default value stands in the signature, one in the graph alone, one in both."""
    x, rate = place("x"), tf1.placeholder(tf.float32, [], name="rate")
    keep, both = place("keep", default=1.0), place("both", default=2.0)
    inputs = {"x": x, "rate": rate, "keep": keep, "both": both}
    export(folder, inputs, {"y": scale(x) * rate * keep * both}, rate=np.float32(0.5), both=np.float32(3.0))


def odd_keys(folder: Path) -> None:
    x, y = place("x"), place("y")
    first, second, third = ODD_KEYS
    export(folder, {first: x, second: y}, {second: scale(x, "a"), third: scale(y, "b"), "y": x + 1.0})


def same_tensors(folder: Path) -> None:
    x = place("x")
    y = scale(x)
    export(folder, {"x": x, "again": x}, {"y": y, "z": y, "out": y})


def an_input_as_output(folder: Path) -> None:
    x = place("x")
    export(folder, {"x": x}, {"x": x, "echo": x, "y": scale(x)})


def second_outputs(folder: Path) -> None:
    values, indices = tf.nn.top_k(scale(place("x")), 1)
    x = tf1.get_default_graph().get_tensor_by_name("x:0")
    export(folder, {"x": x}, {"indices": indices, "TopKV2": values})


def no_input(folder: Path) -> None:
    export(folder, {}, {"y": tf1.get_variable("w", [2], use_resource=True).read_value()})


KINDS = (two_and_two, functions, defaults, odd_keys, same_tensors, an_input_as_output, second_outputs, no_input)


def read_signature(folder: Path) -> dict[str, Any]:
    """What callers know of a signature: keys, dtypes, shapes, default values."""
    saved = protos.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signature = saved.meta_graphs[0].signature_def["serving_default"]
    shown = {
        side: {key: (info.dtype, str(info.tensor_shape)) for key, info in infos.items()}
        for side, infos in (("inputs", signature.inputs), ("outputs", signature.outputs))
    }
    return {**shown, "defaults": {key: tf.make_ndarray(value).tolist() for key, value in signature.defaults.items()}}


def read_frozen_signature(path: Path) -> Signature:
    return prepare_frozen_model(read_graph_file(find_frozen_model(path))).signature


@pytest.mark.parametrize("plain", [True, False], ids=["plain call", "one variable at a time"])
@pytest.mark.parametrize("build", KINDS)
def test_a_frozen_saved_model_becomes_one_with_the_same_signature(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: Callable[[Path], None], plain: bool
) -> None:
    if not plain:
        monkeypatch.setattr(to_frozen, "PLAIN", -1)
    with nullcontext() if build is functions else tf1.Graph().as_default():
        build(tmp_path / "model")
    frozen = tmp_path / "m.pb"
    done = run("freezemodel_save", "--saved-model", tmp_path / "model", "--frozen-model", frozen)
    assert (done.status, done.stderr) == (0, "")
    assert "\nproved: " in done.stdout
    done = run("savedmodel_from_frozen", "--frozen-model", frozen, "--export-dir", tmp_path / "again")
    assert (done.status, done.stderr) == (0, "")
    assert "\nproved: " in done.stdout
    source = read_signature(tmp_path / "model")
    assert read_signature(tmp_path / "again") == source
    (report,) = inspect(run, frozen)["graphs"]
    (signature,) = report["signatures"].values()
    assert [[one["key"] for one in signature[side]] for side in ("inputs", "outputs")] == [
        sorted(source["inputs"]),
        sorted(source["outputs"]),
    ]
    assert RECORD.encode() not in (tmp_path / "again" / "saved_model.pb").read_bytes()


@pytest.mark.parametrize("how", ["plain", "streamed", "stored"])
def test_a_checkpoint_keeps_the_order_of_its_flags(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """All three ways of freezing; the output that is a variable is a constant afterwards."""

    def build() -> None:
        offset = tf1.get_variable("offset", [2], use_resource=False)
        tf.identity(offset, name="unused")
        tf.add(scale(place("x")), place("y"), name="sum")

    prefix = graphs.save(tmp_path, build)
    if how == "streamed":
        monkeypatch.setattr(to_frozen, "PLAIN", -1)
    frozen = tmp_path / "m.pb"
    words = ("--inputs", "second=y,first=x", "--outputs", "total=sum,o=offset,offset,MatMul=out")
    options = ["--no-verify"] if how == "stored" else []
    done = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", frozen, *words, *options)
    assert (done.status, done.stderr) == (0, "")
    found = read_frozen_signature(frozen)
    assert [tensor.key for tensor in found.inputs] == ["second", "first"]
    assert [tensor.key for tensor in found.outputs] == ["total", "o", "offset", "MatMul"]
    assert [tensor.name for tensor in found.outputs][:3] == ["total:0", "o:0", "offset:0"]
    done = run("freezemodel_load", "--frozen-model", frozen, "--feed", '{"first": [[1, 2]], "second": [[0, 0]]}')
    assert (done.status, done.stderr) == (0, "")
    client = create_app(frozen_model=frozen).test_client()
    answer = client.post("/api/predict", json={"x": {"second": [[0, 0]], "first": [[1, 2]]}}).get_json()
    assert answer["y"].keys() == {"total", "o", "offset", "MatMul"}


@pytest.mark.parametrize("large", [False, True])
def test_a_default_value_is_one_in_every_later_step(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    """Also one that stays in a large file."""
    value = np.arange(300_000.0, dtype="f")
    with tf1.Graph().as_default():
        x, offset = tf1.placeholder(tf.float32, [], name="x"), tf1.placeholder(tf.float32, [None], name="offset")
        export(tmp_path / "model", {"x": x, "offset": offset}, {"y": x + offset[-1]}, offset=value)
    frozen = tmp_path / "m.pb"
    words = ("--saved-model", tmp_path / "model", "--frozen-model", frozen, "--feed", "x=1")
    assert run("freezemodel_save", *words).status == 0
    if large:
        monkeypatch.setattr(frozen_reader, "LARGE_FILE", 1000)
        assert read_graph_file(find_frozen_model(frozen), lean=True).constants
    done = run("freezemodel_load", "--frozen-model", frozen, "--feed", "x=1")
    assert "y:0 float32 []\n300000.0\n" in done.stdout
    client = create_app(frozen_model=frozen).test_client()
    assert client.post("/api/predict", json={"x": {"x": 2}}).get_json() == {"y": 300_001}
    done = run("savedmodel_from_frozen", "--frozen-model", frozen, "--export-dir", tmp_path / "again")
    assert (done.status, done.stderr) == (0, "")
    assert read_signature(tmp_path / "again") == read_signature(tmp_path / "model")


def test_flags_choose_by_key_and_cut_as_before(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default():
        defaults(tmp_path / "model")
    frozen = tmp_path / "m.pb"
    assert run("freezemodel_save", "--saved-model", tmp_path / "model", "--frozen-model", frozen).status == 0
    file = read_graph_file(find_frozen_model(frozen))
    chosen = prepare_frozen_model(file, None, "answer=y").signature
    assert [tensor.key for tensor in chosen.inputs] == ["both", "keep", "rate", "x"]
    assert [tensor.default is None for tensor in chosen.inputs] == [False, True, False, True]
    assert [(tensor.key, tensor.name) for tensor in chosen.outputs] == [("answer", "y:0")]
    assert [tensor.key for tensor in prepare_frozen_model(file, None, "out").signature.inputs] == ["x"]
    assert [tensor.key for tensor in prepare_frozen_model(file, "o=out,x", "out").signature.inputs] == ["o", "x"]
    again = tmp_path / "again"
    words = ("--frozen-model", frozen, "--export-dir", again, "--outputs", "mine=out")
    assert run("savedmodel_from_frozen", *words).status == 0
    assert RECORD.encode() not in (again / "saved_model.pb").read_bytes(), "it does not hold for a part of the graph"
    assert set(read_signature(again)["outputs"]) == {"mine"}


def test_the_toy_that_was_frozen_with_keys_keeps_them(run: Run, made: Path, tmp_path: Path) -> None:
    frozen = tmp_path / "m.pb"
    words = ("--inputs", "rows=Placeholder/inputs_placeholder", "--outputs", "sure=Accuracy/predictions,NN/truediv")
    assert run("freezemodel_save", "--checkpoint", made, "--frozen-model", frozen, *words).status == 0
    done = run("freezemodel_load", "--frozen-model", frozen)
    assert (done.status, done.stderr) == (0, "")
    assert run("savedmodel_from_frozen", "--frozen-model", frozen, "--export-dir", tmp_path / "out").status == 0
    found = read_signature(tmp_path / "out")
    assert (set(found["inputs"]), set(found["outputs"])) == ({"rows"}, {"sure", "NN/truediv"})


def test_a_record_that_lies_is_ignored_with_a_note(run: Run, made: Path, tmp_path: Path) -> None:
    graph_def = protos.GraphDef.FromString((made / "frozen_model.pb").read_bytes())
    for node in graph_def.node:
        if RECORD in node.attr:
            node.attr[RECORD].list.s[0] = b"1:output:0:7:x"
    (tmp_path / "m.pb").write_bytes(graph_def.SerializeToString())
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb", "--outputs", "Accuracy/predictions")
    assert (done.status, done.stderr) == (0, "")
    note = "ignored the signature that the graph's nodes record: '1:output:0:7:x' on "
    assert note in done.stdout
    assert note in inspect(run, tmp_path / "m.pb")["notes"][0]


def test_but_for_its_record_the_file_is_what_the_plain_call_writes(
    run: Run, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So TensorFlow 1.15 takes it as it takes that: attributes whose names begin with _ are ignored there too."""
    plain: list[bytes] = []
    freeze = freezemodel_save.freeze

    def freeze_and_keep(*words: Any) -> Any:
        plain.append(freeze(*words).SerializeToString(deterministic=True))
        return tf1.GraphDef.FromString(plain[-1])

    monkeypatch.setattr(freezemodel_save, "freeze", freeze_and_keep)
    frozen = tmp_path / "m.pb"
    words = ("--checkpoint", made, "--outputs", "Accuracy/predictions,NN/truediv")
    assert run("freezemodel_save", *words, "--frozen-model", frozen).status == 0
    graph_def = tf1.GraphDef.FromString(frozen.read_bytes())
    records = [list(node.attr[RECORD].list.s) for node in graph_def.node if RECORD in node.attr]
    remove_record(graph_def)
    assert sorted(entry for record in records for entry in record) == [
        b"1:input:0:0:Placeholder/inputs_placeholder",
        b"1:output:0:0:Accuracy/predictions",
        b"1:output:1:0:NN/truediv",
    ]
    assert [graph_def.SerializeToString(deterministic=True)] == plain


@pytest.fixture
def frozen(run: Run, tmp_path: Path) -> Path:
    """Two inputs, two outputs, which are 3 and 5 everywhere for ones and twos."""
    with tf1.Graph().as_default():
        x, y = place("x_1"), place("x_0")
        export(tmp_path / "model", {"left": x, "right": y}, {"sum": x + y, "more": x + y + 2.0})
    words = ("--saved-model", tmp_path / "model", "--frozen-model", tmp_path / "m.pb")
    assert run("freezemodel_save", *words).status == 0
    assert RECORD.encode() in (tmp_path / "m.pb").read_bytes()
    return tmp_path / "m.pb"


ROWS = np.ones((4, 2), "f"), np.full((4, 2), 2, "f")


def test_tf2onnx_runs_the_file(frozen: Path) -> None:
    from onnxruntime import InferenceSession
    from tf2onnx.convert import from_graph_def

    graph_def = tf1.GraphDef.FromString(frozen.read_bytes())
    model, _ = from_graph_def(graph_def, input_names=["left:0", "right:0"], output_names=["sum:0", "more:0"], opset=18)
    left, right = ROWS
    answers = InferenceSession(model.SerializeToString()).run(["sum:0", "more:0"], {"left:0": left, "right:0": right})
    assert [answer.tolist() for answer in answers] == [[[3.0] * 2] * 4, [[5.0] * 2] * 4]


CONVERT = """
import sys
import numpy as np
import tensorflow.compat.v1 as tf1
from ai_edge_litert.interpreter import Interpreter

shapes = {"left": [4, 2], "right": [4, 2]}
converter = tf1.lite.TFLiteConverter.from_frozen_graph(sys.argv[1], list(shapes), ["sum", "more"], shapes)
interpreter = Interpreter(model_content=converter.convert())
interpreter.allocate_tensors()
for detail in interpreter.get_input_details():
    interpreter.set_tensor(detail["index"], np.full((4, 2), 1 if "left" in detail["name"] else 2, "f"))
interpreter.invoke()
print([interpreter.get_tensor(detail["index"]).tolist() for detail in interpreter.get_output_details()])
"""


def test_the_tflite_converter_runs_the_file(frozen: Path) -> None:
    """In a process of its own: tf.lite registers ops, which tests of the list of ops would find."""
    done = subprocess.run(
        [sys.executable, "-c", CONVERT, str(frozen)], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == str([[[3.0] * 2] * 4, [[5.0] * 2] * 4])
