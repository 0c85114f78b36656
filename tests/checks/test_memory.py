"""Graphs that need too much memory or time are refused in one line, before TensorFlow computes anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Run

from serialization.checks import memory
from serialization.checks.memory import find_available_memory, require_memory_for_inputs
from serialization.errors import UserError
from serialization.formats import dtypes, protos
from serialization.graph.signature import Signature, Tensor
from serialization.run import predictor
from serialization.tensorflow import tf, tf1


def sizes(*values: int, dtype: str = "int32") -> Any:
    return tf.constant(values, dtype)


def integer(value: int) -> Any:
    return tf.constant(value, tf.int64)


ONE = 1.0
MADE: list[tuple[str, Callable[[], Any], str]] = [
    ("Fill", lambda: tf.raw_ops.Fill(dims=sizes(1 << 20, 1 << 20), value=ONE, name="n"), "4.4 TB"),
    ("Tile", lambda: tf.raw_ops.Tile(input=[ONE], multiples=sizes(1 << 30), name="n"), "4.29 GB"),
    ("Range", lambda: tf.raw_ops.Range(start=integer(0), limit=integer(1 << 40), delta=integer(8), name="n"), "1.1 TB"),
    ("LinSpace", lambda: tf.raw_ops.LinSpace(start=0.0, stop=ONE, num=1 << 30, name="n"), "4.29 GB"),
    ("BroadcastTo", lambda: tf.raw_ops.BroadcastTo(input=ONE, shape=sizes(1 << 29, 2), name="n"), "4.29 GB"),
    ("OneHot", lambda: tf.raw_ops.OneHot(indices=[1], depth=1 << 30, on_value=ONE, off_value=0.0, name="n"), "4.29 GB"),
    ("RandomUniform", lambda: tf.raw_ops.RandomUniform(shape=sizes(1 << 30), dtype=tf.float32, name="n"), "4.29 GB"),
    ("zeros", lambda: tf.raw_ops.Fill(dims=sizes(1 << 40, dtype="int64"), value=ONE, name="n"), "4.4 TB"),
]


def write(path: Path, build: Callable[[], Any]) -> Path:
    """Write a GraphDef with input x and output y = x + the sum of the tensor that `build` makes."""
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None], name="x")
        tf.add(x, tf.reduce_sum(tf.cast(build(), tf.float32)), name="y")
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def as_saved_model(folder: Path, file: Path) -> Path:
    """Write a SavedModel of the graph inside of a function, as TensorFlow 2 exports it."""
    graph_def = protos.GraphDef.FromString(file.read_bytes())
    function = graph_def.library.function.add()
    function.signature.name = "body"
    function.signature.output_arg.add(name="out", type=1)
    made = next(node for node in graph_def.node if node.name == "n")
    for node in graph_def.node:
        if node.name in {*(edge.partition(":")[0] for edge in made.input), "n"}:
            inner = function.node_def.add()
            inner.CopyFrom(node)
            inner.input[:] = [f"{edge}:output:0" for edge in node.input]
    function.ret["out"] = "n:output:0"
    call = graph_def.node.add(name="call", op="PartitionedCall")
    call.attr["f"].func.name = "body"
    call.attr["Tout"].list.type.append(1)
    call.attr["Tin"].list.SetInParent()
    saved_model = protos.SavedModel(saved_model_schema_version=1)
    meta_graph = saved_model.meta_graphs.add(graph_def=graph_def)
    meta_graph.meta_info_def.tags.append("serve")
    tensor = meta_graph.signature_def["serving_default"].outputs["y"]
    tensor.name, tensor.dtype = "call:0", 1
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    return folder


@pytest.mark.parametrize(("build", "size"), [made[1:] for made in MADE], ids=[made[0] for made in MADE])
def test_a_large_tensor_out_of_constants_is_refused(
    run: Run, tmp_path: Path, build: Callable[[], Any], size: str
) -> None:
    file = write(tmp_path / "m.pb", build)
    folder = as_saved_model(tmp_path / "sm", file)
    before = sorted(tmp_path.rglob("*"))
    frozen = ("--frozen-model", file, "--outputs", "y")
    for words, what in (
        (("freezemodel_load", *frozen), file),
        (("savedmodel_from_frozen", *frozen, "--export-dir", tmp_path / "new" / "1"), file),
        (("savedmodel_pretrained", "--saved-model", folder), folder),
        (("savedmodel_pretrained", "--saved-model", folder, "--image", file), folder),
        (("freezemodel_save", "--saved-model", folder, "--frozen-model", tmp_path / "new" / "m.pb"), folder),
    ):
        done = run(*words)
        assert done.status == 1
        assert done.stderr == (
            f"error: {what} cannot be run; its node n makes {size} out of constants; "
            "name other --outputs, or copy it here again if it is damaged\n"
        )
    assert sorted(tmp_path.rglob("*")) == before


def test_initial_values_of_a_large_variable_are_not_counted(run: Run, tmp_path: Path) -> None:
    """A RandomUniform makes the initial values of a variable of 2.4 GB, and the graph is not refused."""
    shapes = {"w": [200_000, 3000]}

    def build() -> None:
        w = tf1.get_variable("w", shapes["w"], initializer=tf1.random_uniform_initializer())
        row = tf1.placeholder(tf.int64, [None], name="row")
        tf.gather(w, row, name="y")

    graphs.save_zeros(tmp_path / "m", build, shapes)
    done = run("freezemodel_save", "--checkpoint", tmp_path / "m", "--frozen-model", tmp_path / "m.pb")
    assert "is too large to be frozen; its variables hold 2.4 GB" in done.stderr


def doubled() -> Any:
    """A kilobyte, doubled thirty-two times."""
    value = tf.raw_ops.Fill(dims=sizes(256), value=ONE)
    for number in range(32):
        value = tf.raw_ops.ConcatV2(values=[value, value], axis=0, name=f"twice_{number}")
    return value


def multiplied() -> Any:
    column, row = (tf.raw_ops.Fill(dims=sizes(*shape), value=ONE) for shape in ((1 << 21, 1), (1, 1 << 21)))
    return tf.raw_ops.Mul(x=column, y=row, name="square")


@pytest.mark.parametrize(
    ("build", "size", "name"), [(doubled, "4.4 TB", "twice_31"), (multiplied, "17.6 TB", "square")]
)
def test_a_tensor_that_grows_in_small_steps_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: Callable[[], Any], size: str, name: str
) -> None:
    monkeypatch.setattr(memory, "find_available_memory", lambda: 100_000_000_000)
    file = write(tmp_path / "m.pb", build)
    done = run("freezemodel_load", "--frozen-model", file, "--outputs", "y")
    assert done.status == 1
    assert done.stderr.startswith(f"error: the model cannot be run here; prefix/{name}:0 alone would take {size}, and ")
    assert done.stderr.endswith("memory for 100 GB; name other --outputs, or run it on a larger machine\n")
    cut = run("freezemodel_load", "--frozen-model", file, "--inputs", "x,s=Sum", "--outputs", "y")
    assert cut.status == 0, "what is fed is not computed"


def test_the_size_of_inputs_is_known_without_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a server of an ONNX or LiteRT model."""
    monkeypatch.setattr(dtypes, "_load_names", lambda: pytest.fail("TensorFlow's protobufs are not there"))
    monkeypatch.setattr(memory, "find_available_memory", lambda: memory.COPIES * 8000)
    for dtype, fits, large in (
        ("float64", 1000, 1001),
        ("string", 333, 334),
        ("bool", 8000, 8001),
        ("int4", 8000, 8001),
    ):
        require_memory_for_inputs(Signature((Tensor("x", "x", dtype, (None, fits)),), ()))
        with pytest.raises(UserError, match="a value for x takes 8"):
            require_memory_for_inputs(Signature((Tensor("x", "x", dtype, (None, large)),), ()))


