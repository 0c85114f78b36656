"""Tells which file an op would open, where its filename has a shape that TensorFlow's own writers produce.

These are the shapes, each with the model that needs it. Any other filename is computed, carried or renamed.

    the tensor that the loader feeds                         the Saver's restore op; a table's initializer
    the same behind an Identity                              tf.Transform's initializers
    a variable that the init op assigns an asset's path      tf.saved_model.save, wherever it uses an asset
    an argument that is one of these in each of its calls    its functions: restoring, initializers, signatures
    an element of TensorSliceDataset(Reshape(one of these))  tf.data.TextLineDataset(asset)
    a constant                                               tf.data's cache in memory; a vocabulary beside a graph
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from serialization.checks.what_runs import GRAPH, INIT, RESTORE, Reached
from serialization.formats import dtypes
from serialization.graph.const_nodes import read_strings
from serialization.graph.graph_def import get_node_name, get_tensor_name, iterate_nodes, list_data_edges
from serialization.graph.op_sets import VARIABLE_READERS

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_BRANCHES = dict.fromkeys(("If", "StatelessIf"), ("then_branch", "else_branch"))
_READ = "ReadVariableOp"


@dataclass(frozen=True)
class FileName:
    """A filename: `kind` is "asset", with its name below assets/, "checkpoint", the model's own, or "constant"."""

    kind: str
    value: bytes = b""


ASSET, CONSTANT = "asset", "constant"
OWN_CHECKPOINT: Final = FileName("checkpoint")


