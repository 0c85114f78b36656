"""Names the variables of a SavedModel, and tells which are trained: from its collections, or from its object graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from serialization.formats import protos
from serialization.graph.graph_def import get_node_name
from serialization.graph.graph_index import GraphIndex

_LISTS = ("variables", "trainable_variables")  # the collections of TensorFlow 1, of which the second is in the first


def name_variables(meta_graph: Any, index: GraphIndex) -> dict[str, tuple[str, bool]]:
    """The name of each variable that is known, and whether it is trained, by the name of the node that holds it.

    In the graph of TensorFlow 1 the variable's name is the node's. In that of TensorFlow 2 it is the name of the object
    that is bound to the node, or where several objects have one name, the object's path from the root: `dense/kernel`.
    `index` is the index of the MetaGraphDef's graph.
    """
    known = {}
    for name in _LISTS:
        for value in meta_graph.collection_def[name].bytes_list.value if name in meta_graph.collection_def else ():
            variable = protos.VariableDef.FromString(value)
            node = get_node_name(variable.variable_name)
            known[node] = node, name == _LISTS[1]
    objects = meta_graph.object_graph_def.nodes
    bound = {handle: n for handle, n in bind_handles(meta_graph, index) if n < len(objects)}
    times = Counter(objects[number].variable.name for number in set(bound.values()))
    paths = _find_paths(objects)
    for handle, number in bound.items():
        variable = objects[number].variable
        if objects[number].WhichOneof("kind") == "variable":
            alone = variable.name and times[variable.name] == 1
            known[handle] = variable.name if alone else paths.get(number, handle), variable.trainable
    return known


def bind_handles(meta_graph: Any, index: GraphIndex) -> Iterator[tuple[str, int]]:
    """The nodes of variables that the signatures' functions are called with, and the numbers of their objects."""
    outputs = [info.name for one in meta_graph.signature_def.values() for info in one.outputs.values()]
    functions = meta_graph.object_graph_def.concrete_functions
    for name in index.reachable(outputs):
        node = index.nodes[name]
        function = node.attr["f"].func.name if "f" in node.attr else ""
        objects = functions[function].bound_inputs if function in functions else ()
        handles = index.producers(node)[-len(objects) or None :]
        yield from ((h, n) for h, n in zip(handles, objects, strict=False) if h in index.nodes)


def _find_paths(objects: Any) -> dict[int, str]:
    """The shortest path of names from the root to each object, by the objects' numbers."""
    paths = {0: ""} if objects else {}
    for number in (waiting := list(paths)):
        for child in objects[number].children:
            if 0 <= child.node_id < len(objects) and child.node_id not in paths:
                paths[child.node_id] = f"{paths[number]}/{child.local_name}".removeprefix("/")
                waiting.append(child.node_id)
    return paths
