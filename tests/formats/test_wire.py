"""Numbers and fields of protobufs are read back; other bytes are refused."""

from __future__ import annotations

import pytest

from serialization.formats import protos, wire
from serialization.formats.wire import DamagedError, cut_fields, iterate_fields, read_varint, write_varint


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**31, 2**63])
def test_numbers_come_back(number: int) -> None:
    written = write_varint(number)
    assert read_varint(b"?" + written + b"?", 1, 1 + len(written)) == (number, 1 + len(written))
    with pytest.raises(DamagedError):
        read_varint(written, 0, len(written) - 1)


def test_fields_are_where_protobuf_puts_them() -> None:
    graph_def = protos.GraphDef()
    graph_def.node.add(name="a", op="NoOp")
    graph_def.versions.producer = 27
    data = graph_def.SerializeToString()
    node, versions = iterate_fields(data, 0, len(data))
    assert (node.number, node.start, versions.number, versions.end) == (1, 0, 4, len(data))
    assert data[node.begin : node.end] == graph_def.node[0].SerializeToString()
    assert [(f.number, f.wire) for f in iterate_fields(data, versions.begin, versions.end)] == [(1, 0)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff" * 100, "a number is cut off"),
        (b"\x0a", "a number is cut off"),
        (b"\x0b", "unknown wire type 3"),
        (b"\x02\x00", "a field has the number 0"),
        (b"\x08\x80", "a number is cut off"),
    ],
)
def test_bytes_that_are_no_field_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(DamagedError, match=f"^{message}$"):
        list(iterate_fields(data, 0, len(data)))


def test_a_field_may_claim_to_reach_beyond_the_end() -> None:
    (field,) = iterate_fields(b"\x0a\x7fabc", 0, 5)
    assert (field.begin, field.end) == (2, 129)


def test_fields_of_every_wire_type_follow_each_other() -> None:
    data = b"\x08\x96\x01" + b"\x11" + bytes(8) + b"\x1a\x02ab" + b"\x25" + bytes(4) + b"\xf8\x7f\x00"
    fields = [(f.number, f.wire, f.start, f.begin, f.end) for f in iterate_fields(data, 0, len(data))]
    assert fields == [(1, 0, 0, 1, 3), (2, 1, 3, 4, 12), (3, 2, 12, 14, 16), (4, 5, 16, 17, 21), (2047, 0, 21, 23, 24)]
    assert list(iterate_fields(data, 12, 16)) == [wire.Field(3, 2, 12, 14, 16)]
    assert list(iterate_fields(data, 3, 3)) == []


def test_fields_that_are_cut_out_are_not_copied() -> None:
    data = bytes(write_varint(1 << 3)) + b"\x05" + b"\x12\x03abc" + b"\x1a\x01x" + b"\x12\x00" + b"\x10\x07"
    rest, cuts = cut_fields(memoryview(data), (2,))
    assert rest == b"\x08\x05" + b"\x1a\x01x" + b"\x10\x07", "a field 2 that is a varint stays"
    assert [bytes(cut) for cut in cuts[2]] == [b"abc", b""]
    assert cuts[2][0].obj is data
    assert cut_fields(memoryview(b""), (2,)) == (b"", {})
    for damaged in (data[:-1], b"\x12\x04abc", b"\x1a\x04abc", b"\xff" * 20, b"\x0b"):
        with pytest.raises(DamagedError):
            cut_fields(memoryview(damaged), (2,))
