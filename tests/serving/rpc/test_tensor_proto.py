"""TensorProtos: what TensorFlow's own functions write is read, and what is written they read."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from rpc_calls import make_tensor

from serialization.formats import protos
from serialization.formats.numpy_dtypes import get_numpy_dtype
from serialization.formats.wire import write_varint
from serialization.graph.signature import Tensor
from serialization.serving.limits import Settings
from serialization.serving.requests import RequestError
from serialization.serving.rpc.tensor_proto import TensorProtoReader, TensorProtoWriter
from serialization.tensorflow import np, tf

NUMBERS = {
    "bool": [True, False],
    **{f"int{bits}": [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": [0, 2**bits - 1] for bits in (8, 16, 32, 64)},
    "float16": [0.5, -65504.0],
    "bfloat16": [0.5, -3.0],
    "float32": [0.1, -3.4e38],
    "float64": [0.1, -1.7e308],
    "float8_e5m2": [0.5, -2.0],
    "float8_e4m3fn": [0.5, -2.0],
}


def make_reader(dtype: str = "float32", shape: Any = (None, 2), **limits: Any) -> TensorProtoReader:
    return TensorProtoReader(Tensor("x", "x:0", dtype, shape), Settings(**{"max_rows": 8, "max_body_mb": 1, **limits}))


def read(proto: Message | bytes, dtype: str = "float32", shape: Any = (None, 2), **limits: Any) -> Any:
    data = proto if isinstance(proto, bytes) else proto.SerializeToString()
    return make_reader(dtype, shape, **limits).read(data)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_what_tensorflow_writes_is_read_and_what_is_written_it_reads(dtype: str) -> None:
    array = np.array([NUMBERS[dtype]] * 3, get_numpy_dtype(dtype))
    found = read(tf.make_tensor_proto(array), dtype)
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)
    writer = TensorProtoWriter(Tensor("y", "y:0", dtype, None))
    written = protos.TensorProto.FromString(writer.write(array))
    assert not written.tensor_content, "clients read the lists, as TensorFlow Serving writes them"
    assert np.array_equal(tf.make_ndarray(written), array)
    assert np.array_equal(read(written, dtype), array), "what is written can be sent"
    one = tf.make_tensor_proto(array[0, 0], dtype, shape=[4, 2])
    assert np.array_equal(read(one, dtype), np.full([4, 2], array[0, 0])), "one value stands for all"
    scalar = writer.write(array[0, 0])
    assert tf.make_ndarray(protos.TensorProto.FromString(scalar)) == array[0, 0]
    assert read(scalar, dtype, ()) == array[0, 0]
    assert tf.make_ndarray(protos.TensorProto.FromString(writer.write(array[:0]))).shape == (0, 2)


def test_strings_are_bytes() -> None:
    array = np.array([[b"a", b"\xff\0"], [b"", "\u00e9".encode()]], object)
    assert read(tf.make_tensor_proto(array), "string").tolist() == array.tolist()
    written = TensorProtoWriter(Tensor("y", "y:0", "string", None)).write(array)
    assert np.array_equal(tf.make_ndarray(protos.TensorProto.FromString(written)), array)
    assert read(tf.make_tensor_proto("a", shape=[2, 2]), "string").tolist() == [[b"a", b"a"]] * 2
    lengths_and_bytes = b"\1\2\0\2" + b"a\xff\0\xc3\xa9"  # as Tensor::AsProtoTensorContent writes it in C++
    proto = _shaped(protos.TensorProto(dtype=7, tensor_content=lengths_and_bytes), 2, 2)
    assert read(proto, "string").tolist() == array.tolist()


def _shaped(proto: Any, *sizes: int) -> Any:
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


def test_floats_are_read_where_they_lie() -> None:
    array = np.arange(800, dtype=np.float32).reshape(2, 400)
    for proto in (make_tensor(array), make_tensor(array, float_val=array.ravel().tolist())):
        data = proto.SerializeToString()
        found = make_reader(shape=(None, 400)).read(data)
        assert np.array_equal(found, array)
        assert np.shares_memory(found, np.frombuffer(data, np.uint8))


@pytest.mark.parametrize("columns", [2, 400])  # a long message is read in another way
def test_a_list_may_come_in_parts_or_one_by_one(columns: int) -> None:
    array = np.arange(2 * columns, dtype=np.float32).reshape(2, columns)
    head = _shaped(protos.TensorProto(dtype=1), *array.shape).SerializeToString()
    packed = [_pack(row) for row in array]
    single = [write_varint(5 << 3 | 5) + struct.pack("<f", one) for one in array.ravel()]
    for parts in (packed, single, [*single[:columns], packed[1]]):
        assert np.array_equal(read(head + b"".join(parts), shape=(None, columns)), array)
    found = read(make_tensor([[1, float("nan")]]), nonfinite_inputs="allow")
    assert np.isnan(found[0, 1])


def _pack(array: Any) -> bytes:
    return write_varint(5 << 3 | 2) + write_varint(array.nbytes) + bytes(array.tobytes())


@pytest.mark.parametrize("damaged", [b"\x08", b"\xff" * 20, b"\x12\x05a", b"\x2a\x7f1234", b"\xff" * 2000])
def test_damaged_bytes_are_refused(damaged: bytes) -> None:
    with pytest.raises(RequestError, match=r"^x: the bytes are no TensorProto$"):
        read(damaged)


WHOLE = make_tensor([[1, 2], [3, 4]], float_val=[1, 2, 3, 4]).SerializeToString()


@settings(max_examples=300, deadline=None, database=None)
@given(st.integers(0, len(WHOLE) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_changed_bytes_give_an_array_or_a_refusal(at: int, other: bytes, left_out: int) -> None:
    try:
        array = read(WHOLE[:at] + other + WHOLE[at + left_out :])
    except RequestError:
        return
    assert array.dtype == np.float32
    assert array.shape[1:] == (2,)
    assert np.isfinite(array).all()
