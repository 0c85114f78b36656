"""A frozen graph is written one node at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import graphs
from conftest import PROJECT, environment

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
