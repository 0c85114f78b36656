"""Makes protobuf classes from short descriptions of messages: names, numbers and types of fields.

The stubs of clients would bring the same classes; those of TensorFlow Serving import all of TensorFlow, and the ranges
of protobuf that the clients' packages take do not meet. The classes are in a pool of their own, so that a process may
import such stubs too. A field of another package's message is described as bytes, which is the same on the wire.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from serialization.serving.requests import RequestError

_FIELD = re.compile(r"(?P<many>\*?)(?:(?P<oneof>\w+)\.)?(?P<name>\w+)=(?P<number>\d+) (?:string->)?(?P<type>\w+)")
_SCALARS = ("bool", "bytes", "double", "float", "int32", "int64", "string", "uint32", "uint64")
_Proto = descriptor_pb2.FieldDescriptorProto


class RpcService:
    """What the services have in common: an error is a status and a message, without a form of its own."""

    def refuse(self, status: int, message: str) -> tuple[int, bytes]:
        return status, message.encode()


def make_messages(package: str, described: Mapping[str, str]) -> SimpleNamespace:
    """The classes of a package's messages by name, from their fields: `name=1 string, *shape=3 int64`.

    `*` marks a repeated field, `string->TYPE` a map, and `kind.name=1 string` a field of the oneof called kind. A type
    is a scalar of protobuf or a message of the package.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in described.items():
        _describe(file.message_type.add(name=name), package, fields)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    find = pool.FindMessageTypeByName
    return SimpleNamespace(**{name: message_factory.GetMessageClass(find(f"{package}.{name}")) for name in described})


def _describe(message: Any, package: str, fields: str) -> None:
    for text in filter(None, fields.split(", ")):
        found = _FIELD.fullmatch(text)
        assert found is not None, text
        field = message.field.add(name=found["name"], number=int(found["number"]))
        field.label = _Proto.LABEL_REPEATED if found["many"] else _Proto.LABEL_OPTIONAL
        if found["oneof"]:
            if found["oneof"] not in [known.name for known in message.oneof_decl]:
                message.oneof_decl.add(name=found["oneof"])
            field.oneof_index = [known.name for known in message.oneof_decl].index(found["oneof"])
        if "->" in text:
            _make_map(message, field, package, found["type"])
        else:
            _set_type(field, package, found["type"])


def _make_map(message: Any, field: Any, package: str, value: str) -> None:
    """A map is a repeated message with a key and a value, whose name protobuf prescribes."""
    entry = message.nested_type.add(name=f"{field.name.title().replace('_', '')}Entry")
    entry.options.map_entry = True
    _describe(entry, package, f"key=1 string, value=2 {value}")
    field.label, field.type = _Proto.LABEL_REPEATED, _Proto.TYPE_MESSAGE
    field.type_name = f".{package}.{message.name}.{entry.name}"


def _set_type(field: Any, package: str, name: str) -> None:
    if name in _SCALARS:
        field.type = getattr(_Proto, f"TYPE_{name.upper()}")
    else:
        field.type, field.type_name = _Proto.TYPE_MESSAGE, f".{package}.{name}"


def parse(message: type[Message], data: bytes) -> Any:
    """The message in these bytes. Raises RequestError if they hold none."""
    try:
        return message.FromString(data)
    except DecodeError:
        raise RequestError(400, "the message is damaged, or that of another method") from None
