"""The signature that a frozen graph's nodes record: what is read is what was written, and a lie is ignored."""

from __future__ import annotations

from typing import Any

import pytest

from serialization.errors import UserError
from serialization.formats import protos
from serialization.graph.graph_index import GraphIndex
from serialization.graph.recorded_signature import (
    COUNT,
    RECORD,
    count_lost_outputs,
    order_as_recorded,
    read_recorded_signature,
    record_signature,
    remove_record,
)
from serialization.graph.signature import Signature, Tensor
from serialization.tensorflow import np, tf, tf1

X = Tensor("x", "x:0", "float32", None)
OUTPUTS = (("first", "pair", 0), ("second", "pair", 1))
DEFAULT = protos.TensorProto.FromString(tf.make_tensor_proto(np.float32(0.5)).SerializeToString())


def build() -> Any:
    """Two inputs, one of which has a default value, and a node with two outputs."""
    graph_def = protos.GraphDef()
    for name, op, edges in (
        ("rate/default", "Const", []),
        ("rate", "PlaceholderWithDefault", ["rate/default"]),
        ("x", "Placeholder", []),
        ("pair", "IdentityN", ["x", "rate"]),
    ):
        node = graph_def.node.add(name=name, op=op, input=edges)
        node.attr["dtype"].type = 1
    graph_def.node[0].attr["value"].tensor.CopyFrom(DEFAULT)
    for node in graph_def.node[1:3]:
        node.attr["shape"].shape.SetInParent()
    graph_def.node[3].attr["T"].list.type.extend([1, 1])
    del graph_def.node[3].attr["dtype"]
    return graph_def


def tensor(key: str, name: str, default: bytes | None = None, shape: tuple[int, ...] | None = ()) -> Tensor:
    return Tensor(key, name, "float32", shape, default)


SIGNATURE = Signature(
    (tensor("x", "x:0"), tensor("again", "x:0"), tensor("keep: 1=2,é", "rate:0", DEFAULT.SerializeToString())),
    (tensor("b", "pair:1", shape=None), tensor("", "pair:0", shape=None), tensor("same", "x:0")),
)


def test_what_is_read_is_what_was_recorded() -> None:
    graph_def = build()
    record_signature(graph_def, Signature((), (tensor("stale", "x:0"),)))
    record_signature(graph_def, SIGNATURE)
    assert read_recorded_signature(GraphIndex(graph_def)) == (SIGNATURE, [])
    entries = {node.name: list(node.attr[RECORD].list.s) for node in graph_def.node if RECORD in node.attr}
    assert entries == {
        "x": [b"1:input:0:0:x", b"1:input:1:0:again", b"1:output:2:0:same"],
        "rate": ["1:optional:2:0:keep: 1=2,é".encode()],
        "pair": [b"1:output:0:1:b", b"1:output:1:0:"],
    }
    with tf1.Graph().as_default() as graph:
        tf1.import_graph_def(tf1.GraphDef.FromString(graph_def.SerializeToString()), name="")
    again = GraphIndex(protos.GraphDef.FromString(graph.as_graph_def().SerializeToString()))
    assert read_recorded_signature(again) == (SIGNATURE, []), "TensorFlow keeps it"
    remove_record(graph_def)
    assert graph_def == build()
    assert read_recorded_signature(GraphIndex(graph_def)) == (None, [])


def test_a_graph_that_was_cut_elsewhere_has_the_tensors_that_are_left() -> None:
    graph_def = build()
    record_signature(graph_def, SIGNATURE)
    del graph_def.node[3]
    found, notes = read_recorded_signature(GraphIndex(graph_def))
    assert found is not None
    assert ([t.key for t in found.inputs], [t.key for t in found.outputs], notes) == (
        ["x", "again", "keep: 1=2,é"],
        ["same"],
        [],
    )


