"""Constants are made and read as TensorFlow does."""

from __future__ import annotations

from serialization.formats import protos
from serialization.graph.const_nodes import make_constant, read_integers
from serialization.tensorflow import np


def test_integers_of_a_constant_are_read_in_each_form() -> None:
    for values in ([3, -1], [1 << 40], []):
        for dtype, number in (("<i8", 9), ("<i4", 3)):
            if dtype == "<i8" or max(values, default=0) < 1 << 31:
                assert read_integers(make_constant("c", np.array(values, dtype), number)) == values
    node = make_constant("c", np.zeros(3, "<i4"), 3)
    node.attr["value"].tensor.ClearField("tensor_content")
    node.attr["value"].tensor.int_val.append(7)
    assert read_integers(node) == [7, 7, 7], "the last number stands for those that are missing"
    assert read_integers(make_constant("c", np.zeros(3, "<f4"), 1)) == []
    assert read_integers(None) == read_integers(protos.NodeDef(op="Const")) == []
