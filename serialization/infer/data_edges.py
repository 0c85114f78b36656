"""The data edges of a graph: which node depends on which input, without nodes that train, save, summarize and check.

It works on the protobuf, without TensorFlow's runtime.
"""

from __future__ import annotations

import functools
import operator
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from serialization.graph import op_sets
from serialization.graph.graph_def import get_node_name, get_tensor_name, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.signature import Tensor
from serialization.graph.tensors import describe_tensor
from serialization.infer.entrances import find_pipeline_ends, list_variables, list_weights
from serialization.infer.gradients import sort_gradients
from serialization.infer.loops import find_loops
from serialization.infer.names import has_own_name
from serialization.infer.set_aside import find_gradients, find_nodes_aside

_VALUE_FREE = op_sets.SHAPES | op_sets.LIKES  # their results do not depend on the values, unless these ops select them:
_SELECTING = re.compile(r"NonMaxSuppression.*|Where|Unique.*|ListDiff|.*Greedy.*|.*BeamSearch.*")
# They pass a parameter's value on. A value that comes out of a loop may be another one.
_PASS_ON = op_sets.PASS_THROUGH - op_sets.MERGES - op_sets.EXITS - op_sets.NEXT_ITERATIONS | {"ReadVariableOp", "Cast"}
# Ops that combine features with parameters. A regularizer's Mul or Add takes parameters too, but no feature.
_PARAMETRIC = re.compile(
    r"(.*MatMul.*|.*Conv.*|Gather.*|ResourceGather.*|BiasAdd.*|Add|AddV2|Sub|Mul|.*BatchNorm.*|.*LSTM.*|.*GRU.*|Einsum)"
)
_FLATTEN = re.compile(r"(^|/)flatten(_\d+)?$", re.IGNORECASE)
_CALLS = op_sets.WHILES | op_sets.BRANCHES | op_sets.FUNCTION_CALLS  # the op that combines them is in the function
# Without Switch and Merge, whose gradients have names of their own.
_TRANSPARENT = op_sets.PASS_THROUGH - op_sets.SWITCHES - op_sets.MERGES | {"Cast", "AddN", "Reshape", "ReadVariableOp"}


