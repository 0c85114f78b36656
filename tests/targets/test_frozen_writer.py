"""A frozen graph is written one node at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import PROJECT, environment

from serialization.formats.checkpoint_index import Place
from serialization.formats.checkpoint_values import StoredValue
from serialization.formats.sstable import compute_crc32c
from serialization.graph.graph_index import GraphIndex
from serialization.graph.recorded_signature import read_recorded_signature, record_signature
from serialization.graph.signature import Signature, Tensor
from serialization.targets.frozen_writer import write_frozen_graph
from serialization.tensorflow import np, tf, tf1


def test_a_graph_written_node_by_node_is_the_same_graph_def(tmp_path: Path) -> None:
    """The streamed file equals the GraphDef that protobuf writes, but for the order of fields."""
    values: dict[str, Any] = {
        "large": np.arange(100_000, dtype="i4").reshape(100, 10, 100),
        "fortran": np.asfortranarray(np.arange(90_000, dtype="f8").reshape(300, 300)),
        "small": np.array(3, "f4"),
        "text": np.array([[b"a"], [b"bc"]], object),
    }
    dtypes = {"large": 3, "fortran": 2, "small": 1, "text": 7}
    graph_def = tf1.GraphDef(node=[tf1.NodeDef(name=name, op="VariableV2") for name in values])
    for node in graph_def.node:
        node.attr["dtype"].type = dtypes[node.name]
    graph_def.versions.producer = 1087
    write_frozen_graph(tmp_path / "m.pb", graph_def, lambda node: values[node.name], 1_120_000)
    read = tf1.GraphDef.FromString((tmp_path / "m.pb").read_bytes())
    assert read.versions.producer == 1087
    assert [node.name for node in read.node] == list(values)
    for node in read.node:
        got = tf.make_ndarray(node.attr["value"].tensor)
        assert (got.dtype, got.shape) == (values[node.name].dtype, values[node.name].shape)
        assert (got == values[node.name]).all()


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import freezemodel_save
status = freezemodel_save.main(sys.argv[2:])
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("loaded", "tensorflow" in sys.modules, "peak", peak)
"""


def test_freezing_needs_neither_tensorflow_nor_memory_for_a_variable(tmp_path: Path) -> None:
    """The variable has 200 MB."""

    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 5000], name="x")
        tf.matmul(x, tf1.get_variable("w", [5000, 10_000], initializer=tf1.ones_initializer()), name="y")

    prefix = graphs.save(tmp_path, build)
    words = ["--no-verify", "--checkpoint", str(prefix), "--frozen-model", str(tmp_path / "m.pb")]
    command = [sys.executable, "-c", PROGRAM, str(PROJECT), *words]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    *_, loaded, _, peak = done.stdout.split()
    assert (loaded, done.stderr) == ("False", "")
    assert int(peak) < 100_000, "kilobytes"
    assert (tmp_path / "m.pb").stat().st_size > 200_000_000


def test_other_nodes_functions_and_versions_are_written_as_they_are(tmp_path: Path) -> None:
    with tf1.Graph().as_default() as graph:
        tf.function(tf.negative)(tf1.placeholder(tf.float32, [None], name="x"))
    graph_def = graph.as_graph_def()
    write_frozen_graph(tmp_path / "m.pb", graph_def, lambda node: pytest.fail(f"{node.name} is no variable"), 0)
    assert tf1.GraphDef.FromString((tmp_path / "m.pb").read_bytes()) == graph_def


def test_a_reference_becomes_a_constant(tmp_path: Path) -> None:
    graph_def = tf1.GraphDef(node=[tf1.NodeDef(name="v", op="Variable")])
    graph_def.node[0].attr["dtype"].type = 101
    write_frozen_graph(tmp_path / "m.pb", graph_def, lambda _: np.ones([2], "f4"), 8)
    (node,) = tf1.GraphDef.FromString((tmp_path / "m.pb").read_bytes()).node
    assert (node.op, node.attr["dtype"].type, tf.make_ndarray(node.attr["value"].tensor).tolist()) == (
        "Const",
        1,
        [1, 1],
    )


def test_a_stored_value_is_copied_from_its_places(tmp_path: Path) -> None:
    data = np.arange(6, dtype="i4").tobytes()
    (tmp_path / "data").write_bytes(b"??" + data)
    places = [Place(tmp_path / "data", 2 + at, 12, compute_crc32c(data[at : at + 12])) for at in (0, 12)]
    graph_def = tf1.GraphDef(node=[tf1.NodeDef(name="v", op="VarHandleOp")])
    graph_def.node[0].attr["dtype"].type = 3
    write_frozen_graph(tmp_path / "m.pb", graph_def, lambda _: StoredValue("v", 3, (2, 3), tuple(places)), 24)
    (node,) = tf1.GraphDef.FromString((tmp_path / "m.pb").read_bytes()).node
    assert tf.make_ndarray(node.attr["value"].tensor).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("size", [3, 100_000])
def test_a_variable_that_is_an_output_stays_one(tmp_path: Path, size: int) -> None:
    graph_def = tf1.GraphDef(node=[tf1.NodeDef(name="v", op="VarHandleOp")])
    graph_def.node[0].attr["dtype"].type = 1
    wanted = Signature((), (Tensor("weights", "v:0", "float32", None),))
    record_signature(graph_def, wanted)
    write_frozen_graph(tmp_path / "m.pb", graph_def, lambda _: np.arange(size, dtype="f4"), 4 * size)
    written = tf1.GraphDef.FromString((tmp_path / "m.pb").read_bytes())
    assert read_recorded_signature(GraphIndex(written)) == (wanted, [])
    assert tf.make_ndarray(written.node[0].attr["value"].tensor).tolist() == list(range(size))
