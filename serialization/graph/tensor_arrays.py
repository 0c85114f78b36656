"""Makes TensorArrays of TensorFlow 1 into lists of tensors, which are values, and which other converters know in loops.

A TensorArray is a resource. Its ops hand on a `flow`, a number that only orders them: here it becomes the list itself.
"""

from __future__ import annotations

from typing import Any

from serialization.formats import protos
from serialization.formats.dtypes import INT32, RESOURCE, VARIANT
from serialization.graph.const_nodes import make_constant, read_integers
from serialization.graph.graph_def import (
    change_op,
    copy_without,
    find_free_name,
    get_node_name,
    get_output_index,
    list_data_edges,
)
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import IDENTITIES, PASS_THROUGH
from serialization.tensorflow import np

_ARRAY = "TensorArrayV3"
_HANDLES = PASS_THROUGH  # what hands the resource on
_FLOW = {
    "TensorArrayWriteV3": 3,
    "TensorArrayReadV3": 2,
    "TensorArrayGatherV3": 2,
    "TensorArrayScatterV3": 3,
    "TensorArraySizeV3": 1,
}  # the place of the flow among an op's inputs

# The op of a list, and which input of the TensorArray's op each of its inputs is.
_BECOMES: dict[str, tuple[str, tuple[str | int, ...]]] = {
    _ARRAY: ("TensorListReserve", ("shape", 0)),
    "TensorArrayWriteV3": ("TensorListSetItem", ("flow", 1, 2)),
    "TensorArrayReadV3": ("TensorListGetItem", ("flow", 1, "shape")),
    "TensorArrayGatherV3": ("TensorListStack", ("flow", "shape")),
    "TensorArrayScatterV3": ("TensorListFromTensor", (2, "shape")),
    "TensorArraySizeV3": ("TensorListLength", ("flow",)),
}


def raise_tensor_arrays(graph_def: Any) -> Any:
    """The GraphDef with a list in the place of each TensorArray; itself where one does what a list does not.

    That is: it is split or concatenated, it grows from nothing, or its numbers come in another order than they lie in.
    """
    if not any(node.op == _ARRAY for node in graph_def.node):
        return graph_def
    copy = protos.GraphDef()
    copy.CopyFrom(graph_def)
    index = GraphIndex(copy)
    flows = _find_flows(index)
    if flows is None or any(not _becomes_list(index, node) for node in copy.node if node.op.startswith("TensorArray")):
        return graph_def
    handed = {node.name for node in copy.node if node.op in _HANDLES and node.attr["T"].type == RESOURCE}
    gone = {name for name in handed if _find_array(index, name) is not None}
    gone |= {node.name for node in copy.node if node.op == "TensorArrayCloseV3"}
    changes = [(node, *_read(index, node)) for node in copy.node if node.op == _ARRAY or node.op in _FLOW]
    for node in map(index.nodes.__getitem__, flows):
        node.attr["T"].type = VARIANT
        node.attr.pop("_class", None)
        node.input[:] = [edge if edge.startswith("^") else _as_list(index, edge) for edge in node.input]
    for node, array, is_whole in changes:
        _change(index, node, array, is_whole=is_whole)
    return copy_without(copy, gone)


def _find_flows(index: GraphIndex) -> set[str] | None:
    """The nodes that hand a flow on; None if one takes it that is no such node."""
    waiting = [(node.name, 1) for node in index.graph_def.node if node.op == _ARRAY]
    writers = ("TensorArrayWriteV3", "TensorArrayScatterV3")
    waiting += [(node.name, 0) for node in index.graph_def.node if node.op in writers]
    found: set[str] = set()
    while waiting:
        name, output = waiting.pop()
        for user in map(index.nodes.__getitem__, index.consumers(name)):
            for place, edge in enumerate(list_data_edges(user)):
                is_value = get_node_name(edge) == name and (get_output_index(edge) == output or output < 0)
                if not is_value or _FLOW.get(user.op) == place:
                    continue
                if user.op not in PASS_THROUGH or (place and not user.op.endswith("Merge")):
                    return None
                if user.name not in found:
                    found.add(user.name)
                    waiting.append((user.name, -1 if user.op.endswith("Switch") else 0))
    return found


def _find_array(index: GraphIndex, handle: str) -> Any:
    """The TensorArray whose handle is on an edge, None if there is none."""
    array = index.producer(index.trace_back(handle, _HANDLES))
    return array if array is not None and array.op == _ARRAY else None


