"""Finds the nodes of a graph that will run: along inputs and control edges, and in every function that is called.

It also finds the origin of a filename, through Identity ops and function arguments. It works on protobufs alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from serialization.graph.graph_def import get_tensor_name, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import BRANCHES, FUNCTION_CALLS, IDENTITIES, VARIABLE_READERS, WHILES

GRAPH = ""  # the scope of the graph's own nodes; the scope of a function's nodes is its name

# They pass a filename on unchanged; PlaceholderWithDefault only if it is not fed.
_FORWARDS = IDENTITIES | {"PlaceholderWithDefault", "StopGradient", "EnsureShape"}
# The first input of a calling op that is an argument of the function.
_FIRST_ARGUMENT = dict.fromkeys(FUNCTION_CALLS | WHILES, 0) | dict.fromkeys(BRANCHES, 1) | {"RemoteCall": 1}


@dataclass(frozen=True)
class StringOrigin:
    """Where a string comes from: `kind` is "constant", "asset", "saver" (its filename) or "computed"."""

    kind: str
    value: bytes = b""


class CallGraph:
    """The functions that each node may run. `assets` maps each tensor that is fed an asset's path to the filename."""

    def __init__(self, index: GraphIndex, assets: dict[str, str] | None = None) -> None:
        self.index, self.functions = index, index.functions
        self.assets = assets or {}
        library = index.graph_def.library
        self._gradients: dict[str, str] = {g.function_name: g.gradient_func for g in library.gradient}
        self._alternatives: dict[bytes, list[str]] = {}
        for name, function in self.functions.items():
            if api := function.attr["api_implements"].s if "api_implements" in function.attr else b"":
                self._alternatives.setdefault(api, []).append(name)

    def called(self, node: Any) -> Iterator[str]:
        """The functions that a node may run: its op, and those that its attributes name."""
        if node.op in self.functions:
            yield node.op
        yield from self._named(node.attr)

    def _named(self, attributes: Any) -> Iterator[str]:
        for value in attributes.values():
            kind = value.WhichOneof("value")
            if kind == "func":
                yield value.func.name
                yield from self._named(value.func.attr)
            elif kind == "list":
                for function in value.list.func:
                    yield function.name
                    yield from self._named(function.attr)

    def stand_ins(self, name: str) -> Iterator[str]:
        """The functions that TensorFlow may run in place of one: its gradient, and other implementations of it."""
        if name in self._gradients:
            yield self._gradients[name]
        attributes = self.functions[name].attr
        if "api_implements" in attributes:
            yield from self._alternatives.get(attributes["api_implements"].s, ())


