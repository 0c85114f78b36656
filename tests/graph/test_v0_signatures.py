"""Signatures of TensorFlow 0.x are read from their collection, in the wire format of manifest.proto."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import graphs
from conftest import Run

from serialization.tensorflow import tf, tf1


def field(number: int, data: bytes | str) -> bytes:
    """A length-delimited field (https://protobuf.dev/programming-guides/encoding/)."""
    data = data.encode() if isinstance(data, str) else data
    return bytes([number << 3 | 2, len(data)]) + data


def binding(tensor: str) -> bytes:
    return field(1, tensor)


def generic(**tensors: str) -> bytes:
    return field(3, b"".join(field(1, field(1, key) + field(2, binding(name))) for key, name in tensors.items()))


REGRESSION = field(1, field(1, binding("examples:0")) + field(2, binding("y:0")))
CLASSIFICATION = field(2, field(1, binding("x:0")) + field(2, binding("classes:0")) + field(3, binding("y:0")))


def export(folder: Path, signatures: bytes) -> Path:
    """A checkpoint of y = 2 x on serialized examples, with these bytes as its signatures."""

    def build() -> None:
        examples = tf1.placeholder(tf.string, [None], name="examples")
        read = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})
        x = tf.identity(read["x"], name="x")
        factor = tf1.get_variable("factor", initializer=2.0, use_resource=False)
        tf.as_string(tf.multiply(x, factor, name="y"), name="classes")

    def record(meta_graph: Any) -> None:
        value = meta_graph.collection_def["serving_signatures"].any_list.value.add()
        value.type_url = "type.googleapis.com/tensorflow.serving.Signatures"
        value.value = signatures

    prefix = graphs.save(folder, build, name="export")
    graphs.edit_meta(prefix, record)
    return prefix


def test_the_generic_pair_becomes_serving_default(run: Run, tmp_path: Path) -> None:
    inputs, outputs = (
        field(2, field(1, key) + field(2, generic(**{name: f"{name}:0"})))
        for key, name in (("inputs", "x"), ("outputs", "y"))
    )
    prefix = export(tmp_path, field(1, REGRESSION) + inputs + outputs)
    shown = json.loads(run("model_inspect", prefix, "--json").stdout)["graphs"][0]["signatures"]
    sides = {k: [[t["key"], t["name"]] for t in (*s["inputs"], *s["outputs"])] for k, s in shown.items()}
    assert sides == {
        "regress": [["inputs", "examples:0"], ["outputs", "y:0"]],
        "serving_default": [["x", "x:0"], ["y", "y:0"]],
    }
    assert {s["method"] for s in shown.values()} == {"tensorflow/serving/regress", "tensorflow/serving/predict"}
    assert shown["serving_default"]["inputs"][0]["shape"] == [None, 1]
    done = run("savedmodel_from_checkpoint", "--checkpoint", prefix, "--export-dir", tmp_path / "sm")
    assert (done.status, done.stderr) == (0, "")
    assert "outputs as recorded in its signature: y:0 float32 [None, 1]\n" in done.stdout
    assert "proved: y: the same bits as the source" in done.stdout


def test_a_default_signature_alone_becomes_serving_default(run: Run, tmp_path: Path) -> None:
    prefix = export(tmp_path, field(1, CLASSIFICATION))
    shown = json.loads(run("model_inspect", prefix, "--json").stdout)["graphs"][0]["signatures"]
    assert list(shown) == ["serving_default"]
    assert [t["name"] for t in shown["serving_default"]["outputs"]] == ["classes:0", "y:0"]
    assert shown["serving_default"]["outputs"][0]["dtype"] == "string"


def test_damaged_signatures_are_reported(run: Run, tmp_path: Path) -> None:
    prefix = export(tmp_path, b"\x0a\xff")
    for script, words in (("checkpoint_restore", ("--checkpoint", prefix)), ("model_inspect", (prefix,))):
        assert run(script, *words).stderr == (
            "error: the graph's serving_signatures are damaged; found bytes that are no Signatures; "
            "copy the file here again\n"
        )
