"""Inputs and outputs are chosen by name, from the signature, or by inference."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Run, freeze, nothing_left
from typical_graphs import cross_entropy, dense, train

from serialization.errors import UserError
from serialization.graph import op_sets
from serialization.graph.graph_def import iterate_nodes
from serialization.graph.graph_index import GraphIndex
from serialization.graph.signature import Signature, Tensor
from serialization.sources.choose import choose_signature, prepare_graph, require_values
from serialization.sources.frozen_reader import GraphFile, read_graph_def
from serialization.tensorflow import np, tf, tf1


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
        (None, None, {"serving_default": ("x:0", "y:0")}, "in=x:0,rate=rate:0 out=y:0"),
        (None, None, {"other": ("x:0", "y:0")}, "in=x:0,rate=rate:0 out=y:0"),
        (None, None, {"a": ("x:0", "z:0"), "serving_default": ("x:0", "y:0")}, "in=x:0,rate=rate:0 out=y:0"),
        (None, "z", {"serving_default": ("x:0", "y:0")}, "in=x:0,rate=rate:0 z=z:0"),
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
        "outputs as recorded in its signature: out=y:0 float32 [None, 2]",
        "inputs, as the outputs need them: in=x:0 float32 [None, 2], rate:0 float32 []",
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


ROWS = np.arange(12.0, dtype="f").reshape(4, 3), np.array([0, 1, 1, 0])


def classify(x: Any, labels: Any) -> None:
    """Dropout, a switch, an update that waits for the batch, and a loss."""
    keep, training = tf1.placeholder(tf.float32, [], name="keep_prob"), tf1.placeholder(tf.bool, [], name="is_training")
    mean = tf1.get_variable("mean", [3], trainable=False, use_resource=False)
    batches = tf1.get_variable("batches", [], trainable=False, use_resource=False)
    with tf.control_dependencies([x, tf1.assign(batches, batches + 1.0)]):
        x = x - tf1.cond(training, lambda: tf.reduce_mean(x, 0), lambda: tf.identity(mean))
    logits = dense(tf1.nn.dropout(dense(x, 4, "hidden", tf.nn.relu), keep), 2, "logits")
    tf.nn.softmax(logits, name="prob")
    train(cross_entropy(labels, logits))


def from_dataset(*, one_shot: bool) -> Any:
    data = tf1.data.Dataset.from_tensor_slices(ROWS).repeat().batch(2)
    make = tf1.data.make_one_shot_iterator if one_shot else tf1.data.make_initializable_iterator
    return make(data).get_next()


@pytest.mark.parametrize("one_shot", [True, False])
def test_no_dataset_is_in_a_frozen_file(run: Run, tmp_path: Path, one_shot: bool) -> None:
    prefix = graphs.save(tmp_path, lambda: classify(*from_dataset(one_shot=one_shot)))
    frozen = tmp_path / "frozen.pb"
    ran = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", frozen)
    assert ran.status == 0, ran.stderr
    assert "\nproved: " in ran.stdout
    kinds = {node.op: node.name for node in iterate_nodes(read_graph_def(frozen))}
    assert not [op for op in kinds if "Dataset" in op or op in op_sets.ITERATORS | op_sets.PIPELINES]
    assert "IteratorGetNext:0 float32 [None, 3]" in ran.stdout
    assert {"keep_prob", "is_training", "IteratorGetNext"} == {
        node.name for node in read_graph_def(frozen).node if node.op == "Placeholder"
    }


def test_a_batch_as_the_default_of_a_placeholder_is_cut(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        x, labels = from_dataset(one_shot=True)
        classify(tf1.placeholder_with_default(x, [None, 3], name="fed"), labels)

    prefix = graphs.save(tmp_path, build)
    ran = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / "frozen.pb")
    assert ran.status == 0, ran.stderr
    nodes = {node.name: node.op for node in read_graph_def(tmp_path / "frozen.pb").node}
    assert nodes["fed"] == "Placeholder"
    assert not any("Dataset" in op or "Iterator" in op for op in nodes.values())


def test_inputs_that_leave_a_pipeline_in_are_refused(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, lambda: classify(*from_dataset(one_shot=True)))
    names = ("--inputs", "keep_prob,is_training", "--outputs", "prob")
    ran = run("freezemodel_save", "--checkpoint", prefix, *names, "--frozen-model", tmp_path / "frozen.pb")
    assert (ran.status, ran.stdout) == (1, "")
    assert ran.stderr.endswith(
        "the outputs also need IteratorGetNext=IteratorGetNext:0 float32 [None, 3]; add it to --inputs\n"
    ) or ran.stderr.endswith("the outputs also need IteratorGetNext:0 float32 [None, 3]; add it to --inputs\n")


def two_networks(*, count: int = 2, prefix: str = "net") -> None:
    for number in range(count):
        with tf1.variable_scope(f"{prefix}_{number}"):
            x, labels = (tf1.placeholder(tf.float32, [None, size], name=n) for n, size in (("x", 3), ("labels", 2)))
            out = tf.identity(dense(x, 2, f"dense_{number}"), name="out")
            train(tf.reduce_mean(tf.square(out - labels)), f"{prefix}_{number}")


def test_what_needs_variables_that_the_checkpoint_lacks_is_no_candidate(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        two_networks()
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver(tf1.get_collection("variables", "net_1")).save(session, str(tmp_path / "model.ckpt"))
    words = ("--checkpoint", tmp_path / "model.ckpt", "--frozen-model", tmp_path / "frozen.pb")
    ran = run("freezemodel_save", *words)
    assert ran.status == 0, ran.stderr
    assert "inferred output net_1/out:0 float32 [None, 2]: " in ran.stdout


def test_an_ambiguous_choice_is_said_in_one_short_line(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, lambda: two_networks(count=9, prefix="a_rather_long_name_of_a_scope" * 3))
    ran = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / "frozen.pb")
    assert ran.status == 1
    assert ran.stderr.startswith("error: it is ambiguous what the graph's outputs are; candidates are a_rather_long")
    assert ran.stderr.endswith("more, which model_inspect.py lists; choose with --outputs\n")
    assert len(ran.stderr) <= 600


def test_five_candidates_are_named_where_their_names_are_short(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, lambda: two_networks(count=9))
    ran = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / "frozen.pb")
    assert ran.stderr.count("/out:0 float32 [None, 2]") == 5
    assert " and 4 more, which model_inspect.py lists; " in ran.stderr
    assert len(ran.stderr) <= 600


def test_a_graph_that_is_not_frozen_is_called_so_before_its_outputs_are_ambiguous(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default() as graph:
        two_networks()
    (tmp_path / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
    ran = run("freezemodel_load", "--frozen-model", tmp_path / "graph.pb")
    assert ran.status == 1
    assert " is not frozen; it holds the variables net_" in ran.stderr


def test_an_unknown_op_is_named_before_outputs_are_ambiguous(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, two_networks)

    def rename(meta_graph: Any) -> None:
        for node in meta_graph.graph_def.node:
            if node.name.endswith("/out"):
                node.op = "NoOpOfThisName"

    graphs.edit_meta(prefix, rename)
    ran = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / "frozen.pb")
    assert ran.status == 1
    assert "needs ops that TensorFlow" in ran.stderr
    assert "NoOpOfThisName" in ran.stderr


def test_flags_take_the_keys_of_a_signature(run: Run, tmp_path: Path) -> None:
    module = tf.Module()
    module.call = tf.function(lambda x: (x / 2, x * 2), input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.call)
    words = ("--saved-model", tmp_path / "model", "--frozen-model", tmp_path / "frozen.pb")
    ran = run("freezemodel_save", *words, "--outputs", "doubled=output_1", "--inputs", "x")
    assert ran.status == 0, ran.stderr
    shown = run("freezemodel_load", "--frozen-model", tmp_path / "frozen.pb", "--feed", "x=[3]")
    assert "6" in shown.stdout
    ran = run("freezemodel_save", *words, "--outputs", "output_7", "--overwrite")
    assert ran.status == 1
    assert "the keys of its signature are output_0, output_1" in ran.stderr


def test_a_signature_that_counts_on_its_pipeline_gets_the_batch_as_an_input(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, lambda: classify(*from_dataset(one_shot=True)))

    def record(meta_graph: Any) -> None:
        signature = meta_graph.signature_def["serving_default"]
        for side, key in ((signature.inputs, "keep_prob"), (signature.outputs, "prob")):
            side[key].name, side[key].dtype = f"{key}:0", tf.float32.as_datatype_enum

    graphs.edit_meta(prefix, record)
    ran = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / "frozen.pb")
    assert ran.status == 0, ran.stderr
    held = {node.name for node in read_graph_def(tmp_path / "frozen.pb").node if node.op == "Placeholder"}
    assert held == {"IteratorGetNext", "is_training", "keep_prob"}


@pytest.mark.parametrize("tensor", [Tensor("v", "v:0", "resource", ()), Tensor("list", "list:0", "variant", ())])
def test_a_handle_is_neither_fed_nor_fetched(tensor: Tensor) -> None:
    with pytest.raises(UserError, match=r"is a handle, .* name another tensor with --inputs"):
        require_values(Signature((tensor,), ()))
    with pytest.raises(UserError, match=r"is a handle, .* name another tensor with --outputs"):
        require_values(Signature((), (tensor,)))
