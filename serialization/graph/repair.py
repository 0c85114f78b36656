"""Repairs old graphs so that TensorFlow can import them, and frozen graphs so that they run.

Each function changes the given GraphDef, and returns one line for each kind of repair, for the user to read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from serialization.console import format_count, make_printable
from serialization.errors import UserError
from serialization.formats import dtypes
from serialization.formats.dtypes import get_base_dtype
from serialization.graph.const_nodes import read_integers
from serialization.graph.graph_def import get_node_name, iterate_nodes, list_control_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_registry import get_output_dtypes
from serialization.graph.op_sets import INITIALIZED_CHECKS, REF_FORMS, VARIABLES
from serialization.graph.removed_ops import rewrite_removed_ops
from serialization.graph.tpu_wrappers import remove_tpu_wrappers

# An attribute of the placeholder of a dense shape: the known sizes, and -1 for the others. TensorFlow passes it on.
SPARSE_SIZES = "_sparse_sizes"
_RENAMED = {"Variable": "VariableV2"}  # an op of TensorFlow 0.x, which convert_variables_to_constants does not know
_UPDATED = {"AssignAdd": "AddV2", "AssignSub": "Sub"}
_SCATTERED = {
    "ScatterNdUpdate": "TensorScatterUpdate",
    "ScatterNdAdd": "TensorScatterAdd",
    "ScatterNdSub": "TensorScatterSub",
    "ScatterNdMin": "TensorScatterMin",
    "ScatterNdMax": "TensorScatterMax",
}
_SCATTERED_ROWS = {
    "ScatterUpdate": "TensorScatterUpdate",
    "ScatterAdd": "TensorScatterAdd",
    "ScatterSub": "TensorScatterSub",
    "ScatterMin": "TensorScatterMin",
    "ScatterMax": "TensorScatterMax",
}

_SCATTERED_FACTORS = {"ScatterMul": "Mul", "ScatterDiv": "RealDiv"}


def make_version_readable(meta_graph: Any) -> list[str]:
    """Remove a TensorFlow version that import_meta_graph cannot read, such as "0.12.head"."""
    from packaging.version import InvalidVersion, Version

    version = meta_graph.meta_info_def.tensorflow_version
    try:
        Version(version or "0")
    except InvalidVersion:
        meta_graph.meta_info_def.tensorflow_version = ""
        return [f"removed the version {make_printable(version)}, which import_meta_graph cannot read"]
    return []


def require_dense_shapes(index: GraphIndex) -> tuple[GraphIndex, list[str]]:
    """Make inputs of the dense shapes of sparse placeholders whose sizes are not all known.

    tf.compat.v1.sparse_placeholder gives them a default, such as [-1, 5], at which the runtime aborts. To a Reshape,
    -1 is a size like any other. Returns the index of the changed GraphDef, or the given one if nothing changed.
    """
    done: Counter[tuple[str, str]] = Counter()
    for node in index.graph_def.node:
        if node.op != "PlaceholderWithDefault" or not node.input or node.attr["dtype"].type != dtypes.INT64:
            continue
        sizes = read_integers(index.producer(node.input[0]))
        reshapes = any(index.nodes[user].op == "Reshape" for user in index.consumers(node.name))
        if min(sizes, default=0) < 0 and not reshapes:
            node.op = "Placeholder"
            del node.input[:]
            node.attr[SPARSE_SIZES].list.i.extend(sizes)
            done["made {} an input: its default has a size of -1", "dense shape"] += 1
    return GraphIndex(index.graph_def) if done else index, format_repairs(done)


def record_sparse_sizes(index: GraphIndex, signature_defs: Iterable[Any]) -> None:
    """Write to the placeholders of dense shapes which sizes the signatures know."""
    for info in (info for one in signature_defs for info in one.inputs.values()):
        node = index.producer(info.coo_sparse.dense_shape_tensor_name)
        if node is not None and info.tensor_shape.dim and SPARSE_SIZES not in node.attr:
            node.attr[SPARSE_SIZES].list.i.extend(dim.size for dim in info.tensor_shape.dim)


def replace_absent_ops(graph_def: Any) -> list[str]:
    """Replace ops that are there for TPUs alone, and ops that TensorFlow has removed."""
    return [*remove_tpu_wrappers(graph_def), *rewrite_removed_ops(graph_def)]


def make_graph_loadable(index: GraphIndex) -> list[str]:
    """Repair a graph of another TensorFlow so that this one can import it. Raises UserError if it is damaged.

    Nodes keep their names and edges, so the index stays right.
    """
    graph_def, names = index.graph_def, index.nodes
    if len(names) < len(graph_def.node):
        twice = next(name for name, count in Counter(node.name for node in graph_def.node).items() if count > 1)
        raise UserError(f"the graph is damaged; it has two nodes called {twice}; copy the file here again")
    done: Counter[tuple[str, str]] = Counter()
    for node in iterate_nodes(graph_def):
        if re.search("(?i)gpu|tpu|job:|task:|replica:", node.device):
            done["removed {}", "device pin"] += 1
        node.device = ""
        if node.op in _RENAMED:
            done[f"renamed {{}} of TensorFlow 0.x to {_RENAMED[node.op]}", f"{node.op} op"] += 1
            node.op = _RENAMED[node.op]
        if node.op == "Placeholder" and graph_def.versions.producer < 24 and not node.attr["shape"].shape.dim:
            node.attr["shape"].shape.unknown_rank = True  # these versions wrote an unknown rank in this way
    for node in graph_def.node:
        _check_edges(node, names)
    remove_lost_locations(graph_def)
    return [*format_repairs(done), *remove_recorded_shapes(graph_def)]


def remove_lost_locations(graph_def: Any) -> None:
    """Remove what colocates nodes with others that the graph does not have, which keeps it from being imported."""
    names = GraphIndex(graph_def).nodes
    for node in graph_def.node:
        if "_class" in node.attr:
            colocated = [name for name in node.attr["_class"].list.s if _is_in(name, names)]
            if colocated:
                node.attr["_class"].list.s[:] = colocated
            else:
                del node.attr["_class"]


def remove_recorded_shapes(graph_def: Any) -> list[str]:
    """Remove recorded shapes. The import infers them anew, and refuses a graph whose recorded shapes are wrong."""
    stale = 0
    for node in iterate_nodes(graph_def):
        stale += _is_stale(node)
        node.attr.pop("_output_shapes", None)
    return [f"removed {format_count(stale, 'wrong recorded shape')}"] if stale else []


def remove_refs(index: GraphIndex) -> list[str]:
    """Replace ops that take or give references to variables, because a frozen graph has no variables.

    If it returns no line, the index stays right.
    """
    done: Counter[tuple[str, str]] = Counter()
    graph_def, names = index.graph_def, index.nodes
    added = []
    for node in graph_def.node:
        before = node.op
        if node.op in REF_FORMS:
            node.op = node.op.removeprefix("Ref")
        elif node.op in _UPDATED:
            node.op = _UPDATED[node.op]
        elif node.op == "Assign":
            control = list_control_edges(node)
            value = node.input[1]
            node.input[:] = [value, *control]
            node.op = "Identity"
        elif node.op in _SCATTERED:
            node.op = _SCATTERED[node.op]
        elif node.op in _SCATTERED_ROWS:
            added += _index_rows(node, names)
            node.op = _SCATTERED_ROWS[node.op]
        elif node.op in _SCATTERED_FACTORS:
            added += _multiply_rows(node, names)
            node.op = _SCATTERED_FACTORS[node.op]
        elif node.op in INITIALIZED_CHECKS:
            _make_constant_true(node)
        if node.op != before:
            done[f"replaced {{}} with {node.op}", f"{before} op"] += 1
            for attribute in ("use_locking", "validate_shape", "_class"):
                node.attr.pop(attribute, None)
        for attribute in ("T", "dtype"):  # an edge that carried a reference carries a value
            if attribute in node.attr and node.attr[attribute].type > 100:
                node.attr[attribute].type = get_base_dtype(node.attr[attribute].type)
    graph_def.node.extend(added)
    return format_repairs(done)


class _Builder:
    """Makes nodes beside another one, under unused names."""

    def __init__(self, node: Any, names: Collection[str]) -> None:
        self.node, self.names = node, names
        self.dtype, self.indices = get_base_dtype(node.attr["T"].type), node.attr["Tindices"].type
        self.made: list[Any] = []

    def add(self, op: str, inputs: Sequence[str], **types: int) -> str:
        name = f"{self.node.name}/pure/{op}"
        while name in self.names or any(made.name == name for made in self.made):
            name += "_"
        made = type(self.node)(name=name, op=op, input=inputs)
        for attribute, number in types.items():
            made.attr[attribute].type = number
        self.made.append(made)
        return name

    def integers(self, *values: int, scalar: bool = False) -> str:
        name = self.add(
            "Const", [f"^{get_node_name(self.node.input[1])}"], dtype=dtypes.INT32
        )  # so that it is in the same loop
        tensor = self.made[-1].attr["value"].tensor
        tensor.dtype = dtypes.INT32
        tensor.tensor_shape.SetInParent()
        if not scalar:
            tensor.tensor_shape.dim.add(size=len(values))
        tensor.int_val.extend(values)
        return name

    def gather(self, indices: str) -> str:
        axis = self.integers(0, scalar=True)
        types = {"Tparams": self.dtype, "Tindices": self.indices, "Taxis": dtypes.INT32}
        return self.add("GatherV2", [self.node.input[0], indices, axis], **types)

    def shape(self, tensor: str) -> str:
        return self.add("Shape", [tensor], T=self.dtype, out_type=dtypes.INT32)

    def rows(self) -> tuple[str, str]:
        """Indices and updates of a ScatterUpdate as vectors; it may have one index, or one number for all rows."""
        indices, updates = self.node.input[1], self.node.input[2]
        flat = self.add("Reshape", [indices, self.integers(-1)], T=self.indices, Tshape=dtypes.INT32)
        whole = self.add("BroadcastTo", [updates, self.shape(self.gather(indices))], T=self.dtype, Tidx=dtypes.INT32)
        shape = self.shape(self.gather(flat))
        return flat, self.add("Reshape", [whole, shape], T=self.dtype, Tshape=dtypes.INT32)


def _index_rows(node: Any, names: Collection[str]) -> list[Any]:
    """Turn the indices of ScatterUpdate into vectors of one, which TensorScatterUpdate takes."""
    build = _Builder(node, names)
    flat, updates = build.rows()
    last = build.integers(-1, scalar=True)
    node.input[1:3] = [build.add("ExpandDims", [flat, last], T=build.indices, Tdim=dtypes.INT32), updates]
    return build.made


def _multiply_rows(node: Any, names: Collection[str]) -> list[Any]:
    """Turn ScatterMul and ScatterDiv into a product with all factors of each row; without any, the factor is 1."""
    build = _Builder(node, names)
    flat, updates = build.rows()
    first = build.integers(0, scalar=True)
    shape = build.shape(node.input[0])
    types = {"Tparams": dtypes.INT32, "Tindices": dtypes.INT32, "Taxis": dtypes.INT32}
    count = build.add("GatherV2", [shape, first, first], **types)
    types = {"T": build.dtype, "Tindices": build.indices, "Tnumsegments": dtypes.INT32}
    node.input[1:3] = [build.add("UnsortedSegmentProd", [updates, flat, count], **types)]
    del node.attr["Tindices"]
    return build.made


def _make_constant_true(node: Any) -> None:
    node.op = "Const"
    node.input[:] = [f"^{get_node_name(edge)}" for edge in node.input]
    node.attr.clear()
    node.attr["dtype"].type = 10
    node.attr["value"].tensor.dtype = 10
    node.attr["value"].tensor.tensor_shape.SetInParent()
    node.attr["value"].tensor.bool_val.append(True)


def _is_stale(node: Any) -> bool:
    """Whether the node's recorded shapes contradict its op's outputs or its own attributes."""
    if "_output_shapes" not in node.attr:
        return False
    shapes = node.attr["_output_shapes"].list.shape
    types = get_output_dtypes(node)
    if types is not None and len(shapes) != len(types):
        return True
    own = None
    if node.op == "Const":
        own = node.attr["value"].tensor.tensor_shape
    elif node.op in VARIABLES - {"VarHandleOp"} and (node.op not in _RENAMED or node.attr["shape"].shape.dim):
        own = node.attr["shape"].shape
    return own is not None and not own.unknown_rank and len(shapes) == 1 and not _fit(own, shapes[0])


def _fit(one: Any, other: Any) -> bool:
    """Whether two shapes may be those of one tensor."""
    if one.unknown_rank or other.unknown_rank:
        return True
    pairs = zip(one.dim, other.dim, strict=False)
    return len(one.dim) == len(other.dim) and all(a.size == b.size or min(a.size, b.size) < 0 for a, b in pairs)


def _check_edges(node: Any, names: dict[str, Any]) -> None:
    for edge in node.input:
        if get_node_name(edge) not in names:
            raise UserError(
                f"the graph is damaged; node {node.name} needs {get_node_name(edge)}, which is not in it; "
                "copy the file here again"
            )


def _is_in(location: bytes, names: dict[str, Any]) -> bool:
    return location.decode(errors="replace").removeprefix("loc:@") in names


def format_repairs(done: Counter[tuple[str, str]]) -> list[str]:
    """A line for each kind of repair. `done` counts by a sentence with {} and the noun that replaces it."""
    return [line.format(format_count(count, what)) for (line, what), count in done.items()]
