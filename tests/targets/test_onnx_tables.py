"""Lookup tables become LabelEncoders; what ONNX has no form for is refused by the table's name."""

from __future__ import annotations

from typing import Any

import graphs
import pytest

from serialization.errors import UserError
from serialization.targets.onnx_tables import make_table_handlers
from serialization.tensorflow import tf, tf1


def table(keys: Any, values: Any, default: Any) -> Any:
    """The GraphDef of a lookup, whose table the graph fills."""

    def build() -> None:
        filled = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), default)
        tf.identity(filled.lookup(tf1.placeholder(tf.constant(keys).dtype, [None], name="x")), name="y")

    with tf1.Graph().as_default() as graph:
        build()
    return graph.as_graph_def()


def test_lookups_take_the_table_itself() -> None:
    graph_def = table(["a"], [1.5], -1.0)
    assert list(make_table_handlers(graph_def)) == ["LookupTableFindV2"]
    (find,) = (node for node in graph_def.node if node.op == "LookupTableFindV2")
    assert [node.op for node in graph_def.node if node.name == find.input[0]] == ["HashTableV2"]


def test_a_graph_without_tables_needs_no_handlers() -> None:
    assert make_table_handlers(graphs.freeze(lambda: tf.constant(1.0, name="y"), ["y"])) == {}


def test_other_types_are_refused() -> None:
    with pytest.raises(UserError, match=r"^the lookup table \S+ cannot be an ONNX model's; ONNX has none from string"):
        make_table_handlers(table(["a"], [True], False))


def test_a_table_that_is_filled_from_a_file_is_refused() -> None:
    with tf1.Graph().as_default() as graph:
        fill = tf.lookup.TextFileInitializer(
            "words.txt", tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        tf.lookup.StaticHashTable(fill, -1).lookup(tf1.placeholder(tf.string, [None]))
    with pytest.raises(UserError, match="the graph does not fill it from constants; freeze its model with freezemodel"):
        make_table_handlers(graph.as_graph_def())
