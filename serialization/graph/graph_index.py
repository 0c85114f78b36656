"""An index of a GraphDef, built once and handed on: nodes by name, consumers, functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import Any

from serialization.formats import protos
from serialization.graph.graph_def import find_called_functions, get_node_name, list_data_edges


class GraphIndex:
    """The nodes and functions of a GraphDef by their names, and the consumers of each node.

    It describes the GraphDef at one moment. A function that changes the GraphDef's nodes, their names or their edges
    makes a new index afterwards.
    """

    def __init__(self, graph_def: Any) -> None:
        self.graph_def = graph_def
        self.nodes: dict[str, Any] = {node.name: node for node in graph_def.node}
        self.functions: dict[str, Any] = {f.signature.name: f for f in graph_def.library.function}
        self._bodies: dict[str, dict[str, Any]] = {}
        self._producers: dict[str, list[str]] = {}

    def body(self, function: str) -> dict[str, Any]:
        """The nodes of a function by their names; those of the graph itself for an empty name."""
        if not function:
            return self.nodes
        if function not in self._bodies:
            self._bodies[function] = {node.name: node for node in self.functions[function].node_def}
        return self._bodies[function]

    def producer(self, edge: str) -> Any:
        """The node that an edge comes from; None if the graph does not have it."""
        return self.nodes.get(get_node_name(edge))

    def producers(self, node: Any) -> list[str]:
        """The names of the nodes that a node takes data from, one for each data edge; the graph may lack some."""
        own: bool = self.nodes.get(node.name) is node
        if not own:  # it belongs to the body of a function
            return [get_node_name(edge) for edge in list_data_edges(node)]
        if node.name not in self._producers:
            self._producers[node.name] = [get_node_name(edge) for edge in list_data_edges(node)]
        return self._producers[node.name]

    def consumers(self, name: str) -> Sequence[str]:
        """The names of the nodes that take data from a node."""
        return self._consumers.get(name, ())

    @cached_property
    def _consumers(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for node in self.graph_def.node:
            for name in dict.fromkeys(self.producers(node)):
                found[name].append(node.name)
        return found

    @cached_property
    def order(self) -> list[str]:
        """The names of all nodes, each behind those that it needs, but for the edges that close a loop."""
        found: dict[str, None] = {}
        entered: set[str] = set()
        waiting = list(reversed(self.nodes))
        while waiting:
            name = waiting[-1]
            if name in entered:
                found.setdefault(waiting.pop())
                continue
            entered.add(name)
            needed = map(get_node_name, self.nodes[name].input)
            waiting += [n for n in needed if n not in entered and n in self.nodes]
        return list(found)

    def downstream(self, names: Iterable[str]) -> set[str]:
        """These nodes and all nodes that are computed from them, along data edges."""
        found = set(names)
        waiting = list(found)
        while waiting:
            new = [user for user in self.consumers(waiting.pop()) if user not in found]
            found.update(new)
            waiting += new
        return found

    def upstream(self, name: str) -> set[str]:
        """A node and all nodes that it is computed from, along data edges."""
        found, waiting = {name}, [name]
        while waiting:
            new = [n for n in self.producers(self.nodes[waiting.pop()]) if n not in found and n in self.nodes]
            found.update(new)
            waiting += new
        return found

    def reachable(self, roots: Iterable[str], stop: Collection[str] = ()) -> dict[str, None]:
        """The names of the nodes that the roots need, along data and control edges.

        The walk does not go on behind the nodes in `stop`.
        """
        seen: dict[str, None] = {}
        waiting = [get_node_name(root) for root in roots]
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self.nodes:
                continue
            seen[name] = None
            if name not in stop:
                waiting.extend(get_node_name(edge) for edge in self.nodes[name].input)
        return seen

    def trace_back(self, edge: str, through: Collection[str]) -> str:
        """The edge whose value an edge carries, found by going back through nodes of these ops, along first inputs."""
        seen: set[str] = set()
        while (node := self.producer(edge)) is not None and node.op in through and node.input and node.name not in seen:
            seen.add(node.name)
            edge = node.input[0]
        return edge

    def called_functions(self, nodes: Iterable[Any]) -> dict[str, None]:
        """The names of the functions that nodes call, directly or through other functions."""
        found: dict[str, None] = {}
        waiting = list(nodes)
        while waiting:
            new = [name for name in find_called_functions(waiting.pop(), self.functions) if name not in found]
            found.update(dict.fromkeys(new))
            waiting += [node for name in new for node in self.functions[name].node_def]
        return found


def prune_graph(index: GraphIndex, roots: Iterable[str]) -> Any:
    """A new GraphDef of the nodes that the roots need, in the original order, and of the functions that these call.

    `roots` are names of nodes or tensors.
    """
    return take_nodes(index, index.reachable(roots))


def take_nodes(index: GraphIndex, keep: Collection[str]) -> Any:
    """A new GraphDef of the nodes with these names, in the original order, and of the functions that they call."""
    taken = protos.GraphDef(versions=index.graph_def.versions)
    taken.node.extend(node for node in index.graph_def.node if node.name in keep)
    library = index.graph_def.library
    gradients = {gradient.function_name: gradient.gradient_func for gradient in library.gradient}
    called = index.called_functions(taken.node)
    while more := {gradients[name] for name in called if name in gradients} - called.keys():
        called |= dict.fromkeys(more)
        called |= index.called_functions(node for name in more for node in index.functions[name].node_def)
    taken.library.function.extend(f for name, f in index.functions.items() if name in called)
    taken.library.gradient.extend(g for g in library.gradient if g.function_name in called)
    return taken