def _becomes_list(index: GraphIndex, node: Any) -> bool:
    if node.op == _ARRAY:
        size = index.producer(index.trace_back(node.input[0], IDENTITIES))
        is_empty = size is not None and size.op == "Const" and read_integers(size) == [0]
        return not (node.attr["dynamic_size"].b and is_empty)
    if node.op == "TensorArrayScatterV3":
        return _counts_up(index, node.input[1])
    return node.op in (*_FLOW, "TensorArrayCloseV3") and _find_array(index, node.input[0]) is not None


def _counts_up(index: GraphIndex, edge: str) -> bool:
    """Whether the tensor on an edge is 0, 1, 2 and so on."""
    node = index.producer(index.trace_back(edge, IDENTITIES))
    if node is None:
        return False
    if node.op == "Const":
        numbers = read_integers(node)
        return numbers == list(range(len(numbers)))
    steps = [index.producer(node.input[place]) for place in (0, 2)] if node.op == "Range" else []
    return [step is not None and step.op == "Const" and read_integers(step) for step in steps] == [[0], [1]]


def _read(index: GraphIndex, node: Any) -> tuple[tuple[Any, int], bool]:
    """The shape, or None, and the dtype of the elements of the TensorArray that an op works on.

    And whether a Gather takes all of it, as far as the graph shows it.
    """
    found = node if node.op == _ARRAY else _find_array(index, node.input[0])
    says = "element_shape" in found.attr and not found.attr["element_shape"].shape.unknown_rank
    array = (found.attr["element_shape"].shape if says else None, found.attr["dtype"].type)
    if node.op != "TensorArrayGatherV3" or not _counts_up(index, node.input[1]):
        return array, False
    numbers = index.producer(index.trace_back(node.input[1], IDENTITIES))
    limit = index.producer(numbers.input[1]) if numbers.op == "Range" else None
    return array, limit is not None and limit.op == "TensorArraySizeV3"


def _change(index: GraphIndex, node: Any, array: tuple[Any, int], *, is_whole: bool) -> None:
    """Make a node the op of a list that does the same; `array` has the shape and the dtype of an element."""
    edges, shape, dtype = list_data_edges(node), *array
    control = [edge for edge in node.input if edge.startswith("^")]
    flow = _as_list(index, edges[_FLOW[node.op]]) if node.op in _FLOW else ""

    def say_shape() -> str:
        """A constant with the shape of an element; in a loop it is of that loop."""
        sizes = -1 if shape is None else [dim.size for dim in shape.dim]
        constant = make_constant(find_free_name(f"{node.name}/element", index.nodes), np.array(sizes, np.int32), INT32)
        constant.input.append(f"^{get_node_name(flow or edges[0])}")
        index.nodes[constant.name] = index.graph_def.node.add()
        index.nodes[constant.name].CopyFrom(constant)
        return str(constant.name)

    op, takes = _BECOMES[node.op]
    inputs = [edges[what] if isinstance(what, int) else flow if what == "flow" else say_shape() for what in takes]
    stacked = node
    if op == "TensorListStack" and not is_whole:
        stacked = index.graph_def.node.add(name=find_free_name(f"{node.name}/stack", index.nodes))
        index.nodes[stacked.name] = stacked
        axis = make_constant(find_free_name(f"{node.name}/axis", index.nodes), np.array(0, np.int32), INT32)
        axis.input.append(f"^{stacked.name}")
        index.graph_def.node.add().CopyFrom(axis)
        types = {"Tparams": dtype, "Tindices": INT32, "Taxis": INT32}
        change_op(node, "GatherV2", [stacked.name, edges[1], axis.name, *control], **types)
        control = []
    change_op(stacked, op, [*inputs, *control])
    if op != "TensorListLength":
        stacked.attr["element_dtype"].type = dtype
    if op in ("TensorListReserve", "TensorListFromTensor"):
        stacked.attr["shape_type"].type = INT32
    if op == "TensorListStack":
        stacked.attr["num_elements"].i = -1


def _as_list(index: GraphIndex, edge: str) -> str:
    """The edge of a flow, as that of the list: a TensorArray gives its flow as its second output."""
    producer = index.producer(edge)
    return get_node_name(edge) if producer is not None and producer.op in (_ARRAY, "TensorListReserve") else edge
