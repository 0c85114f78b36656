"""What a GraphDef is made of: reading one, walking it, pruning it, and telling variables from the rest.

Works on the protobuf alone: nothing here starts TensorFlow's runtime.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from serialization.formats import protos
from serialization.graph.op_sets import VARIABLE_READERS, VARIABLES, is_update

_VARIABLE_NODES = VARIABLES | VARIABLE_READERS


def may_be_cut_off(graph_def: Any) -> bool:
    """Whether a GraphDef from a file ends with a node: TensorFlow writes a library or its version behind the last."""
    return bool(graph_def.node) and not (graph_def.HasField("library") or graph_def.HasField("versions"))


CUT_OFF = "the file ends with a node, with no version or library behind it; it may have been cut off there"


def get_node_name(tensor: str) -> str:
    """The name of the node in an edge or a tensor's name: `x` of `x`, `x:1` and `^x`."""
    return tensor.removeprefix("^").partition(":")[0]


def get_output_index(tensor: str) -> int:
    """Which output of its node a tensor is: 1 for `x:1`, 0 for `x`."""
    return int(tensor.partition(":")[2] or 0)


def index_nodes(graph_def: Any) -> dict[str, Any]:
    """The GraphDef's nodes by their names."""
    return {node.name: node for node in graph_def.node}


def find_reachable(nodes: dict[str, Any], roots: Iterable[str], stop: Collection[str] = ()) -> dict[str, None]:
    """The names of the nodes that the roots need, by data and control edges, in the order they are met.

    Nodes named in `stop` are kept; what they need is not.
    """
    seen: dict[str, None] = {}
    waiting = [get_node_name(root) for root in roots]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in nodes:
            continue
        seen[name] = None
        if name not in stop:
            waiting.extend(get_node_name(edge) for edge in nodes[name].input)
    return seen


def prune_graph(graph_def: Any, roots: Iterable[str], stop: Collection[str] = ()) -> Any:
    """A GraphDef of what the roots need, in the order of the original; functions that nothing calls are left out."""
    keep = find_reachable(index_nodes(graph_def), roots, stop)
    pruned = protos.GraphDef(versions=graph_def.versions)
    pruned.node.extend(node for node in graph_def.node if node.name in keep)
    copy_functions(graph_def.library, pruned)
    return pruned


def copy_functions(library: Any, graph_def: Any) -> None:
    """Add the functions of `library` that the GraphDef's nodes call, directly or through other functions."""
    functions = {function.signature.name: function for function in library.function}
    wanted: dict[str, None] = {}
    waiting = [name for node in graph_def.node for name in find_called_functions(node, functions)]
    gradients = {gradient.function_name: gradient for gradient in library.gradient}
    while waiting:
        name = waiting.pop()
        if name in wanted:
            continue
        wanted[name] = None
        waiting.extend(n for node in functions[name].node_def for n in find_called_functions(node, functions))
        if name in gradients:
            waiting.append(gradients[name].gradient_func)
    graph_def.library.function.extend(f for f in library.function if f.signature.name in wanted)
    graph_def.library.gradient.extend(g for g in library.gradient if g.function_name in wanted)


def find_called_functions(node: Any, functions: Collection[str]) -> Iterator[str]:
    """The names of the functions that a node calls: as its op, or in an attribute."""
    if node.op in functions:
        yield node.op
    for value in node.attr.values():
        for function in (value.func, *value.list.func):
            if function.name in functions:
                yield function.name


def iterate_nodes(graph_def: Any) -> Iterator[Any]:
    """Every node: of the graph itself and of its functions."""
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def list_variable_nodes(graph_def: Any) -> list[str]:
    """The names of the nodes that hold or read a variable."""
    return [node.name for node in iterate_nodes(graph_def) if node.op in _VARIABLE_NODES]


def list_training_nodes(graph_def: Any) -> list[str]:
    """The names of the nodes that change a variable or a table: assignments, the optimizers' Apply ops, insertions."""
    return [node.name for node in iterate_nodes(graph_def) if is_update(node.op)]
