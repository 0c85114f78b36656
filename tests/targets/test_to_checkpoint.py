"""targets/to_checkpoint.py: what stays of a graph without its parameters, and the names in the new graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphs
import pytest

import checkpoint_from_frozen
from serialization.errors import UserError
from serialization.formats.file_kind import ModelFile
from serialization.sources import frozen_reader
from serialization.sources.from_frozen import prepare_frozen_model
from serialization.targets.to_checkpoint import Unfrozen, name_in_graph, take_out_constants
from serialization.tensorflow import np, tf, tf1


def unfreeze(graph_def: Any, folder: Path, inputs: str = "x", outputs: str = "y") -> Unfrozen:
    (folder / "m.pb").write_bytes(graph_def.SerializeToString())
    file = frozen_reader.read_graph_file(ModelFile(folder / "m.pb"), lean=True)
    return take_out_constants(prepare_frozen_model(file, inputs, outputs))


def names_of(graph: Any) -> set[str]:
    return {op.name for op in graph.get_operations()}


def test_the_rest_keeps_its_names_and_waits_for_nothing_that_is_gone(tmp_path: Path) -> None:
    frozen = graphs.freeze(lambda: graphs.classifier(resource=False), ["logits"])
    read = next(node for node in frozen.node if node.name == "dense/bias/read")
    read.attr["_class"].list.s.append(b"loc:@dense/bias")
    read.input.append("^dense/kernel")
    unfrozen = unfreeze(frozen, tmp_path, outputs="logits")
    nodes = {node.name: node for node in unfrozen.rest.node}
    assert nodes.keys() == {node.name for node in frozen.node} - {"dense/kernel", "dense/bias"}
    assert list(nodes["dense/bias/read"].input) == ["dense/bias"]
    assert "_class" not in nodes["dense/bias/read"].attr
    graph, variables = checkpoint_from_frozen.import_graph(unfrozen)
    assert variables.keys() == {"dense/kernel", "dense/bias"}
    assert nodes.keys() <= names_of(graph)


def test_no_imported_node_is_renamed_beside_a_variable(tmp_path: Path) -> None:
    """Nodes have the names that a variable's own ops would take, and that of the variable's scope."""

    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 3], name="x")
        w = tf.constant(np.eye(3, dtype="f"), name="a/w")
        read = tf.identity(tf.identity(w, name="a/w/Read/ReadVariableOp"), name="ReadVariableOp")
        tf.identity(tf.matmul(x, read, name="a/w/Assign"), name="a")
        tf.identity(tf1.get_default_graph().get_tensor_by_name("a:0"), name="y")

    unfrozen = unfreeze(graphs.freeze(build, ["y"]), tmp_path)
    graph, variables = checkpoint_from_frozen.import_graph(unfrozen)
    assert {node.name: node.op for node in unfrozen.rest.node}.items() <= {
        op.name: op.type for op in graph.get_operations()
    }.items()
    (one,) = unfrozen.parameters
    assert (one.name, name_in_graph(one, unfrozen)) == ("a/w", "variables/a/w")
    assert variables["a/w"].op.name == "variables/a/w"


def test_large_constants_stay_in_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 600], name="x")
        values = np.random.default_rng(1).normal(size=(600, 600)).astype("f")
        grid = tf.constant(values, name="grid")  # no parameter: nothing that depends on an input is combined with it
        tf.add(tf.matmul(x, tf.constant(values.T.copy(), name="w")), tf.reduce_sum(tf.abs(grid)), name="y")

    monkeypatch.setattr(frozen_reader, "LARGE_FILE", 1000)
    frozen = graphs.freeze(build, ["y"])
    unfrozen = unfreeze(frozen, tmp_path)
    (one,) = unfrozen.parameters
    assert (one.node, one.name, one.shape) == ("w", "w", (600, 600))
    nodes = {node.name: node for node in frozen.node}
    wanted = tf.make_ndarray(nodes["w"].attr["value"].tensor).ravel()
    assert np.array_equal(unfrozen.read(one, 0, 360_000), wanted)
    assert np.array_equal(unfrozen.read(one, 100, 7), wanted[100:107])
    rest = {node.name: node for node in unfrozen.rest.node}
    assert rest.keys() == nodes.keys() - {"w"}
    assert rest["grid"].attr["value"].tensor == nodes["grid"].attr["value"].tensor


def test_a_model_without_parameters(tmp_path: Path) -> None:
    def build() -> None:
        tf.square(tf1.placeholder(tf.float32, [None], name="x") * 2.0, name="y")

    with pytest.raises(UserError, match="no parameters; of its 1 constant none is a weight"):
        unfreeze(graphs.freeze(build, ["y"]), tmp_path)
