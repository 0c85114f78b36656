"""The Saver that is added to a pruned graph."""

from __future__ import annotations

from pathlib import Path

import graphs
import pytest
from conftest import Run, freeze
from handmade_graphs import Node, X, graph

from serialization.graph.graph_index import GraphIndex
from serialization.sources.restore_ops import add_saver, replace_saver
from serialization.sources.variable_mapping import Restore, map_variables
from serialization.tensorflow import np, tf, tf1


def test_partitioned_variables_and_shards_are_restored(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 6], name="x")
        with tf1.variable_scope("", partitioner=tf1.fixed_size_partitioner(3), use_resource=False):
            w = tf1.get_variable("w", [6, 4], initializer=tf1.random_normal_initializer(seed=3))
        tf.matmul(x, tf.convert_to_tensor(w), name="y")

    prefix = graphs.save(tmp_path, build, sharded=True)
    for words in ((), ("--no-verify", "--overwrite")):
        done = freeze(run, prefix, tmp_path, *words)
        assert (done.status, done.stderr) == (0, ""), done
    assert "not verified, as --no-verify asks" in done.stdout
    graph = tf1.Graph()
    with graph.as_default():
        tf1.import_graph_def(tf1.GraphDef.FromString((tmp_path / "m.pb").read_bytes()), name="")
    with tf1.Session(graph=graph) as session:
        whole = tf1.train.NewCheckpointReader(str(prefix)).get_tensor("w")
        np.testing.assert_allclose(session.run("y:0", {"x:0": np.eye(6, dtype="f")}), whole, rtol=1e-6)


def pruned(*more: tuple[str, str, list[str]]) -> GraphIndex:
    """A graph with a variable of each kind, without anything that restores them."""
    graph_def = graph(X, ("resource", "VarHandleOp", []), ("reference", "VariableV2", []), *more)
    for node in graph_def.node:
        if node.name in ("resource", "reference"):
            node.attr["dtype"].type = 1
            node.attr["shape"].shape.dim.add(size=2)
    graph_def.node[0].attr["dtype"].type = 1
    return GraphIndex(graph_def)


RESTORES = (Restore("resource", "key_a", "", 1, (2,)), Restore("reference", "key_b", "4 2,2", 1, (2,)))


def test_a_graph_without_variables_gets_no_saver() -> None:
    graph_def = graph(X)
    meta_graph = add_saver(GraphIndex(graph_def), [])
    assert (meta_graph.graph_def, meta_graph.HasField("saver_def")) == (graph_def, False)
    assert not meta_graph.collection_def


def test_the_saver_restores_each_variable_from_its_key_and_slice() -> None:
    before = pruned()
    meta_graph = add_saver(before, RESTORES)
    assert len(before.graph_def.node) == 3, "the given graph is unchanged"
    plan = map_variables(GraphIndex(meta_graph.graph_def), meta_graph.saver_def)
    assert {name: (one.key, one.spec, one.saved) for name, one in plan.items()} == {
        "resource": ("key_a", "", True),
        "reference": ("key_b", "4 2,2", True),
    }


def test_tensorflow_imports_and_restores_it(tmp_path: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.get_variable("key_a", initializer=[1.0, 2.0])
        tf1.get_variable("key_b", initializer=[3.0, 4.0, 5.0, 6.0])
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver().save(session, str(tmp_path / "m"))
    with tf1.Graph().as_default(), tf1.Session() as session:
        saver = tf1.train.import_meta_graph(add_saver(pruned(), (RESTORES[0],)))
        saver.restore(session, str(tmp_path / "m"))
        assert [variable.op.name for variable in tf1.global_variables()] == ["resource"]
        assert session.run(tf1.global_variables()[0]).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("taken", "scope"),
    [("x", "restore"), ("restore", "restore_1"), ("restore/all", "restore_1")],
)
def test_a_name_that_is_taken_is_not_taken_again(taken: str, scope: str) -> None:
    others: list[Node] = [(taken, "NoOp", [])]
    meta_graph = add_saver(pruned(*others) if taken != "x" else pruned(), RESTORES)
    assert meta_graph.saver_def.restore_op_name == f"{scope}/all"
    names = [node.name for node in meta_graph.graph_def.node]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("there", [True, False])
def test_a_variable_has_one_read(there: bool) -> None:
    read = "resource/Read/ReadVariableOp"
    meta_graph = add_saver(pruned(*(((read, "ReadVariableOp", ["resource"]),) if there else ())), RESTORES)
    assert [node.name for node in meta_graph.graph_def.node].count(read) == 1


@pytest.mark.parametrize("recorded", [True, False])
def test_a_saver_is_put_in_place_of_the_recorded_one(tmp_path: Path, recorded: bool) -> None:
    """It saves and restores; the nodes of the old one go, and what others may name stays."""
    with tf1.Graph().as_default():
        for name, resource in (("a", True), ("b", False), ("c", True)):
            tf1.get_variable(name, initializer=float(ord(name)), use_resource=resource)
        saver = tf1.train.Saver()
        tf1.add_to_collection(tf1.GraphKeys.SAVERS, saver)
        meta_graph = saver.export_meta_graph() if recorded else tf1.train.export_meta_graph()
    replace_saver(meta_graph, [Restore(name, f"key/{name}", "", 1, ()) for name in "ab"])
    assert any(node.name.startswith("save/") for node in meta_graph.graph_def.node) != recorded
    with tf1.Graph().as_default(), tf1.Session() as session:
        again = tf1.train.import_meta_graph(meta_graph)
        session.run(tf1.global_variables_initializer())
        again.save(session, str(tmp_path / "m"))
        session.run([variable.assign(0.0) for variable in tf1.global_variables()])
        again.restore(session, str(tmp_path / "m"))
        assert [session.run(variable) for variable in tf1.global_variables()] == [ord("a"), ord("b"), 0.0]
        assert len(tf1.get_collection(tf1.GraphKeys.SAVERS)) == 1
    assert tf1.train.load_checkpoint(str(tmp_path / "m")).get_variable_to_shape_map().keys() == {"key/a", "key/b"}
