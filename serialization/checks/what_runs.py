"""Finds what may run: the nodes that a run of the session needs, and every function that these may call."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from serialization.graph.graph_def import find_called_functions, get_node_name, get_tensor_name
from serialization.graph.graph_index import GraphIndex

GRAPH = ""  # the scope of the graph's own nodes; the scope of a function's nodes is its name
FETCH, INIT, RESTORE = "fetch", "init", "restore"
_OPTIONAL = "PlaceholderWithDefault"  # a caller may leave it out


@dataclass(frozen=True)
class SessionRun:
    """One run of the session: its kind, the names of the nodes that it needs, and the tensors that its caller feeds."""

    kind: str
    nodes: dict[str, None]
    fed: frozenset[str]


def find_session_run(index: GraphIndex, kind: str, fetched: Iterable[str], fed: Iterable[str] = ()) -> SessionRun:
    """The run that fetches these tensors or ops. Unknown names are ignored.

    A node whose output is fed does not run for that output; it runs if an op waits for it, or takes another output.
    """
    tensors = frozenset(map(get_tensor_name, fed))
    nodes: dict[str, None] = {}
    waiting = list(fetched)
    while waiting:
        edge = waiting.pop()
        name = get_node_name(edge)
        if name in nodes or name not in index.nodes:
            continue
        if edge[:1] != "^" and get_tensor_name(edge) in tensors and index.nodes[name].op != _OPTIONAL:
            continue
        nodes[name] = None
        waiting += index.nodes[name].input
    return SessionRun(kind, nodes, tensors)


class Reached:
    """All that may run: `nodes` of the graph, and the names of `functions` in it.

    `calls` has, for each function, the scope and the NodeDef of each node that names it; None in place of the NodeDef
    where TensorFlow may run the function in place of another one.
    """

    def __init__(self, index: GraphIndex, runs: Iterable[SessionRun], functions: Iterable[str] = ()) -> None:
        self.index, self.runs = index, tuple(runs)
        self.nodes: dict[str, None] = {name: None for run in self.runs for name in run.nodes}
        self.functions: dict[str, None] = {}
        self.calls: dict[str, list[tuple[str, Any]]] = defaultdict(list)
        waiting = [*functions, *self._list_calls(GRAPH, (index.nodes[name] for name in self.nodes))]
        while waiting:
            name = waiting.pop()
            if name in index.functions and name not in self.functions:
                self.functions[name] = None
                waiting += self._list_calls(name, index.functions[name].node_def)
                for other in self._list_replacements(name):
                    self.calls[other].append((name, None))
                    waiting.append(other)

    def iterate_nodes(self) -> Iterator[tuple[str, Any]]:
        """Every node that may run, with its scope."""
        yield from ((GRAPH, self.index.nodes[name]) for name in self.nodes)
        yield from ((name, node) for name in self.functions for node in self.index.functions[name].node_def)

    def runs_only(self, kind: str, name: str) -> bool:
        """Whether a node of the graph runs in no run of another kind."""
        return all(run.kind == kind for run in self.runs if name in run.nodes)

    def is_fed(self, tensor: str) -> bool:
        """Whether a caller feeds this tensor of the graph in some run."""
        return any(tensor in run.fed for run in self.runs)

    def _list_calls(self, scope: str, nodes: Iterable[Any]) -> list[str]:
        called = [(name, node) for node in nodes for name in find_called_functions(node, self.index.functions)]
        for name, node in called:
            self.calls[name].append((scope, node))
        return [name for name, _ in called]

    def _list_replacements(self, name: str) -> list[str]:
        """The functions that TensorFlow may run in place of one: its gradient, and other implementations."""
        library, attributes = self.index.graph_def.library, self.index.functions[name].attr
        found = [gradient.gradient_func for gradient in library.gradient if gradient.function_name == name]
        if "api_implements" in attributes:
            interface = attributes["api_implements"].s
            others = (f for f in library.function if "api_implements" in f.attr)
            found += [f.signature.name for f in others if f.attr["api_implements"].s == interface]
        return [other for other in found if other != name]