@pytest.mark.parametrize(
    ("node", "entries", "reason"),
    [
        ("pair", ["1:output:0:2:y"], "'1:output:0:2:y' on pair: the node has no output 2"),
        ("x", ["1:input:0:0:x"], "the graph has none of its outputs"),
        ("x", ["1:output:0:0:y", "1:output:1:0:y"], "two tensors have the key 'y'"),
        ("x", ["1:output:0:0:y", "1:output:0:0:z"], "it has two tensors at place 0 of the outputs"),
        ("x", ["2:output:0:0:y"], "'2:output:0:0:y' on x is of version 2, and this reads version 1"),
        ("x", ["1:optional:0:0:x", "1:output:0:0:y"], "x has no constant as its default"),
        ("x", ["1:output:0:y"], "'1:output:0:y' on x is not of its form"),
        ("x", ["1:label:0:0:y"], "'1:label:0:0:y' on x is not of its form"),
        ("x", ["1:output:-1:0:y"], "'1:output:-1:0:y' on x is not of its form"),
        ("x", ["1:output:²:0:y"], "'1:output:²:0:y' on x is not of its form"),
        ("x", [f"1:output:{'9' * 5000}:0:y"], f"'1:output:{'9' * 51}' on x is not of its form"),
        ("x", [b"1:output:0:0:\xff"], "'1:output:0:0:\ufffd' on x is not of its form"),
        ("x", ["1:output:0:0:" + "y" * 1001], f"'1:output:0:0:{'y' * 47}' on x is not of its form"),
        ("x", ["\x1b[2J"], "'\\x1b[2J' on x is not of its form"),
        ("x", [f"1:output:{place}:0:{place}" for place in range(10_001)], "it has 10,001 tensors"),
        ("x", [], "on x it is no list of strings"),
    ],
)
def test_a_record_that_lies_is_ignored(node: str, entries: list[str | bytes], reason: str) -> None:
    graph_def = build()
    (holder,) = (one for one in graph_def.node if one.name == node)
    holder.attr[RECORD].list.s.extend(entry if isinstance(entry, bytes) else entry.encode() for entry in entries)
    ignored = f"ignored the signature that the graph's nodes record: {reason}"
    assert read_recorded_signature(GraphIndex(graph_def)) == (None, [ignored])


def test_an_attribute_of_another_kind_is_ignored() -> None:
    graph_def = build()
    graph_def.node[2].attr[RECORD].s = b"1:output:0:0:y"
    graph_def.node[2].name = "a\nb"
    found, (note,) = read_recorded_signature(GraphIndex(graph_def))
    assert found is None
    assert "\n" not in note


@pytest.mark.parametrize(
    "keys", [[str(number) for number in range(10_001)], ["k" * 1001]], ids=["tensors", "characters"]
)
def test_a_signature_that_could_not_be_read_is_not_recorded(keys: list[str]) -> None:
    with pytest.raises(UserError, match=f"has {len(keys):,} tensors, and keys of up to {len(keys[-1]):,} characters"):
        record_signature(build(), Signature((), tuple(tensor(key, "x:0") for key in keys)))


def test_outputs_that_are_lost_are_counted() -> None:
    graph_def = build()
    signature = Signature((X,), tuple(Tensor(key, f"{name}:{n}", "float32", None) for key, name, n in OUTPUTS))
    record_signature(graph_def, signature)
    assert count_lost_outputs(graph_def) == 0
    cut = protos.GraphDef(node=graph_def.node[:3])
    assert count_lost_outputs(cut) == 2
    for node in cut.node:
        node.attr.pop(COUNT, None)  # as an earlier version of this project recorded
    assert count_lost_outputs(cut) == 1
    remove_record(cut)
    assert count_lost_outputs(cut) == 0
    assert all(not name.startswith("_serialization") for node in cut.node for name in node.attr)


def test_counting_takes_any_record() -> None:
    graph_def = build()
    graph_def.node[3].attr[RECORD].list.s.extend([b"", b"1:output", b"1:output:x:0:a", b"1:output:1:0:b", b"\xff:" * 9])
    assert count_lost_outputs(graph_def) == 1


@pytest.mark.parametrize("outputs", [("b", "a"), ("a", "b")])
def test_the_order_that_is_recorded_is_taken_for_the_same_tensors(outputs: tuple[str, str]) -> None:
    graph_def = build()
    tensors = {"a": Tensor("a", "pair:0", "float32", None), "b": Tensor("b", "pair:1", "float32", None)}
    record_signature(graph_def, Signature((X,), tuple(tensors[key] for key in outputs)))
    index = GraphIndex(graph_def)
    by_key = Signature((X,), (tensors["a"], tensors["b"]))
    assert [tensor.key for tensor in order_as_recorded(index, by_key).outputs] == list(outputs)
    other = Signature((X,), (tensors["a"],))
    assert order_as_recorded(index, other) == other
    assert order_as_recorded(GraphIndex(build()), by_key) == by_key