class Flow:
    """The graph's data edges, without the nodes that train, save, summarize and check."""

    def __init__(self, index: GraphIndex) -> None:
        self.index, self.nodes = index, index.nodes
        self.ends = find_pipeline_ends(index)
        self.frozen = not list_variables(index)
        gradients, self.answering_gradients = find_gradients(index)
        self.training = bool(gradients)
        self._selected = index.downstream(name for name, node in self.nodes.items() if _SELECTING.fullmatch(node.op))
        self.bits = {source: 1 << position for position, source in enumerate(self._list_sources(self.nodes.values()))}
        self.depends = self._spread(self.bits)
        self.aside = find_nodes_aside(index, gradients, self.ends, self.depends)
        self.sources = self._list_sources(self.rest())
        self.parameters = self._find_parameters()
        self._parameter_sets: dict[int, frozenset[str]] = {}
        self.deep = self.follow(n.name for n in self.rest() if self.is_parametric(n) and self.depends[n.name])
        self.gradients = sort_gradients(index, gradients)
        self.trained = set().union(*(gradient.owners for gradient in self.gradients))
        self.losses = set().union(*(gradient.losses for gradient in self.gradients))

    def rest(self) -> Iterator[Any]:
        """The nodes that are not left out."""
        return (node for node in self.nodes.values() if node.name not in self.aside)

    def users(self, name: str) -> list[str]:
        """The consumers of a node that are not left out, and that take more than its shape."""
        users = (user for user in self.index.consumers(name) if user not in self.aside)
        return [user for user in users if self.nodes[user].op not in _VALUE_FREE]

    def is_value_free(self, name: str) -> bool:
        """Whether the node tells only the shape of its input, so that no value goes through it."""
        return self.nodes[name].op in _VALUE_FREE and name not in self._selected

    def follow(self, names: Iterable[str]) -> set[str]:
        """These nodes and all nodes to which their values go."""
        found = set(names)
        waiting = list(found)
        while waiting:
            new = [user for user in self.index.consumers(waiting.pop()) if user not in found]
            new = [user for user in new if not self.is_value_free(user) and user not in self.ends]
            found.update(new)
            waiting += new
        return found

    def trace(self, names: Iterable[str]) -> set[str]:
        """These nodes and all nodes whose values go to them."""
        found = set(names)
        waiting = list(found)
        while waiting:
            new = [n for n in self.index.producers(self.nodes[waiting.pop()]) if n not in found and n in self.nodes]
            new = [n for n in new if not self.is_value_free(n)]
            found.update(new)
            waiting += new
        return found

    def _list_sources(self, nodes: Iterable[Any]) -> list[str]:
        """The tensors that bring values to these nodes: placeholders, and what comes out of input pipelines."""
        inner = [node for node in nodes if node.name not in self.ends]
        used = dict.fromkeys(get_tensor_name(edge) for node in inner for edge in list_data_edges(node))
        placeholders = [f"{node.name}:0" for node in self.nodes.values() if node.op in op_sets.PLACEHOLDERS]
        return [
            *(tensor for tensor in placeholders if tensor in used),
            *(tensor for tensor in used if get_node_name(tensor) in self.ends),
        ]

    def _spread(self, bits: Mapping[str, int]) -> dict[str, int]:
        """The sources that each node depends on, as bits; also through loops."""
        depends: dict[str, int] = defaultdict(int)
        for name in self.nodes:
            for edge in list_data_edges(self.nodes[name]):
                depends[name] |= bits.get(get_tensor_name(edge), 0)
        for source, bit in bits.items():
            if self.nodes[get_node_name(source)].op in op_sets.PLACEHOLDERS:
                depends[get_node_name(source)] |= bit
        return self._carry(depends)

    def find_steps(self, names: Iterable[str], ends: Iterable[str]) -> set[str]:
        """The nodes of `names` whose values go to another node, one of `ends`."""
        bits = {name: 1 << place for place, name in enumerate(dict.fromkeys(names))}
        marks = self._carry(defaultdict(int, bits))
        seen = {marks[end] & ~bits.get(end, 0) for end in ends}
        return {name for name, bit in bits.items() if any(mark & bit for mark in seen)}

    def mark_uses(self, names: Iterable[str]) -> tuple[dict[str, int], dict[str, int]]:
        """A bit for each of these nodes; and for each node the bits of those that its value goes to."""
        bits = {name: 1 << place for place, name in enumerate(dict.fromkeys(names))}
        marks = defaultdict(int, bits)
        again = True
        while again:  # once, and more often where values go round in loops
            again, done = False, set[str]()
            for name in reversed(self.index.order):
                done.add(name)
                if marks[name] and (name in bits or not self.is_value_free(name)):
                    for producer in self.index.producers(self.nodes[name]):
                        again |= producer in done and marks[producer] | marks[name] != marks[producer]
                        marks[producer] |= marks[name]
        return bits, marks

    def find_kin(self, names: Iterable[str]) -> dict[str, set[str]]:
        """For each of these nodes the others that need the result of one node with weights that it needs too."""
        bits, marks = self.mark_uses(names)
        shared = {marks[name] for name in self.deep}
        common = {bit: functools.reduce(operator.or_, (m for m in shared if m & bit), 0) for bit in bits.values()}
        return {name: {other for other, b in bits.items() if common[bit] & b} for name, bit in bits.items()}

    def _carry(self, marks: dict[str, int]) -> dict[str, int]:
        """Hand the bits of each node on to those that its values go to."""
        again = True
        while again:  # once, and more often where values go round in loops
            again, done = False, set[str]()
            for name in self.index.order:
                done.add(name)
                bits = marks[name]
                if not bits or name in self.ends or self.is_value_free(name):
                    continue
                for user in self.index.consumers(name):
                    again |= user in done and marks[user] | bits != marks[user]
                    marks[user] |= bits
        return marks

    def _find_parameters(self) -> dict[str, str]:
        """The nodes that give weights, each with the name of a variable, or of a constant with axes, that it gives.

        They pass its value on, or are computed from variables alone: parts put together, weights that are normalized.
        """
        found = {node.name: node.name for node in list_weights(self.index)}
        for name in self.index.order:
            node = self.nodes[name]
            given = [found[n] for n in self.index.producers(node) if n in found]
            gives = bool(given) and (node.op in _PASS_ON or self._is_computed_weight(node, found))
            if gives and name not in found and not self.depends[name]:
                found[name] = given[0]
        return found

    def _is_computed_weight(self, node: Any, weights: Collection[str]) -> bool:
        made = all(
            n in weights or (n in self.nodes and self.nodes[n].op == "Const") for n in self.index.producers(node)
        )
        axes = len(self.describe(f"{node.name}:0").shape or ())
        return made and axes > 1 and not op_sets.is_update(node.op)  # a number is a penalty for the weights

    @cached_property
    def needed_by_losses(self) -> int:
        """The bits of the sources that the losses need; all sources if there is no loss."""
        needs = [self.depends[loss] for loss in self.losses] or self.bits.values()
        return functools.reduce(operator.or_, needs, 0)

    @cached_property
    def loops(self) -> list[set[str]]:
        """The nodes within each loop of TensorFlow 1."""
        return find_loops(self.index)

    @cached_property
    def updated(self) -> set[str]:
        """The variables that something changes after their first value."""
        found: set[str] = set()
        for node in self.nodes.values():
            if op_sets.is_update(node.op) and node.input and self._is_learned(node):
                found.update(self.parameters.get(name, "") for name in self.index.producers(node))
        return found

    def _is_learned(self, node: Any) -> bool:
        """Whether the update is no first value, none that is restored or fed, and no copy of another variable."""
        values = list_data_edges(node)[1:]
        given = all(get_tensor_name(self.index.trace_back(edge, _PASS_ON)) in self.bits for edge in values)
        return node.op not in op_sets.ASSIGNMENTS or (any(map(self.needs, values)) and not given)

    def is_trained(self, name: str) -> bool:
        """Whether a gradient goes through the node."""
        while name not in self.trained and self.nodes[name].op in _TRANSPARENT:
            name = get_node_name(self.nodes[name].input[0])
        return name in self.trained

    def is_parametric(self, node: Any) -> bool:
        """Whether this node combines values with parameters."""
        combines = node.op in _CALLS or _PARAMETRIC.fullmatch(node.op) is not None
        return combines and any(name in self.parameters for name in self.index.producers(node))

    def behind_views(self, tensor: str) -> str:
        """The tensor of which this one is only another view."""
        node = self.nodes[get_node_name(tensor)]
        while self._is_view(node):
            tensor = get_tensor_name(node.input[0])
            node = self.nodes[get_node_name(tensor)]
        return tensor

    def _is_view(self, node: Any) -> bool:
        """Whether an unnamed node gives a deep tensor unchanged, or the part, shape or dtype that a consumer wants."""
        shown = self.index.producers(node)[:1]
        if has_own_name(node) or not any(name in self.deep for name in shown):
            return False
        if node.op in ("Cast", "Slice", "StridedSlice"):
            return has_own_name(self.nodes[shown[0]])
        scope = node.name.rpartition("/")[0]
        if _FLATTEN.search(scope):
            return False  # a layer by itself
        if node.op in ("Reshape", "Squeeze") and scope and shown[0].startswith(f"{scope}/"):
            return False  # it is part of the layer
        return node.op in op_sets.IDENTITIES or (node.op in op_sets.VIEWS and len(self.users(node.name)) < 2)

    def needs(self, edge: str) -> int:
        """The bits of the sources that the tensor on an edge depends on."""
        return self.depends[get_node_name(edge)] | self.bits.get(get_tensor_name(edge), 0)

    def features(self) -> int:
        """The bits of the sources that are combined with parameters."""
        met = 0
        for node in self.rest():
            if self.is_parametric(node):
                met |= self.depends[node.name]
        return met

    def compared(self) -> int:
        """The bits of the sources that are combined with results of the parameters."""
        met = 0
        for node in self.rest():
            if node.name in self.deep:
                for edge in list_data_edges(node):
                    met |= 0 if get_node_name(edge) in self.deep else self.needs(edge)
        return met

    def parameters_of(self, name: str) -> frozenset[str]:
        """The variables, or weights in constants, that a node is computed from."""
        bits = self._parameter_bits[name]
        if bits not in self._parameter_sets:
            digits = reversed(f"{bits:b}")
            self._parameter_sets[bits] = frozenset(
                root for root, digit in zip(self._roots, digits, strict=False) if digit == "1"
            )
        return self._parameter_sets[bits]

    @cached_property
    def _roots(self) -> list[str]:
        """The variables, and the constants that are weights."""
        return [parameter for parameter, node in self.parameters.items() if parameter == node]

    @cached_property
    def _parameter_bits(self) -> dict[str, int]:
        """The parameters that each node needs, along data and control edges, as bits in the order of `parameters`."""
        found = dict.fromkeys(self.nodes, 0) | {name: 1 << place for place, name in enumerate(self._roots)}
        again = True
        while again:
            again = False
            for name in self.index.order:
                bits = found[name]
                for edge in self.nodes[name].input:
                    bits |= found.get(get_node_name(edge), 0)
                again |= bits != found[name]
                found[name] = bits
        return found

    def is_scalar(self, tensor: str) -> bool:
        """Whether it is one number, as far as the NodeDef tells."""
        shape = self.describe(tensor).shape
        return shape == () or (shape is None and self.nodes[get_node_name(tensor)].op in ("Mean", "Sum", "L2Loss"))

    def describe(self, tensor: str) -> Tensor:
        """The tensor of that name, as its NodeDef describes it."""
        return describe_tensor(self.nodes, tensor)
