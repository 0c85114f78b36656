"""Graphs at which TensorFlow's runtime crashes, hangs or takes all memory are refused before it gets them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from serialization.checks.crashes import find_crashes
from serialization.console import show_path
from serialization.formats import protos
from serialization.graph.graph_index import GraphIndex
from serialization.tensorflow import tf, tf1


def identity(graph_def: Any, source: str) -> None:
    graph_def.node.add(name="y", op="Identity", input=[source]).attr["T"].type = 1


def recursive() -> Any:
    """F calls G and G calls F."""
    graph_def = protos.GraphDef()
    graph_def.node.add(name="x", op="Placeholder").attr["dtype"].type = 1
    for name, other in (("F", "G"), ("G", "F"), ("H", "F")):
        function = graph_def.library.function.add()
        function.signature.name = name
        call = function.node_def.add(name="call", op="PartitionedCall")
        call.attr["f"].func.name = other
    identity(graph_def, "x")
    return graph_def


def many_outputs() -> Any:
    graph_def = protos.GraphDef()
    graph_def.node.add(name="x", op="Placeholder").attr["dtype"].type = 1
    graph_def.node.add(name="apart", op="Unpack", input=["x"]).attr["num"].i = 1 << 40
    identity(graph_def, "apart")
    return graph_def


def large_constant() -> Any:
    graph_def = protos.GraphDef()
    graph_def.node.add(name="c", op="Const").attr["dtype"].type = 1
    tensor = graph_def.node[0].attr["value"].tensor
    tensor.dtype = 1
    tensor.float_val.append(1.0)
    tensor.tensor_shape.dim.add(size=1 << 33)
    identity(graph_def, "c")
    return graph_def


def deep() -> Any:
    """Each of 5,000 functions calls the next."""
    graph_def = protos.GraphDef()
    graph_def.node.add(name="x", op="Placeholder").attr["dtype"].type = 1
    for number in range(5000):
        function = graph_def.library.function.add()
        function.signature.name = f"F{number}"
        if number < 4999:
            function.node_def.add(name="call", op="PartitionedCall").attr["f"].func.name = f"F{number + 1}"
    identity(graph_def, "x")
    return graph_def


def edited(change: Callable[[Any], None]) -> Callable[[], Any]:
    """A graph of two constants, their product and its copy, with this change."""

    def make() -> Any:
        graph_def = protos.GraphDef()
        for name in ("a", "b"):
            node = graph_def.node.add(name=name, op="Const")
            node.attr["dtype"].type = node.attr["value"].tensor.dtype = 1
            node.attr["value"].tensor.tensor_shape.dim.add(size=2)
            node.attr["value"].tensor.tensor_content = bytes(8)
        graph_def.node.add(name="ab", op="Mul", input=["a", "b"]).attr["T"].type = 1
        identity(graph_def, "ab")
        change(graph_def)
        return graph_def

    return make


def strings(graph_def: Any) -> None:
    tensor = graph_def.node[0].attr["value"].tensor
    tensor.dtype = 7
    tensor.tensor_content = b"\x01\x05ab"


FAULTS = [
    (deep, "its functions call each other 5,000 deep; TensorFlow can run 300"),
    (edited(lambda g: setattr(g.node[3], "name", "a:b")), "a node is called 'a:b', which is no name of a node"),
    (edited(lambda g: setattr(g.node[3], "name", "^ab")), "a node is called '^ab', which is no name of a node"),
    (edited(lambda g: g.node[2].input.append("^a:b:c:d")), "its node ab has the input '^a:b:c:d', which is no tensor"),
    (edited(lambda g: g.node[2].input.pop()), "its node ab has 1 input, and Mul takes 2"),
    (edited(lambda g: g.node[2].input.append("a")), "its node ab has 3 inputs, and Mul takes 2"),
    (
        edited(lambda g: setattr(g.node[0].attr["value"].tensor, "dtype", 99)),
        "its constant a has no dtype that TensorFlow knows, but number 99",
    ),
    (
        edited(lambda g: setattr(g.node[0].attr["value"].tensor.tensor_shape.dim[0], "size", -1)),
        "its constant a has no shape",
    ),
    (
        edited(lambda g: setattr(g.node[0].attr["value"].tensor.tensor_shape.dim[0], "size", 3)),
        "its constant a holds 8 bytes, and its shape and dtype take 12 bytes",
    ),
    (edited(strings), "its constant a is cut off; strings have other lengths than recorded"),
    (recursive, "its function F calls itself"),
    (edited(lambda g: g.node.append(g.node[0])), "it has several nodes called a"),
    (many_outputs, "its node apart has 1,099,511,627,776 inputs or outputs"),
    (large_constant, "its constants would take 34.4 GB, of which it holds 18 bytes"),
]


@pytest.mark.parametrize(("make", "fault"), FAULTS)
def test_every_script_reports_each_fault_in_one_line(
    run: Run, tmp_path: Path, make: Callable[[], Any], fault: str
) -> None:
    graph_def = make()
    (tmp_path / "m.pb").write_bytes(graph_def.SerializeToString())
    saved_model = protos.SavedModel(saved_model_schema_version=1)
    saved_model.meta_graphs.add(graph_def=graph_def).meta_info_def.tags.append("serve")
    (tmp_path / "sm").mkdir()
    (tmp_path / "sm" / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    before = sorted(tmp_path.rglob("*"))
    for words, file in (
        (("freezemodel_load", "--frozen-model", tmp_path / "m.pb"), "m.pb"),
        (("savedmodel_from_frozen", "--frozen-model", tmp_path / "m.pb", "--export-dir", tmp_path / "e"), "m.pb"),
        (("savedmodel_pretrained", "--saved-model", tmp_path / "sm"), "sm/saved_model.pb"),
    ):
        done = run(*words)
        assert done.status == 1
        assert done.stderr == f"error: {tmp_path}/{file} is damaged; {fault}; copy it here again\n"
    assert sorted(tmp_path.rglob("*")) == before
    inspected = run("model_inspect", tmp_path / "m.pb", "--strict")
    assert f"has 1 finding; the first: {fault}; see above" in inspected.stderr


def test_sound_graphs_pass() -> None:
    graph_def = protos.GraphDef()
    for name, other in (("F", "G"), ("G", "H"), ("H", "")):  # a chain of calls is no circle
        function = graph_def.library.function.add()
        function.signature.name = name
        if other:
            for number in range(2):
                function.node_def.add(name=f"call{number}", op="PartitionedCall").attr["f"].func.name = other
    joined = graph_def.node.add(name="joined", op="Pack", input=["x"] * 200_000)
    joined.attr["N"].i = 200_000
    zeros = graph_def.node.add(name="zeros", op="Const").attr["value"].tensor
    zeros.dtype = 1
    zeros.tensor_shape.dim.add(size=1 << 27)  # half a gigabyte
    assert list(find_crashes(GraphIndex(graph_def))) == []


def test_a_graph_that_ends_between_two_nodes_is_reported(run: Run, tmp_path: Path) -> None:
    """The rest of the file is a valid GraphDef."""
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 2], name="x")
        tf.nn.softmax(tf.nn.relu(x, name="middle"), name="y")
    (tmp_path / "whole.pb").write_bytes(graph.as_graph_def().SerializeToString())
    cut = tf1.GraphDef(node=graph.as_graph_def().node[:2])
    (tmp_path / "cut.pb").write_bytes(cut.SerializeToString())
    line = "the file ends with a node, without a version or library after it; it may have been cut off there\n"
    for name, times in (("whole", 0), ("cut", 1)):
        for words in (("freezemodel_load", "--frozen-model"), ("model_inspect",)):
            assert run(*words, tmp_path / f"{name}.pb").stdout.count(line) == times


def test_missing_nodes_are_reported_if_an_output_needs_them(run: Run, tmp_path: Path) -> None:
    graph_def = tf1.GraphDef()
    graph_def.versions.producer = 27
    for name, op, source in (
        ("a", "Placeholder", ""),
        ("b", "Neg", "gone"),
        ("c", "Abs", "gone_too"),
        ("d", "Neg", "a"),
    ):
        node = graph_def.node.add(name=name, op=op, input=[source] * bool(source))
        node.attr["dtype" if op == "Placeholder" else "T"].type = 1
    (tmp_path / "m.pb").write_bytes(graph_def.SerializeToString())
    done = run("model_inspect", tmp_path / "m.pb", "--strict")
    assert done.status == 1
    assert "the graph lacks gone, an input of node b, and 1 more input; it was cut off, or" in done.stdout
    assert run("freezemodel_load", "--frozen-model", tmp_path / "m.pb", "--outputs", "d").status == 0
    assert run("freezemodel_load", "--frozen-model", tmp_path / "m.pb", "--outputs", "b").stderr == (
        "error: the graph is damaged; node b needs gone, which is not in it; copy the file here again\n"
    )


def test_a_file_that_evidently_lost_its_end_is_refused(run: Run, frozen_model: Path, tmp_path: Path) -> None:
    """Its nodes record outputs that it has no more, or take nodes that it has not; it ends without a version."""
    graph_def = protos.GraphDef.FromString(frozen_model.read_bytes())
    (tmp_path / "cut.pb").write_bytes(protos.GraphDef(node=graph_def.node[:-1]).SerializeToString())
    (tmp_path / "loose.pb").write_bytes(protos.GraphDef(node=graph_def.node[1:-1]).SerializeToString())
    for name, why in (
        ("cut", "it has lost 1 output of the signature that its nodes record"),
        ("loose", "the graph lacks"),
    ):
        line = f"{show_path(tmp_path)}/{name}.pb is cut off at its end; {why}"
        done = run("freezemodel_load", "--frozen-model", tmp_path / f"{name}.pb")
        assert (done.status, done.stderr.startswith(f"error: {line}")) == (1, True), done.stderr
        assert done.stderr.endswith("; copy it here again, or name --outputs that it has\n")
        shown = run("model_inspect", tmp_path / f"{name}.pb").stdout
        assert ("the graph lacks" if name == "loose" else "the file is cut off; it has lost") in shown
    inner = graph_def.node[-3].name
    assert run("freezemodel_load", "--frozen-model", tmp_path / "cut.pb", "--outputs", inner).status == 0


def test_a_file_that_lacks_nodes_and_a_version_is_refused(run: Run, tmp_path: Path) -> None:
    graph_def = protos.GraphDef()
    for name, source in (("b", "gone"), ("c", "b")):
        graph_def.node.add(name=name, op="Neg", input=[source]).attr["T"].type = 1
    (tmp_path / "m.pb").write_bytes(graph_def.SerializeToString())
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb")
    assert "m.pb is cut off at its end; the graph lacks gone, an input of node b; copy it here again, or" in done.stderr
