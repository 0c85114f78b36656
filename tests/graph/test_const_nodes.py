"""Constants are made and read as TensorFlow does."""

from __future__ import annotations

from typing import Any

import pytest

from serialization.formats import dtypes, protos
from serialization.formats.wire import write_varint
from serialization.graph.const_nodes import make_constant, read_array, read_integers, read_strings
from serialization.tensorflow import np, tf, tf1


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


@pytest.mark.parametrize(
    "dtype", ["float32", "float16", "bfloat16", "float64", "int8", "uint64", "bool", "complex64", "string"]
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (1, 2, 3)])
def test_a_constant_holds_the_value_as_tensorflow_reads_it(dtype: str, shape: tuple[int, ...]) -> None:
    number = tf.as_dtype(dtype)
    value = np.full(shape, b"a\0", object) if dtype == "string" else np.ones(shape, number.as_numpy_dtype)
    node = make_constant("c", value, number.as_datatype_enum)
    assert (node.name, node.op, node.attr["dtype"].type) == ("c", "Const", number.as_datatype_enum)
    read = tf.make_ndarray(node.attr["value"].tensor)
    assert (read.dtype, read.shape, read.tolist()) == (value.dtype, shape, value.tolist())


def test_a_value_in_another_order_of_memory_is_written_in_rows() -> None:
    node = make_constant("c", np.asfortranarray([[1, 2], [3, 4]], "i4"), dtypes.INT32)
    assert tf.make_ndarray(node.attr["value"].tensor).tolist() == [[1, 2], [3, 4]]


def listed(number: int, shape: tuple[int, ...], values: list[int]) -> Any:
    """A constant that lists its values one by one; the last one stands for those that are missing."""
    node = make_constant("c", np.zeros(0, "i8"), number)
    tensor = node.attr["value"].tensor
    tensor.tensor_shape.CopyFrom(protos.TensorShapeProto(dim=[{"size": size} for size in shape]))
    (tensor.int_val if number == dtypes.INT32 else tensor.int64_val).extend(values)
    return node


@pytest.mark.parametrize("number", [dtypes.INT32, dtypes.INT64])
def test_no_more_integers_are_read_than_a_tensor_has_axes(number: int) -> None:
    width = {dtypes.INT32: "i4", dtypes.INT64: "i8"}[number]
    assert read_integers(make_constant("c", np.arange(256, dtype=width), number)) == list(range(256))
    assert read_integers(make_constant("c", np.arange(257, dtype=width), number)) == []
    assert read_integers(listed(number, (2,), [5, 6])) == [5, 6]
    assert read_integers(listed(number, (2,), [])) == []
    assert read_integers(listed(number, (256,), [5])) == [5] * 256
    assert read_integers(listed(number, (2**40,), [5])) == [], "which would take all memory"
    assert read_integers(listed(number, (2**40, -1), [5])) == [5], "a damaged shape"
    assert read_integers(listed(number, (), [5] * 257)) == []


@pytest.mark.parametrize("strings", [[b"a", b"", b"c" * 300], [b""], []])
def test_strings_in_a_tensor_content_are_read_as_tensorflow_reads_them(strings: list[bytes]) -> None:
    node = make_constant("c", np.array(strings, object), dtypes.STRING)
    tensor = node.attr["value"].tensor
    tensor.ClearField("string_val")
    tensor.tensor_content = b"".join(write_varint(len(text)) for text in strings) + b"".join(strings)
    assert read_strings(node) == read_array(node).tolist() == strings
    with tf1.Graph().as_default() as graph, tf1.Session() as session:
        tf1.import_graph_def(protos.GraphDef(node=[node]), name="")
        assert session.run(graph.get_tensor_by_name("c:0")).tolist() == strings


def test_one_string_stands_for_all_and_a_content_counts_before_a_list() -> None:
    node = make_constant("c", np.array([b"a", b"b"], object), dtypes.STRING)
    del node.attr["value"].tensor.string_val[1:]
    assert read_strings(node) == [b"a", b"a"]
    node.attr["value"].tensor.tensor_content = b"\1\1xy"
    assert read_strings(node) == [b"x", b"y"]
    assert read_strings(make_constant("c", np.zeros(3, "f"), 1)) == read_strings(None) == []
