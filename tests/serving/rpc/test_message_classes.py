"""Protobuf classes from descriptions: what the same messages of protobuf's own compiler are on the wire."""

from __future__ import annotations

import pytest
from google.protobuf import any_pb2, struct_pb2, wrappers_pb2

from serialization.serving.requests import RequestError
from serialization.serving.rpc.message_classes import RpcService, make_messages, parse

MESSAGES = make_messages(
    "made.up",
    {
        "Any": "type_url=1 string, value=2 bytes",
        "Int64Value": "value=1 int64",
        "Value": "kind.null_value=1 int32, kind.number_value=2 double, kind.string_value=3 string, "
        "kind.bool_value=4 bool, kind.struct_value=5 Struct, kind.list_value=6 ListValue",
        "Struct": "fields=1 string->Value",
        "ListValue": "*values=1 Value",
        "Numbers": "*numbers=1 int32, *floats=2 float",
        "Empty": "",
    },
)


def test_they_write_and_read_what_protobufs_own_classes_do() -> None:
    assert (
        MESSAGES.Any(type_url="t", value=b"v").SerializeToString()
        == any_pb2.Any(type_url="t", value=b"v").SerializeToString()
    )
    assert MESSAGES.Int64Value(value=-1).SerializeToString() == wrappers_pb2.Int64Value(value=-1).SerializeToString()
    theirs = struct_pb2.Struct()
    theirs.update({"a": [1.5, "b", True], "c": {"d": None}})
    ours = MESSAGES.Struct.FromString(theirs.SerializeToString())
    assert ours.fields["a"].list_value.values[0].number_value == 1.5
    assert ours.fields["c"].struct_value.fields["d"].WhichOneof("kind") == "null_value"
    assert struct_pb2.Struct.FromString(ours.SerializeToString()) == theirs
    assert MESSAGES.Empty().SerializeToString() == b""


def test_repeated_numbers_are_packed() -> None:
    assert MESSAGES.Numbers(numbers=[1, 2], floats=[0]).SerializeToString() == b"\x0a\x02\1\2\x12\4\0\0\0\0"


def test_other_classes_of_the_same_name_may_be_there() -> None:
    """As where the stubs of a client are imported too."""
    again = make_messages("made.up", {"Any": "other=7 bytes"})
    assert again.Any(other=b"x").SerializeToString() == b"\x3a\1x"
    assert make_messages("google.protobuf", {"Any": "value=2 bytes"}).Any(value=b"x").SerializeToString() == b"\x12\1x"


@pytest.mark.parametrize("damaged", [b"\x0a\x05a", b"\xff" * 30, b"\x0a\1\xff"])
def test_bytes_that_are_no_message_are_refused_in_a_line(damaged: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        parse(MESSAGES.Any, damaged)
    assert str(refused.value).startswith("the message is damaged")
    assert "\n" not in str(refused.value)


def test_an_error_has_no_form() -> None:
    assert RpcService().refuse(404, "no mödel") == (404, "no mödel".encode())