class Reach:
    """The nodes that run when some tensors are fetched and some functions called.

    `run` maps (scope, node name) to the NodeDef. `saver_filename` is the tensor that is fed the checkpoint's prefix.
    """

    def __init__(self, graph: CallGraph, fed: Iterable[str] = (), saver_filename: str = "") -> None:
        self.graph = graph
        self.run: dict[tuple[str, str], Any] = {}
        self._fed = {get_tensor_name(name) for name in fed}
        self._saver_filename = get_tensor_name(saver_filename) if saver_filename else ""
        self._callers: dict[str, list[tuple[str, Any]]] = {}
        self._bound: dict[tuple[str, str], set[StringOrigin]] = {}
        self._entered: set[str] = set()

    def fetch(self, tensors: Iterable[str]) -> Reach:
        """Add the nodes that run when these tensors or ops are fetched; unknown names are ignored."""
        self._visit([(GRAPH, name) for name in (self._node(tensor) for tensor in tensors) if name])
        return self

    def call(self, function: str, bound: dict[str, StringOrigin] | None = None) -> Reach:
        """Add the nodes that run when a function is called; `bound` gives the origin of its string arguments."""
        for argument, source in (bound or {}).items():
            self._bound.setdefault((function, argument), set()).add(source)
        self._visit(self._enter(function))
        return self

    def sources(self, scope: str, node: Any, index: int) -> set[StringOrigin]:
        """All possible origins of input `index` of a node."""
        data = list_data_edges(node)
        return self._trace(scope, data[index], set()) if index < len(data) else {StringOrigin("computed")}

    def _node(self, tensor: str) -> str:
        """The node to run for a tensor; empty if the tensor is fed."""
        name = tensor.removeprefix("^")
        return "" if not tensor.startswith("^") and get_tensor_name(name) in self._fed else name.partition(":")[0]

    def _enter(self, function: str) -> list[tuple[str, str]]:
        """All nodes of a function: stateful ones run even if no output needs them."""
        if function not in self.graph.functions or function in self._entered:
            return []
        self._entered.add(function)
        found = [(function, node.name) for node in self.graph.functions[function].node_def]
        for other in self.graph.stand_ins(function):
            found += self._enter(other)
        return found

    def _visit(self, todo: list[tuple[str, str]]) -> None:
        while todo:
            scope, name = key = todo.pop()
            node = self.graph.index.body(scope).get(name)
            if node is None or key in self.run:
                continue
            self.run[key] = node
            if scope == GRAPH:
                todo += [(GRAPH, source) for source in (self._node(tensor) for tensor in node.input) if source]
            for function in self.graph.called(node):
                self._callers.setdefault(function, []).append((scope, node))
                todo += self._enter(function)

    def _trace(self, scope: str, tensor: str, seen: set[tuple[str, str]]) -> set[StringOrigin]:
        # A loop, not recursion: a chain of Identity ops may be longer than Python's stack.
        while (scope, tensor) not in seen:
            seen.add((scope, tensor))
            if scope == GRAPH:
                full = get_tensor_name(tensor)
                if full == self._saver_filename:
                    return {StringOrigin("saver")}
                if full in self.graph.assets:
                    return {StringOrigin("asset", self.graph.assets[full].encode())}
                if full in self._fed:
                    return {StringOrigin("computed")}
            node = self.graph.index.body(scope).get(tensor.partition(":")[0])
            if node is None:
                return self._argument(scope, tensor.partition(":")[0], seen)
            if node.op == "Const":
                strings = node.attr["value"].tensor.string_val
                return {StringOrigin("constant", value) for value in strings} or {StringOrigin("computed")}
            if node.op == "ReadVariableOp" and scope == GRAPH:
                return self._stored(node, seen)
            if node.op not in _FORWARDS or not node.input:
                return {StringOrigin("computed")}
            tensor = node.input[0]
        return set()

    def _stored(self, node: Any, seen: set[tuple[str, str]]) -> set[StringOrigin]:
        """The origins of a variable's value. TensorFlow 2 keeps an asset's path in a variable that is assigned once."""
        found: set[StringOrigin] = set()
        for handle in self.graph.index.producers(node):
            for user in map(self.graph.index.nodes.__getitem__, self.graph.index.consumers(handle)):
                if user.op == "AssignVariableOp" and len(user.input) > 1 and user.input[0] != user.input[1]:
                    found |= self._trace(GRAPH, user.input[1], seen)
                elif user.op not in VARIABLE_READERS:
                    found.add(StringOrigin("computed"))
        return found or {StringOrigin("computed")}

    def _argument(self, function: str, name: str, seen: set[tuple[str, str]]) -> set[StringOrigin]:
        """The origins of a function's argument: its callers' inputs, and captured assets."""
        found = set(self._bound.get((function, name), ()))
        names = [argument.name for argument in self.graph.functions[function].signature.input_arg] if function else []
        if name not in names:
            return found or {StringOrigin("computed")}
        for scope, node in self._callers.get(function, ()):
            first = 0 if node.op == function else _FIRST_ARGUMENT.get(node.op)
            data = list_data_edges(node)
            index = -1 if first is None else first + names.index(name)
            found |= self._trace(scope, data[index], seen) if 0 <= index < len(data) else {StringOrigin("computed")}
        return found or {StringOrigin("computed")}
