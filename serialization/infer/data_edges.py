"""Which node of a graph depends on which input, without the nodes that train, save, summarize and check.

It works on the protobuf, without TensorFlow's runtime.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from serialization.formats.dtypes import get_dtype_name
from serialization.graph import op_sets
from serialization.graph.graph_def import get_node_name, get_tensor_name, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.signature import Tensor
from serialization.graph.tensors import describe_tensor

VALUE_FREE = op_sets.SHAPES | op_sets.LIKES  # their results do not depend on the values, unless these ops select them:
_SELECTING = re.compile(r"NonMaxSuppression.*|Where|Unique.*|ListDiff|.*Greedy.*|.*BeamSearch.*")
_SHOWN = op_sets.VIEWS | {"Cast", "Mul", "Slice", "StridedSlice", "GatherV2"}
# No caller fetches them. Nodes that only they consume are left out too.
_PLUMBING = op_sets.SAVE_OPS | op_sets.RESTORE_OPS | op_sets.INITIALIZED_CHECKS | op_sets.SUMMARY_WRITERS
_PLUMBING |= op_sets.TABLE_WRITERS | op_sets.TABLE_EXPORTS | op_sets.TABLE_SIZES | op_sets.ENQUEUES | op_sets.CLOSES
_PLUMBING |= {"Assert", "NoOp", "ControlTrigger", "Abort", "DestroyResourceOp", "MakeIterator", "WriteFile", "PrintV2"}
# They pass a parameter's value on. A value that comes out of a loop may be another one.
_PASS_ON = op_sets.PASS_THROUGH - op_sets.MERGES - op_sets.EXITS - op_sets.NEXT_ITERATIONS | {"ReadVariableOp", "Cast"}
# Ops that combine features with parameters. A regularizer's Mul or Add takes parameters too, but no feature.
_PARAMETRIC = re.compile(
    r"(.*MatMul.*|.*Conv.*|Gather.*|ResourceGather.*|BiasAdd.*|Add|AddV2|Sub|Mul|.*BatchNorm.*|.*LSTM.*|.*GRU.*|Einsum)"
)
_GRADIENT = re.compile(r"(?:.*/)?gradients(?:_\d+)?/(.+?)_grad/.*")
_SEED = re.compile(r"(?:.*/)?gradients(?:_\d+)?/(Fill|Const|grad_ys|ones)[^/]*")  # the first nodes of the gradients
# Without Switch and Merge, whose gradients have names of their own.
_TRANSPARENT = op_sets.PASS_THROUGH - op_sets.SWITCHES - op_sets.MERGES | {"Cast", "AddN", "Reshape", "ReadVariableOp"}
_FORMS = op_sets.VIEWS | op_sets.ENTERS | {"Cast", "Shape"}
_FUNCTIONS = {"truediv", "stack", "unstack", "embeddinglookup", "floordiv", "xwplusb", "l2normalize", "clipbyvalue"}
_FUNCTIONS |= {"logsoftmax", "tofloat", "toint32", "toint64", "dropout", "gather", "concat", "add", "sub", "cond"}
_DROPOUT = re.compile(r"(^|/)\w*dropout\w*/", re.IGNORECASE)
_TRAINING_SCOPE = re.compile(r"(.*/)?(gradients(_\d+)?|report_uninitialized_variables(_\d+)?|save(_\d+)?)/.*")


class Flow:
    """The graph's data edges, without the nodes that train, save, summarize and check."""

    def __init__(self, index: GraphIndex) -> None:
        self.index, self.nodes = index, index.nodes
        self.training = any(_TRAINING_SCOPE.fullmatch(name) and "gradients" in name for name in self.nodes)
        self.aside = self._set_aside()
        self.sources = self._find_sources()
        self.bits = {source: 1 << position for position, source in enumerate(self.sources)}
        self.depends = self._spread(self.bits)
        self.parameters = self._find_parameters()
        self.deep = self._find_deep()
        gradients = {name: match[1] for name in self.nodes if (match := _GRADIENT.fullmatch(name))}
        self.trained = set(gradients.values()) & self.nodes.keys()
        self.losses = {
            gradients[name]
            for name in gradients
            if gradients[name] in self.nodes and any(map(_SEED.fullmatch, self.index.producers(self.nodes[name])))
        }

    def rest(self) -> Iterator[Any]:
        """The nodes that are not left out."""
        return (node for node in self.nodes.values() if node.name not in self.aside)

    def users(self, name: str) -> list[str]:
        """The consumers of a node that are not left out."""
        return [user for user in self.index.consumers(name) if user not in self.aside]

    def _set_aside(self) -> set[str]:
        training = {name for name in self.nodes if _TRAINING_SCOPE.fullmatch(name)}
        training |= self.index.downstream(name for name in training if "gradients" in name)
        plumbing = {n.name for n in self.nodes.values() if n.op in _PLUMBING or op_sets.is_update(n.op)}
        waiting = list(plumbing)
        while waiting:  # a node that only plumbing consumes is plumbing
            for name in self.index.producers(self.nodes[waiting.pop()]):
                known = name not in self.nodes or name in plumbing or self.nodes[name].op in op_sets.PLACEHOLDERS
                if not known and all(user in plumbing for user in self.index.consumers(name)):
                    plumbing.add(name)
                    waiting.append(name)
        summaries = {n.name for n in self.nodes.values() if n.op in op_sets.SUMMARIES}
        waiting = list(summaries)
        while waiting:  # a node that only prepares an answer for a summary
            for name in self.index.producers(self.nodes[waiting.pop()]):
                node = self.nodes.get(name)
                shown = node is not None and name not in summaries and node.op in _SHOWN and not has_own_name(node)
                if shown and all(user in summaries for user in self.index.consumers(name)):
                    summaries.add(name)
                    waiting.append(name)
        return training | plumbing | summaries

    def _find_sources(self) -> list[str]:
        """The tensors that bring values in: placeholders, else the outputs of queues and iterators."""
        placeholders = [node.name for node in self.rest() if node.op in op_sets.PLACEHOLDERS]
        if any(self.users(name) for name in placeholders):
            return [f"{name}:0" for name in placeholders if self.users(name)]
        edges = (edge for node in self.rest() for edge in list_data_edges(node))
        pipelines = dict.fromkeys(
            e for e in edges if get_node_name(e) in self.nodes and self.nodes[get_node_name(e)].op in op_sets.PIPELINES
        )
        return [get_tensor_name(edge) for edge in pipelines]

    def _spread(self, bits: Mapping[str, int]) -> dict[str, int]:
        """The sources that each node depends on, as bits; also through loops."""
        depends: dict[str, int] = defaultdict(int)
        for name in self.nodes:
            for edge in list_data_edges(self.nodes[name]):
                depends[name] |= bits.get(get_tensor_name(edge), 0)
        for source, bit in bits.items():
            if self.nodes[get_node_name(source)].op in op_sets.PLACEHOLDERS:
                depends[get_node_name(source)] |= bit
        selected = self.index.downstream(name for name, node in self.nodes.items() if _SELECTING.fullmatch(node.op))
        waiting = [name for name, value in depends.items() if value]
        while waiting:
            name = waiting.pop()
            if self.nodes[name].op in op_sets.PIPELINES or (self.nodes[name].op in VALUE_FREE and name not in selected):
                continue
            for user in self.index.consumers(name):
                if depends[user] | depends[name] != depends[user]:
                    depends[user] |= depends[name]
                    waiting.append(user)
        return depends

    def _find_parameters(self) -> dict[str, str]:
        """Nodes that pass on the value of a variable or of a constant with axes, each with the name of that node."""
        roots = [node.name for node in self.nodes.values() if node.op in op_sets.VARIABLES]
        roots = roots or [node.name for node in self.nodes.values() if _is_weight(node)]
        found, waiting = {name: name for name in roots}, list(roots)
        while waiting:
            name = waiting.pop()
            for user in self.index.consumers(name):
                if user not in found and self.nodes[user].op in _PASS_ON and not self.depends[user]:
                    found[user] = found[name]
                    waiting.append(user)
        return found

    def _find_deep(self) -> set[str]:
        """The nodes that are computed from features and parameters."""
        return self.index.downstream(n.name for n in self.rest() if self.is_parametric(n) and self.depends[n.name])

    def is_trained(self, name: str) -> bool:
        """Whether a gradient goes through the node."""
        while name not in self.trained and self.nodes[name].op in _TRANSPARENT:
            name = get_node_name(self.nodes[name].input[0])
        return name in self.trained

    def takes(self, name: str, source: str) -> bool:
        """Whether the node consumes that tensor."""
        return any(get_tensor_name(edge) == source for edge in list_data_edges(self.nodes[name]))

    def is_sampled(self, source: str) -> bool:
        """Whether a candidate sampler takes the source: the true classes of a sampled loss."""
        return any(self.nodes[user].op in op_sets.CANDIDATE_SAMPLERS for user in self._takers(source))

    def drops_out(self, source: str) -> bool:
        """Whether the source is a number that only dropout layers take: their keep or drop rate."""
        takers = self._takers(source)
        number = not self.describe(source).shape and self.describe(source).dtype.startswith("float")
        return number and bool(takers) and all(_DROPOUT.search(user) for user in takers)

    def _takers(self, source: str) -> set[str]:
        """The nodes that take the source, also through views and casts of it, and through 1 - x."""
        found: set[str] = set()
        seen, waiting = {get_node_name(source)}, [get_node_name(source)]
        while waiting:
            for user in self.users(waiting.pop()):
                node = self.nodes[user]
                passed = node.op in _FORMS
                passed |= node.op == "Sub" and not any(
                    self.depends[name] & ~self.bits[source] for name in self.index.producers(node)
                )
                if not passed:
                    found.add(user)
                elif user not in seen:
                    seen.add(user)
                    waiting.append(user)
        return found

    def is_parametric(self, node: Any) -> bool:
        """Whether this node combines values with parameters."""
        return bool(_PARAMETRIC.fullmatch(node.op)) and any(
            name in self.parameters for name in self.index.producers(node)
        )

    def behind_views(self, tensor: str) -> str:
        """The tensor of which this one is only another view."""
        node = self.nodes[get_node_name(tensor)]
        while node.op in op_sets.VIEWS and get_node_name(node.input[0]) in self.deep and not has_own_name(node):
            tensor = get_tensor_name(node.input[0])
            node = self.nodes[get_node_name(tensor)]
        return tensor

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
                for name in self.index.producers(node):
                    met |= 0 if name in self.deep else self.depends[name]
        return met

    def parameters_of(self, name: str) -> frozenset[str]:
        """The variables, or weights in constants, that a node is computed from."""
        seen = self.index.reachable([name])
        return frozenset(n for n in seen if n in self.parameters and self.nodes[n].op in op_sets.VARIABLES | {"Const"})

    def describe(self, tensor: str) -> Tensor:
        """The tensor of that name, as its NodeDef describes it."""
        return describe_tensor(self.nodes, tensor)


def _is_weight(node: Any) -> bool:
    tensor = node.attr["value"].tensor if node.op == "Const" else None
    return tensor is not None and get_dtype_name(tensor.dtype).startswith("float") and len(tensor.tensor_shape.dim) > 0


def has_own_name(node: Any) -> bool:
    """Whether the author named the node. TensorFlow's own names are the op's or its function's, with a number."""
    last = re.sub(r"(_\d+)?$", "", node.name.rpartition("/")[2]).replace("_", "").lower()
    return last not in (re.sub(r"V\d$", "", node.op).lower(), node.op.lower()) and last not in _FUNCTIONS