def test_the_available_memory_is_the_least_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert 1 << 28 < find_available_memory() < 1 << 50
    (tmp_path / "max").write_text("12345678\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "max")
    assert find_available_memory() == 12_345_678


@pytest.mark.parametrize("new", [True, False])
def test_an_endless_loop_is_stopped(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: bool) -> None:
    def endless() -> Any:
        loops = (tf1.enable_control_flow_v2, tf1.disable_control_flow_v2)
        loops[not new]()
        try:
            return tf.while_loop(lambda i: tf.less(i, 1.0), lambda i: [i * 0.5], [tf.constant(0.5)])[0]
        finally:
            loops[0]()

    monkeypatch.setattr(predictor, "DEFAULT_TIMEOUT", 0.5)
    file = write(tmp_path / "m.pb", endless)
    line = (
        "error: the model gave no answer in 0.5 seconds; a loop in it may never end; "
        "feed it other values with --feed, or name other --outputs\n"
    )
    words = ("--frozen-model", file, "--outputs", "y")
    assert run("freezemodel_load", *words).stderr == line
    assert run("freezemodel_load", *words, "--feed", "x=[1]").stderr == line
    assert run("savedmodel_from_frozen", *words, "--export-dir", tmp_path / "1").stderr == line
    assert sorted(tmp_path.iterdir()) == [file]