class FileNames:
    """The filenames in a graph.

    `assets` has the filename of each tensor that the loader feeds an asset's path while the init op runs; `checkpoint`
    is the tensor that it feeds the checkpoint's prefix while the restore op runs. `captured` has, for each function
    that TensorFlow 2's loader calls, the assets that it passes, by the names of the arguments.
    """

    def __init__(
        self,
        reached: Reached,
        assets: Mapping[str, str] | None = None,
        checkpoint: str = "",
        captured: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._reached, self._index = reached, reached.index
        self._assets = {tensor: FileName(ASSET, name.encode()) for tensor, name in (assets or {}).items()}
        self._checkpoint = checkpoint
        self._captured = captured or {}
        self._arguments: dict[tuple[str, str], FileName | None] = {}
        self._variables = dict(self._find_asset_variables()) if assets else {}

    def list_asset_nodes(self) -> dict[str, str]:
        """The nodes of the graph whose value is an asset's path, with the asset's filename."""
        found = {get_node_name(tensor): name for tensor, name in self._assets.items()}
        for handle, name in self._variables.items():
            found |= {user: name for user in self._index.consumers(handle) if self._index.nodes[user].op == _READ}
        return {node: name.value.decode() for node, name in found.items()}

    def find_file_name(self, scope: str, node: Any, position: int) -> FileName | None:
        """The filename that a node takes at an input; None if it has none of the shapes."""
        edges = list_data_edges(node)
        return self._follow(scope, node.name, edges[position]) if position < len(edges) else None

    def _follow(self, scope: str, reader: str, edge: str) -> FileName | None:
        """The filename on an edge of the graph, or of a function, to the node called `reader`."""
        source = self._find_source(scope, edge)
        if scope != GRAPH:
            return self._follow_argument(scope, edge) if source is None else _read_constant(source)
        tensor = get_tensor_name(edge)
        if source is None or self._reached.is_fed(tensor):
            return None
        taken = next(iter(list_data_edges(source)), "")
        if source.op == "Identity":
            tensor = get_tensor_name(taken)
        if tensor == self._checkpoint:
            return OWN_CHECKPOINT if self._reached.runs_only(RESTORE, reader) else None
        if tensor in self._assets:
            return self._assets[tensor] if self._reached.runs_only(INIT, reader) else None
        if source.op == _READ:
            return self._variables.get(get_node_name(taken))
        return _read_constant(source)

    def _find_source(self, scope: str, edge: str) -> Any:
        """The node whose first output an edge carries: NAME or NAME:0, in a function NAME:OUTPUT:0. Else None."""
        name, _, output = edge.partition(":")
        first = output in ("", "0") if scope == GRAPH else output.endswith(":0")
        return self._index.body(scope).get(name) if first else None

    def _follow_argument(self, function: str, name: str) -> FileName | None:
        if (function, name) not in self._arguments:
            self._arguments[function, name] = None  # for a function that calls itself
            arguments = self._index.functions[function].signature.input_arg
            names = [argument.name for argument in arguments]
            # A list takes several inputs, so that the places of the others shift.
            if name in names and not any(argument.number_attr or argument.type_list_attr for argument in arguments):
                place, calls = names.index(name), self._reached.calls[function]
                found = {self._follow_call(function, scope, call, place, len(names)) for scope, call in calls}
                if function in self._captured:
                    asset = self._captured[function].get(name)
                    found.add(None if asset is None else FileName(ASSET, asset.encode()))
                self._arguments[function, name] = found.pop() if len(found) == 1 else None
        return self._arguments[function, name]

    def _follow_call(self, function: str, scope: str, call: Any, place: int, count: int) -> FileName | None:
        edges = list_data_edges(call) if call is not None else []
        if edges and call.op in _BRANCHES and function in [call.attr[name].func.name for name in _BRANCHES[call.op]]:
            edges = edges[1:]  # the first is the condition
            return self._follow(scope, call.name, edges[place]) if len(edges) == count else None
        if len(edges) != count or "f" not in call.attr or call.attr["f"].func.name != function:
            return None
        if call.op in _CALLS:
            return self._follow(scope, call.name, edges[place])
        slices = self._list_inputs(scope, edges[0], "TensorSliceDataset") if call.op == "FlatMapDataset" else []
        flat = self._list_inputs(scope, slices[0], "Reshape") if len(slices) == 1 else []
        return self._follow(scope, call.name, flat[0]) if flat and place == 0 else None

    def _list_inputs(self, scope: str, edge: str, op: str) -> list[str]:
        """The data inputs of the node that an edge comes from; none where that is another op."""
        source = self._find_source(scope, edge)
        return list_data_edges(source) if source is not None and source.op == op else []

    def _find_asset_variables(self) -> Iterator[tuple[str, FileName]]:
        """The handles of the variables that hold an asset's path: there is one assignment, and no other handle."""
        graph_def, nodes = self._index.graph_def, self._index.nodes
        handles = Counter(map(_get_shared_name, (n for n in iterate_nodes(graph_def) if n.op == "VarHandleOp")))
        if any(_makes_handle_from_bytes(node) for node in iterate_nodes(graph_def)):
            return
        for assign in graph_def.node:
            edges = list_data_edges(assign) if assign.op == "AssignVariableOp" else []
            if len(edges) != 2 or get_tensor_name(edges[1]) not in self._assets:
                continue
            handle = self._index.producer(edges[0])
            users = [nodes[name].op for name in self._index.consumers(get_node_name(edges[0]))]
            if (
                handle is not None
                and handles[_get_shared_name(handle)] == 1
                and users.count("AssignVariableOp") == 1
                and set(users) <= VARIABLE_READERS | {"AssignVariableOp"}
                and self._reached.runs_only(INIT, assign.name)
            ):
                yield handle.name, self._assets[get_tensor_name(edges[1])]


def _get_shared_name(handle: Any) -> str:
    shared = handle.attr["shared_name"].s.decode(errors="replace") if "shared_name" in handle.attr else ""
    return shared or str(handle.name)


def _makes_handle_from_bytes(node: Any) -> bool:
    """Whether a node makes a handle without an op for it, which may be that of any variable."""
    name = {"Const": "dtype", "ParseTensor": "out_type"}.get(node.op, "")
    return node.op == "_VarHandlesOp" or (name in node.attr and node.attr[name].type == dtypes.RESOURCE)


def _read_constant(node: Any) -> FileName | None:
    packed = node.op != "Const" or "value" not in node.attr or node.attr["value"].tensor.tensor_content
    values = [] if packed else read_strings(node)
    return FileName(CONSTANT, values[0]) if len(values) == 1 else None
