"""Lookup tables for ONNX: a table that the graph fills from constants becomes a LabelEncoder.

https://onnx.ai/onnx/operators/onnx_aionnxml_LabelEncoder.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from serialization.errors import UserError
from serialization.formats import dtypes
from serialization.graph.const_nodes import read_array
from serialization.graph.graph_def import get_node_name
from serialization.graph.graph_index import GraphIndex
from serialization.graph.lookup_tables import list_table_nodes
from serialization.graph.op_sets import IDENTITIES, TABLE_WRITERS

_KINDS = {dtypes.STRING: "string", dtypes.INT64: "int64", dtypes.INT32: "int64", dtypes.FLOAT: "float"}
_DOMAIN = "ai.onnx.ml"

Handler = Callable[[Any, Any, str, list[Any]], None]


def make_table_handlers(graph_def: Any) -> dict[str, tuple[Handler, list[Any]]]:
    """Have the lookups take their table itself, in place, and return tf2onnx's custom_op_handlers for them.

    Raises UserError, with the table's name, for one that has no form in ONNX.
    """
    index = GraphIndex(graph_def)
    tables = {table.name: _read_table(index, table) for table in list_table_nodes(graph_def)}
    if not tables:
        return {}
    for node in graph_def.node:
        if node.op == "LookupTableFindV2":
            node.input[0] = get_node_name(index.trace_back(node.input[0], IDENTITIES))

    def encode_labels(ctx: Any, node: Any, name: str, _: list[Any]) -> None:
        keys, values, key_kind, value_kind = tables[node.inputs[0].name]
        default = node.inputs[2].get_tensor_value(as_list=False)  # raises if it is no constant
        attributes = {
            f"keys_{key_kind}s": keys,
            f"values_{value_kind}s": values,
            f"default_{value_kind}": default.item(),
        }
        source, target, dtype = node.input[1], node.output[0], ctx.get_dtype(node.output[0])
        shape = ctx.get_shape(source)
        ctx.remove_node(name)
        if ctx.get_dtype(source) == _INT32:
            source = ctx.make_node("Cast", [source], attr={"to": _INT64}).output[0]
        casts = dtype == _INT32
        made = ctx.make_node(
            "LabelEncoder",
            [source],
            domain=_DOMAIN,
            attr=attributes,
            **({} if casts else {"name": name, "outputs": [target]}),
            shapes=[shape],
            dtypes=[_INT64 if casts else dtype],
        )
        if casts:
            ctx.make_node(
                "Cast", made.output, attr={"to": _INT32}, name=name, outputs=[target], shapes=[shape], dtypes=[dtype]
            )

    return {"LookupTableFindV2": (encode_labels, [])}


_INT32, _INT64 = 6, 7  # onnx.TensorProto.DataType


def _read_table(index: GraphIndex, table: Any) -> tuple[list[Any], list[Any], str, str]:
    """Keys and values, and the names of their types in LabelEncoder's attributes."""
    types = [table.attr[name].type for name in ("key_dtype", "value_dtype")]
    fills = [index.nodes[user] for user in index.consumers(table.name) if index.nodes[user].op in TABLE_WRITERS]
    parts = [index.producer(edge) for fill in fills for edge in fill.input[1:3]]
    why = ""
    if len(fills) != 1 or len(parts) != 2 or any(part is None or part.op != "Const" for part in parts):
        why = "the graph does not fill it from constants; freeze its model with freezemodel_save.py"
    elif not set(types) <= _KINDS.keys():
        why = f"ONNX has none from {' to '.join(map(dtypes.get_dtype_name, types))}"
    else:
        keys, values = (read_array(part) for part in parts)
        if values.ndim == 1 and len(values):
            return keys.tolist(), values.tolist(), _KINDS[types[0]], _KINDS[types[1]]
        why = "it is empty" if not len(values) else "ONNX has none with several numbers for each key"
    raise UserError(f"the lookup table {table.name} cannot be an ONNX model's; {why}; nothing was written")
