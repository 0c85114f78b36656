"""A graph is cut at its inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Run, freeze
from handmade_graphs import X, graph

from serialization.errors import UserError
from serialization.graph.cut import cut_at_inputs
from serialization.graph.graph_index import GraphIndex
from serialization.graph.signature import Signature, Tensor
from serialization.tensorflow import tf, tf1


def test_a_queue_is_cut_at_an_inner_tensor(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        queue = tf1.train.input_producer([[1.0, 2.0]], num_epochs=1, name="producer")
        row = tf.identity(queue.dequeue(), name="row")
        tf.multiply(row, tf1.get_variable("w", [2], initializer=tf1.ones_initializer()), name="y")

    with tf1.Graph().as_default(), tf1.Session() as session:
        build()
        session.run([tf1.global_variables_initializer(), tf1.local_variables_initializer()])
        tf1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    done = freeze(run, tmp_path / "model.ckpt", tmp_path, "--inputs", "row", "--outputs", "y")
    assert (done.status, done.stderr) == (0, "")
    assert "cut at row:0; the ops before it are left out" in done.stdout
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb", "--feed", "row=[3,4]")
    assert "prefix/y:0 float32 [2]\n[3. 4.]\n" in done.stdout
    done = freeze(run, tmp_path / "model.ckpt", tmp_path, "--outputs", "y", "--overwrite")
    assert "inputs, as the outputs need them: row:0 float32 [2]" in done.stdout, (
        "a queue is no source of values; its author gave the batch this name"
    )


def tensor(name: str, key: str = "", shape: tuple[int | None, ...] | None = (None, 2)) -> Tensor:
    return Tensor(key or name, name, "float32", shape)


def wanted(*inputs: Tensor) -> Signature:
    return Signature(inputs, (tensor("y:0"),))


CHAIN = GraphIndex(graph(X, ("a", "Split", ["x"]), ("b", "Neg", ["a:1"]), ("y", "AddN", ["b", "a:1", "a", "^b"])))


def test_a_graph_that_begins_with_its_inputs_is_left_as_it_is() -> None:
    signature = wanted(tensor("x:0"))
    assert cut_at_inputs(CHAIN, signature) == (CHAIN, signature, [])


def test_the_placeholder_takes_the_name_of_a_node_that_nothing_needs() -> None:
    given = GraphIndex(graph(X, ("a", "Neg", ["x"]), ("y", "Neg", ["a"])))
    index, signature, notes = cut_at_inputs(given, wanted(tensor("a:0")))
    assert notes == ["cut at a:0; the ops before it are left out"]
    assert [t.name for t in signature.inputs] == ["a:0"]
    assert (index.nodes["a"].op, list(index.nodes["a"].input)) == ("Placeholder", [])
    assert [dim.size for dim in index.nodes["a"].attr["shape"].shape.dim] == [-1, 2]
    assert list(index.nodes["y"].input) == ["a"]
    assert given.nodes["a"].op == "Neg", "the given graph is unchanged"


def test_a_node_that_is_still_needed_keeps_its_name() -> None:
    index, signature, notes = cut_at_inputs(CHAIN, wanted(tensor("a:1", "k", None), tensor("a:1", "l", None)))
    assert notes == ["cut at a:1; the ops before it are left out; fed as a_input_1"]
    assert [(t.key, t.name) for t in signature.inputs] == [("k", "a_input_1:0"), ("l", "a_input_1:0")]
    assert list(index.nodes["y"].input) == ["b", "a_input_1", "a", "^b"]
    assert list(index.nodes["b"].input) == ["a_input_1"]
    assert index.nodes["a_input_1"].attr["shape"].shape.unknown_rank
    assert index.nodes["a"].op == "Split"


def test_two_outputs_of_one_node_have_two_placeholders() -> None:
    index, signature, _ = cut_at_inputs(CHAIN, wanted(tensor("a:0"), tensor("a:1")))
    assert [t.name for t in signature.inputs] == ["a_input:0", "a_input_1:0"]
    assert list(index.nodes["y"].input) == ["b", "a_input_1", "a_input", "^b"]


def test_a_name_that_is_taken_is_not_taken_again() -> None:
    taken = GraphIndex(
        graph(X, ("a", "Unique", ["x"]), ("a_input", "Neg", ["a"]), ("y", "AddN", ["a_input", "a", "a:1"]))
    )
    index, signature, _ = cut_at_inputs(taken, wanted(tensor("a:0")))
    assert [t.name for t in signature.inputs] == ["a_input_:0"]
    assert list(index.nodes["y"].input) == ["a_input", "a_input_", "a:1"]


def test_a_tensor_of_unknown_dtype_is_no_place_to_cut() -> None:
    index = GraphIndex(graph(X, ("a", "Unheard", ["x"]), ("y", "Neg", ["a"])))
    with pytest.raises(UserError) as caught:
        cut_at_inputs(index, wanted(Tensor("a", "a:0", "unknown", None)))
    assert str(caught.value) == (
        "the graph cannot be cut at a:0; its dtype is unknown, as the op Unheard is; "
        "load its library with --op-library FILE.so"
    )
