"""Reads files of protobufs, binary or text, without TensorFlow."""

from __future__ import annotations

from typing import Any

from serialization.console import format_error, format_size, show_path
from serialization.errors import UserError
from serialization.formats import protos
from serialization.formats.file_kind import Kind, ModelFile
from serialization.formats.foreign_files import Foreign

_CLASSES = {Kind.GRAPH: "GraphDef", Kind.META_GRAPH: "MetaGraphDef", Kind.SAVED_MODEL: "SavedModel"}
LIMIT = 2**31 - 1  # protobuf's own, for any message


def read_message(file: ModelFile) -> Any:
    """The GraphDef, MetaGraphDef or SavedModel in a file.

    Raises UserError if the file holds none of these, or one that cannot be read to its end.
    """
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError

    where = show_path(file.path)
    if file.kind not in _CLASSES:
        advice = file.kind.advice if isinstance(file.kind, Foreign) else "name another file"
        raise UserError(f"{where} is {file.kind.value}, not a graph; {advice}")
    if len(file.data) > LIMIT:
        raise UserError(
            f"{where} has {format_size(len(file.data))}, and protobuf reads at most 2 GiB; "
            "use a SavedModel, which keeps its variables beside the graph"
        )
    content = file.read()
    if content is None:
        raise UserError(f"{where} has been changed while it was read; run this again")
    name = _CLASSES[file.kind]
    message = getattr(protos, name)()
    try:
        if file.is_text:
            # Fields that a newer TensorFlow has added are left out, as in the binary form.
            text_format.Parse(content.decode(), message, allow_unknown_field=True)
        else:
            message.ParseFromString(content)
    except (
        DecodeError,
        text_format.ParseError,
        UnicodeDecodeError,
        RecursionError,
        ValueError,
        OverflowError,
    ) as error:
        raise UserError(
            f"{where} is damaged: it begins as a {name} and cannot be read to its end "
            f"({_reason(error)}); copy it here again"
        ) from None
    return message


def _reason(error: BaseException) -> str:
    text = format_error(error)
    return text if len(text) <= 160 else f"{text[:160]}…"
