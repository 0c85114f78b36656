"""The Saver that is added to a pruned graph."""

from __future__ import annotations

from pathlib import Path

import graphs
from conftest import Run, freeze

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
