"""Renames nodes of a MetaGraphDef wherever it names them: in graph, collections, signatures and SaverDef."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from serialization.console import make_printable
from serialization.errors import UserError
from serialization.formats import protos
from serialization.graph.graph_def import get_node_name

# Format: VALID_OP_NAME_REGEX in tensorflow/python/framework/ops.py.
_NODE_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
_COLOCATED = b"loc:@"
# The collections of TensorFlow that hold messages, and the classes of these; the others hold names or plain values.
_OF_VARIABLES = ("variables", "trainable_variables", "local_variables", "model_variables", "metric_variables")
_MESSAGES = dict.fromkeys((*_OF_VARIABLES, "moving_average_variables", "global_step"), "VariableDef") | {
    "cond_context": "CondContextDef",
    "while_context": "WhileContextDef",
    "queue_runners": "QueueRunnerDef",
    "savers": "SaverDef",
}


def rename_nodes(meta_graph: Any, names: Mapping[str, str]) -> None:
    """Give nodes of the graph new names, in place: the nodes called as a key of `names`, and those below such a name.

    Functions stay as they are: the nodes in their bodies have names of their own. Raises UserError if a node would get
    a name that no node may have, or that another node has.
    """
    moved = {node.name: new for node in meta_graph.graph_def.node if (new := _find_new(node.name, names)) is not None}
    _require_free(moved, {node.name for node in meta_graph.graph_def.node})

    def rename(text: str) -> str:
        """The name of a node, an edge, or a tensor."""
        name = get_node_name(text)
        return text.replace(name, moved[name], 1) if name in moved else text

    for node in meta_graph.graph_def.node:
        if node.op == "VarHandleOp" and node.name in moved and _is_shared_by_name(node):
            node.attr["shared_name"].s = moved[node.name].encode()
        node.name = rename(node.name)
        node.input[:] = map(rename, node.input)
        if "_class" in node.attr:
            listed = node.attr["_class"].list.s
            listed[:] = [_rename_location(value, rename) for value in listed]
    for key, collection in meta_graph.collection_def.items():
        if collection.WhichOneof("kind") == "node_list":
            collection.node_list.value[:] = map(rename, collection.node_list.value)
        elif key in _MESSAGES and collection.WhichOneof("kind") == "bytes_list":
            packed = collection.bytes_list.value
            packed[:] = [_rename_in_bytes(_MESSAGES[key], value, rename) for value in packed]
    assets = (asset.tensor_info for asset in meta_graph.asset_file_def)
    for part in (*meta_graph.signature_def.values(), *assets, meta_graph.saver_def):
        _rename_in_message(part, rename)


def _find_new(name: str, names: Mapping[str, str]) -> str | None:
    """The new name of a node: that of itself or of the innermost of its scopes, if one is renamed."""
    scope = name
    while scope not in names:
        scope = scope.rpartition("/")[0]
        if not scope:
            return None
    return names[scope] + name.removeprefix(scope)


def _require_free(moved: Mapping[str, str], known: set[str]) -> None:
    taken = known - moved.keys()
    for old, new in moved.items():
        shown = f"{make_printable(old)} would be called {make_printable(new)}"
        if not _NODE_NAME.fullmatch(new):
            raise UserError(f"{shown} in the graph, where names have letters, digits and _ . - / > \\ alone")
        if new in taken:
            raise UserError(f"{shown} in the graph, where another op has that name; choose another one")
        taken.add(new)


def _is_shared_by_name(node: Any) -> bool:
    return "shared_name" in node.attr and node.attr["shared_name"].s == node.name.encode()


def _rename_location(value: bytes, rename: Callable[[str], str]) -> bytes:
    if not value.startswith(_COLOCATED):
        return value
    return _COLOCATED + rename(value.removeprefix(_COLOCATED).decode(errors="surrogateescape")).encode(
        errors="surrogateescape"
    )


def _rename_in_bytes(name: str, packed: bytes, rename: Callable[[str], str]) -> bytes:
    from google.protobuf.message import DecodeError

    try:
        message = getattr(protos, name).FromString(packed)
    except DecodeError:
        what = f"a {name} of its collections cannot be read"
        raise UserError(f"the graph is damaged; {what}; copy it here again") from None
    _rename_in_message(message, rename)
    return bytes(message.SerializeToString())


def _rename_in_message(message: Any, rename: Callable[[str], str]) -> None:
    """Rename in each text of a message, and of the messages in it."""
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _rename_in_map(field.message_type, value, rename)
        elif field.type == field.TYPE_STRING:
            if isinstance(value, str):
                setattr(message, field.name, rename(value))
            else:
                value[:] = map(rename, value)
        elif field.type == field.TYPE_MESSAGE:
            for part in [value] if hasattr(value, "ListFields") else value:
                _rename_in_message(part, rename)


def _rename_in_map(entry: Any, value: Any, rename: Callable[[str], str]) -> None:
    """Rename in the values of a map, and in the keys of a map of texts: those of a context are names of tensors."""
    if entry.fields_by_name["value"].type == entry.fields_by_name["value"].TYPE_MESSAGE:
        for part in value.values():
            _rename_in_message(part, rename)
        return
    if entry.fields_by_name["value"].type == entry.fields_by_name["value"].TYPE_STRING:
        texts = {rename(key): rename(text) for key, text in value.items()}
        value.clear()
        value.update(texts)
