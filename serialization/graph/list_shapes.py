"""Has the ops of lists of tensors say the shape of the tensors in a list, where the graph shows it.

A layer that repeats, such as an LSTM of Keras, keeps its steps in a list. Its ops hold the shape of a step as it was
when the layer was traced, for a batch of any size. LiteRT needs the whole shape, which is known once the batch has a
fixed size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from serialization.formats import protos
from serialization.formats.dtypes import INT64, VARIANT
from serialization.graph.const_nodes import make_constant
from serialization.graph.graph_def import (
    change_op,
    find_free_name,
    get_node_name,
    get_output_index,
    get_tensor_name,
    list_data_edges,
)
from serialization.graph.graph_index import GraphIndex
from serialization.graph.inlining import inline_functions
from serialization.graph.op_registry import get_output_dtype
from serialization.graph.op_sets import ENTERS, EXITS, MERGES, NEXT_ITERATIONS
from serialization.tensorflow import np, tf1

Shape = tuple[int, ...]
# Which input of an op says the shape of an element.
_SAYS = {
    **dict.fromkeys(("EmptyTensorList", "TensorListReserve"), 0),
    **dict.fromkeys(("TensorListFromTensor", "TensorListPopBack", "TensorListStack"), 1),
    "TensorListGetItem": 2,
}
# Which input of an op is written to the list: an element, or all elements in one tensor.
_WRITES = {"TensorListFromTensor": 0, "TensorListPushBack": 1, "TensorListSetItem": 2}


def say_list_shapes(graph_def: Any, roots: Iterable[str]) -> Any:
    """The GraphDef, its functions inlined, in which lists say the shapes of their elements as far as these are known.

    `roots` are the names of the tensors that have to stay. A graph without lists is returned as it is.
    """
    flat = inline_functions(graph_def, roots)
    if not any(node.op in _WRITES for node in flat.node):
        return graph_def
    copy = protos.GraphDef()
    copy.CopyFrom(flat)
    waiting = _find_lists(GraphIndex(copy))
    while True:  # the elements of one list may be computed from those of another
        index = GraphIndex(copy)
        written = _infer_written(index)
        known = [(nodes, shape) for nodes in waiting if (shape := _agree(written, nodes)) is not None]
        if not known:
            return copy
        for nodes, shape in known:
            waiting.remove(nodes)
            for name in nodes:
                _say_shape(index, index.nodes[name], shape)


def _agree(written: Mapping[str, Shape | None], nodes: Iterable[str]) -> Shape | None:
    """The one shape that these nodes write to their list."""
    shapes = {written[name] for name in nodes if name in written}
    return shapes.pop() if len(shapes) == 1 else None


def _say_shape(index: GraphIndex, node: Any, shape: Shape) -> None:
    held = index.producer(node.input[_SAYS[node.op]]) if node.op in _SAYS else None
    if held is None or held.op != "Const":
        return
    name, dtype = find_free_name(f"{node.name}/element", index.nodes), get_output_dtype(held, 0)
    constant = make_constant(name, np.array(shape, np.int64 if dtype == INT64 else np.int32), dtype)
    constant.input.extend(held.input)  # control edges: in a loop they keep it in its frame
    index.graph_def.node.add().CopyFrom(constant)
    node.input[_SAYS[node.op]] = name


def _find_lists(index: GraphIndex) -> list[list[str]]:
    """The names of the nodes that make, write, read or hand on each list. Edges of its dtype join them."""
    parents: dict[str, str] = {}

    def find(name: str) -> str:
        while (parent := parents.setdefault(name, name)) != name:
            name = parent
        return name

    for node in index.graph_def.node:
        for edge in list_data_edges(node):
            producer = index.producer(edge)
            if producer is not None and get_output_dtype(producer, get_output_index(edge)) == VARIANT:
                parents[find(node.name)] = find(producer.name)
    lists: dict[str, list[str]] = defaultdict(list)
    for name in list(parents):
        lists[find(name)].append(name)
    return list(lists.values())


def _infer_written(index: GraphIndex) -> dict[str, Shape | None]:
    """The shape of the elements that each node writes to its list; None where TensorFlow does not infer all of it.

    A loop hands a shape on from step to step. So its first step is looked at. A variable of the loop whose shape
    changes in that step counts as unknown, with all that is computed from it.
    """
    opened = protos.GraphDef()
    opened.CopyFrom(index.graph_def)
    carried: dict[str, tuple[str, ...]] = {}
    for node in opened.node:
        node.attr.pop("_class", None)
        if node.op in ENTERS | EXITS | NEXT_ITERATIONS:
            change_op(node, "Identity", node.input, T=node.attr["T"].type)
        elif node.op in MERGES:
            sources = {index.producer(edge).op: edge for edge in list_data_edges(node)}
            first = next((edge for op, edge in sources.items() if op in ENTERS), None)
            if first is not None:
                carried[node.name] = (first, *sources.values())
                change_op(node, "Identity", [first], T=node.attr["T"].type)
    with tf1.Graph().as_default() as graph:
        tf1.import_graph_def(opened, name="")

    def infer(edge: str) -> Any:
        return graph.get_tensor_by_name(get_tensor_name(edge)).shape

    unsteady = index.downstream(name for name, edges in carried.items() if len({str(infer(e)) for e in edges}) > 1)
    found: dict[str, Shape | None] = {}
    for node in index.graph_def.node:
        if node.op in _WRITES:
            shape = infer(node.input[_WRITES[node.op]])
            element = shape[1:] if node.op == "TensorListFromTensor" else shape
            is_known = element.is_fully_defined() and get_node_name(node.input[_WRITES[node.op]]) not in unsteady
            found[node.name] = tuple(element.as_list()) if is_known else None
    return found
