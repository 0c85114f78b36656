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


def _pack(array: Any, field: int = 5) -> bytes:
    return write_varint(field << 3 | 2) + write_varint(array.nbytes) + bytes(array.tobytes())


@pytest.mark.parametrize("columns", [2, 400])  # a long message is read in another way
def test_a_list_may_come_in_parts_or_one_by_one(columns: int) -> None:
    array = np.arange(2 * columns, dtype=np.float32).reshape(2, columns)
    head = _shaped(protos.TensorProto(dtype=1), *array.shape).SerializeToString()
    packed = [_pack(row) for row in array]
    single = [write_varint(5 << 3 | 5) + struct.pack("<f", one) for one in array.ravel()]
    for parts in (packed, single, [*single[:columns], packed[1]]):
        assert np.array_equal(read(head + b"".join(parts), shape=(None, columns)), array)
    contents = _pack(array + 1, field=4) + _pack(array, field=4)
    assert np.array_equal(read(head + contents, shape=(None, columns)), array)


HUGE = 2**62


@pytest.mark.parametrize(
    ("dtype", "shape", "proto", "error"),
    [
        ("float32", (None, 2), make_tensor([[1, 2]], "float64"), "x: expected the dtype float32, got float64 (2)"),
        ("float32", (None, 2), _shaped(protos.TensorProto(), 1, 2), "x: expected the dtype float32, got unknown (0)"),
        ("float32", (None, 2), _shaped(protos.TensorProto(dtype=99), 1, 2), "x: expected the dtype float32, got unkn"),
        ("float32", (None, 2), make_tensor([1, 2]), "x: expected the shape [None, 2], got [2]"),
        ("float32", (None, 2), make_tensor([[1, 2]] * 9), "x: expected 1 to 8 rows, got 9"),
        ("float32", (None, 2), make_tensor(np.zeros([0, 2])), "x: expected 1 to 8 rows, got 0"),
        ("float32", (None, 2), make_tensor([[1, 2]], tensor_content=b"1234567"), "x: expected 8 bytes for the shape"),
        ("float32", (None, 2), make_tensor([[1, 2]], tensor_content=b"123456789"), "x: expected 8 bytes for the shape"),
        (
            "float32",
            (None, 2),
            make_tensor([[1, 2]], double_val=[1, 2]),
            "x: expected 2 values for the shape [1, 2], g",
        ),
        (
            "float32",
            (None, 2),
            make_tensor([[1, 2]] * 2, float_val=[1, 2]),
            "x: expected 4 values for the shape [2, 2]",
        ),
        (
            "float32",
            (None, 2),
            make_tensor([[1, 2]], float_val=[1] * 3),
            "x: expected 2 values for the shape [1, 2], g",
        ),
        ("float32", (None, 2), make_tensor([[1, 2]], float_val=[1, float("nan")]), "x[0][1]: expected a number, got N"),
        ("float32", (None, 2), make_tensor([[1, float("inf")]]), "x[0][1]: expected a number, got NaN or Infinity"),
        (
            "float32",
            (None, 2),
            make_tensor([[1, 2]], float_val=[1, 2], tensor_content=b"12345678"),
            "x: expected tensor_content or float_val, got both",
        ),
        ("float32", None, _shaped(protos.TensorProto(dtype=1), -1), "x: expected sizes of 0 or more, got [-1]"),
        ("float32", None, _shaped(protos.TensorProto(dtype=1), HUGE), "x: expected 1 to 8 rows, got 46116860184273879"),
        (
            "float32",
            None,
            _shaped(protos.TensorProto(dtype=1), 8, HUGE, HUGE),
            "x: expected 17014118346046923173168730",
        ),
        (
            "float32",
            None,
            _shaped(protos.TensorProto(dtype=1, tensor_content=b"1"), 8, HUGE),
            "x: expected 147,573,952",
        ),
        ("float32", None, _shaped(protos.TensorProto(dtype=1), 1, 0, HUGE, HUGE), "x: no array has the shape"),
        (
            "int8",
            (None, 2),
            make_tensor([[1, 2]], "int8", int_val=[127, 128]),
            "x[0][1]: the number is beyond the range",
        ),
        (
            "uint8",
            (None, 2),
            make_tensor([[1, 2]], "uint8", int_val=[-1, 0]),
            "x[0][0]: the number is beyond the range",
        ),
        (
            "int64",
            (None, 2),
            make_tensor([[1, 2]], "int64", int_val=[1, 2]),
            "x: expected 2 values for the shape [1, 2]",
        ),
        ("bool", (None, 2), make_tensor([[0, 1]], "bool", tensor_content=b"\0\2"), "x: expected bytes of 0 or 1"),
        (
            "float16",
            (None, 2),
            make_tensor([[1, 2]], "float16", half_val=[0, 65536]),
            "x: half_val has a value that is",
        ),
        (
            "float16",
            (None, 2),
            make_tensor([[1, 2]], "float16", half_val=[0, -1]),
            "x: half_val has a value that is not",
        ),
        (
            "float16",
            (None, 2),
            make_tensor([[1, 2]], "float16", half_val=[0, 0x7C00]),
            "x[0][1]: expected a number, got",
        ),
        (
            "int4",
            (None, 2),
            _shaped(protos.TensorProto(dtype=29, tensor_content=b"12"), 1, 2),
            "x: expected int_val for",
        ),
        (
            "string",
            (None,),
            _shaped(protos.TensorProto(dtype=7, string_val=[b"a"] * 2), 3),
            "x: expected 3 values for th",
        ),
        (
            "string",
            (None,),
            _shaped(protos.TensorProto(dtype=7, tensor_content=b"\1\2ab"), 2),
            "x: tensor_content has 2 bytes of strings; their lengths add up to 3",
        ),
        (
            "string",
            (None,),
            _shaped(protos.TensorProto(dtype=7, tensor_content=b"\1\xff"), 2),
            "x: tensor_content has fewer than 2 lengths of strings",
        ),
        (
            "string",
            None,
            _shaped(protos.TensorProto(dtype=7, tensor_content=b"\0"), 8, HUGE),
            "x: tensor_content has fewer than 36893488147419103232 lengths of strings",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(dtype: str, shape: Any, proto: Any, error: str) -> None:
    with pytest.raises(RequestError) as refused:
        read(proto, dtype, shape)
    assert str(refused.value).startswith(error)
    assert "\n" not in str(refused.value)
    assert refused.value.status == 400


def test_an_unknown_rank_is_refused() -> None:
    proto = protos.TensorProto(dtype=1)
    proto.tensor_shape.unknown_rank = True
    with pytest.raises(RequestError, match=r"^x: expected sizes of 0 or more, got an unknown rank$"):
        read(proto, shape=None)


def test_one_value_does_not_stand_for_more_than_a_body_may_have() -> None:
    """A few bytes would else take all memory."""
    for proto in (
        _shaped(protos.TensorProto(dtype=1, float_val=[1]), 8, HUGE),
        _shaped(protos.TensorProto(dtype=1, float_val=[1]), 1, 250_001),
        _shaped(protos.TensorProto(dtype=7, string_val=[b"a"]), 1, 125_001),
    ):
        with pytest.raises(
            RequestError, match=r"^x: one value for [\d,]+ bytes; at most 1,000,000 are accepted$"
        ) as found:
            read(proto, "float32" if proto.dtype == 1 else "string", None)
        assert found.value.status == 413
    assert read(_shaped(protos.TensorProto(dtype=1, float_val=[1]), 1, 250_000), shape=None).sum() == 250_000


def test_nan_is_taken_where_it_is_allowed() -> None:
    found = read(make_tensor([[1, float("nan")]]), nonfinite_inputs="allow")
    assert np.isnan(found[0, 1])


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
