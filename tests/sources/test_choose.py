"""Inputs and outputs are chosen by name, from the signature, or by inference."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Run, freeze, nothing_left

from serialization.errors import UserError
from serialization.graph.graph_index import GraphIndex
from serialization.graph.signature import Signature, Tensor
from serialization.sources.choose import choose_signature, prepare_graph
from serialization.sources.frozen_reader import GraphFile
from serialization.tensorflow import tf, tf1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--outputs", "logitz"), "no tensor logitz:0 in the graph; the nearest are logits:0"),
        (("--outputs", "logits:3"), "no tensor logits:3 in the graph; logits has one output, logits:0"),
        (
            ("--outputs", "sparse_softmax_cross_entropy_loss/value", "--inputs", "x"),
            "the outputs also need labels:0 int64 [None]; add it to --inputs",
        ),
    ],
)
def test_wrong_tensor_names_are_refused(run: Run, tmp_path: Path, words: tuple[str, ...], line: str) -> None:
    prefix = graphs.save(tmp_path, graphs.classifier)
    done = freeze(run, prefix, tmp_path, *words)
    assert done.status == 1
    first = done.stderr.splitlines()[0]
    assert first == f"error: {line}" or first.startswith(f"error: {line}, ")
    assert nothing_left(tmp_path)


def test_several_signatures_of_a_checkpoint_are_listed(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, graphs.classifier)

    def record(meta_graph: Any) -> None:
        for key in ("first", "second"):
            meta_graph.signature_def[key].outputs["y"].name = "logits:0"

    graphs.edit_meta(prefix, record)
    done = freeze(run, prefix, tmp_path)
    assert done.stderr == (
        "error: the graph records several signatures and none called serving_default; found first, second; "
        "choose with --inputs and --outputs\n"
    )
    assert freeze(run, prefix, tmp_path, "--outputs", "logits").status == 0


def test_a_python_op_for_a_summary_is_not_an_output(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        graphs.classifier()
        logits = tf1.get_default_graph().get_tensor_by_name("logits:0")
        tf1.summary.scalar("metric", tf1.py_func(lambda x: x.mean(), [logits], tf.float32, name="metric"))
        tf.nn.softmax(logits, name="probabilities")

    prefix = graphs.save(tmp_path, build)
    done = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (0, "")
    assert "inferred output probabilities:0" in done.stdout


def file(build: Callable[[], Any], **signatures: tuple[str, str]) -> GraphFile:
    """The graph of a MetaGraphDef that records signatures, each from one tensor to another."""
    with tf1.Graph().as_default() as built:
        build()
    meta_graph = tf1.MetaGraphDef(graph_def=built.as_graph_def(add_shapes=True))
    for key, (given, answered) in signatures.items():
        tensors = meta_graph.signature_def[key]
        for info, name in ((tensors.inputs["in"], given), (tensors.outputs["out"], answered)):
            info.name, info.dtype = name, 1
            for size in (-1, 2):
                info.tensor_shape.dim.add(size=size)
    return GraphFile(GraphIndex(meta_graph.graph_def), meta_graph)


def two_steps() -> None:
    x = tf1.placeholder(tf.float32, [None, 2], name="x")
    rate = tf1.placeholder(tf.float32, [], name="rate")
    tf.add(tf.multiply(x, rate, name="y"), 1.0, name="z")


def shown(tensors: Iterable[Tensor]) -> list[str]:
    return [f"{tensor.key}={tensor.name}" for tensor in tensors]


@pytest.mark.parametrize(
    ("inputs", "outputs", "recorded", "chosen"),
    [
        (None, None, {}, "x=x:0,rate=rate:0 z=z:0"),
        (None, "y", {}, "x=x:0,rate=rate:0 y=y:0"),
        ("k=x,rate", "l=z:0", {}, "k=x:0,rate=rate:0 l=z:0"),
        ("y", None, {}, "y=y:0 z=z:0"),
        (None, None, {"serving_default": ("x:0", "y:0")}, "in=x:0 out=y:0"),
        (None, None, {"other": ("x:0", "y:0")}, "in=x:0 out=y:0"),
        (None, None, {"a": ("x:0", "z:0"), "serving_default": ("x:0", "y:0")}, "in=x:0 out=y:0"),
        (None, "z", {"serving_default": ("x:0", "y:0")}, "x=x:0,rate=rate:0 z=z:0"),
        ("x,rate", None, {"serving_default": ("x:0", "y:0")}, "x=x:0,rate=rate:0 out=y:0"),
    ],
)
def test_flags_come_before_the_recorded_signature_and_that_before_inference(
    inputs: str | None, outputs: str | None, recorded: dict[str, tuple[str, str]], chosen: str
) -> None:
    signature, _ = choose_signature(file(two_steps, **recorded), inputs, outputs)
    assert " ".join(",".join(shown(side)) for side in (signature.inputs, signature.outputs)) == chosen


def test_each_choice_has_a_note() -> None:
    assert choose_signature(file(two_steps), None, "z")[1] == [
        "inputs, as the outputs need them: x:0 float32 [None, 2], rate:0 float32 []"
    ]
    assert choose_signature(file(two_steps), "x,rate", "z")[1] == []
    assert choose_signature(file(two_steps, serving_default=("x:0", "y:0")), None, None)[1] == [
        "outputs as recorded in its signature: out=y:0 float32 [None, 2]"
    ]
    first, second = choose_signature(file(two_steps), None, None)[1]
    assert first.startswith("inferred output z:0 float32 [None, 2]: ")
    assert second.startswith("inputs, as the outputs need them: ")


def ambiguous() -> None:
    for name in ("a", "b"):
        x = tf1.placeholder(tf.float32, [None, 2], name=f"x_{name}")
        labels = tf1.placeholder(tf.float32, [None, 2], name=f"labels_{name}")
        y = tf.identity(x @ tf1.get_variable(f"w_{name}", [2, 2]), name=f"y_{name}")
        tf1.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(tf.square(y - labels)))


def nothing() -> None:
    tf1.placeholder(tf.float32, [], name="x")
    tf.no_op()


@pytest.mark.parametrize(
    ("build", "inputs", "outputs", "recorded", "line"),
    [
        (two_steps, "x", "z", {}, "the outputs also need rate:0 float32 []; add it to --inputs"),
        (two_steps, None, "z:1", {}, "no tensor z:1 in the graph; z has one output, z:0"),
        (two_steps, None, "qqqqqq", {}, "no tensor qqqqqq:0 in the graph; none of its "),
        (two_steps, "rat", "z", {}, "no tensor rat:0 in the graph; the nearest are rate:0"),
        (two_steps, None, None, {"serving_default": ("gone:0", "y:0")}, "no tensor gone:0 in the graph; "),
        (two_steps, None, None, {"serving_default": ("x:0", "gone:0")}, "no tensor gone:0 in the graph; "),
        (
            two_steps,
            None,
            None,
            {"a": ("x:0", "y:0"), "b": ("x:0", "y:0")},
            "the graph records several signatures and none called serving_default; found a, b; "
            "choose with --inputs and --outputs",
        ),
        (ambiguous, None, None, {}, "it is ambiguous what the graph's outputs are; candidates are "),
        (
            nothing,
            None,
            None,
            {},
            "the graph computes nothing that looks like an output; found no tensor left over; name --outputs",
        ),
    ],
)
def test_an_impossible_choice_is_one_line(
    build: Callable[[], Any], inputs: str | None, outputs: str | None, recorded: dict[str, tuple[str, str]], line: str
) -> None:
    with pytest.raises(UserError) as caught:
        choose_signature(file(build, **recorded), inputs, outputs)
    assert str(caught.value).startswith(line)


def test_a_prepared_graph_has_the_nodes_that_the_outputs_need() -> None:
    ready = prepare_graph(file(two_steps), None, "y")
    assert [node.name for node in ready.index.graph_def.node] == ["x", "rate", "y"]
    assert ready.initializers == ()
    ready = prepare_graph(file(two_steps), "y", "z")
    assert [node.op for node in ready.index.graph_def.node if node.name == "y"] == ["Placeholder"]
    assert "x" not in [node.name for node in ready.index.graph_def.node]
    assert ready.notes == ("cut at y:0; the ops before it are left out",)


def test_known_tensors_are_not_chosen_again() -> None:
    known = Signature((), (Tensor("k", "y:0", "float32", None),))
    ready = prepare_graph(file(two_steps, serving_default=("x:0", "z:0")), None, None, known=known)
    assert (ready.signature, ready.notes) == (known, ())


def chained_tables() -> None:
    """A table whose values are looked up in another one."""
    words = tf.constant(["a", "b"])
    first = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(words, tf.constant([0, 1])), -1, name="first")
    values = first.lookup(words)
    second = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(words, values), -1, name="second")
    tf.identity(second.lookup(tf1.placeholder(tf.string, [None], name="x")), name="y")
    tf.identity(tf1.placeholder(tf.float32, [], name="other"), name="z")


def test_tables_that_fill_tables_are_kept_with_their_initializers() -> None:
    ready = prepare_graph(file(chained_tables), None, "y")
    filled = {node.name: node.input[0] for node in ready.index.graph_def.node if node.op == "LookupTableImportV2"}
    assert [filled[name] for name in ready.initializers] == ["second", "first"]
    assert prepare_graph(file(chained_tables), None, "z").initializers == ()
