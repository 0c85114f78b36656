"""What two batch sizes show of a graph: the axes that hold the batch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from serialization.errors import UserError
from serialization.formats import dtypes
from serialization.graph.batch_axes import BatchAxis
from serialization.graph.batch_nodes import BatchNodes
from serialization.graph.const_nodes import read_array
from serialization.graph.graph_def import get_node_name, get_tensor_name, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_registry import get_output_dtype, get_output_dtypes
from serialization.graph.op_sets import ENTERS, IDENTITIES
from serialization.graph.shape_probe import ShapeProbe, find_loop_nodes
from serialization.graph.signature import Tensor

OTHER_SIZE = 1_000_003  # a batch size that no other size in a graph is a multiple of
_NUMBER = re.compile(r"\d+")


def hide_other_size(text: str) -> str:
    """A message of TensorFlow with words in the place of the other size, and of its multiples."""

    def name(found: re.Match[str]) -> str:
        times, rest = divmod(int(found[0]), OTHER_SIZE)
        if rest or not times:
            return found[0]
        return "any size" if times == 1 else f"{times} times any size"

    return _NUMBER.sub(name, text)


class BatchLook:
    """A look at a graph, up to the first change: its shapes with its own batch size, `old`, and another one, `new`.

    `axes` are those that grow with the batch, by tensors; None is an axis that holds it in an unknown way. `made` are
    the axes that a rule knows better. `changed` are the nodes that were changed.
    """

    def __init__(self, graph_def: Any, inputs: Mapping[str, Tensor], batched: list[str], size: int) -> None:
        self.index, self.batched, self.size = GraphIndex(graph_def), batched, size
        self.changed: list[str] = []
        shapes = {name: (dtypes.get_dtype_number(one.dtype), one.shape) for name, one in inputs.items()}
        self.nodes = BatchNodes(graph_def, batched[0], shapes[batched[0]][0])
        self.old = ShapeProbe(shapes)
        wide = dict(shapes)
        for name in batched:
            wide[name] = (shapes[name][0], (OTHER_SIZE, *(shapes[name][1] or ())[1:]))
        self.new = ShapeProbe(wide)
        self.axes: dict[str, dict[int, BatchAxis | None]] = {name: {0: BatchAxis(0)} for name in batched}
        self.made: dict[str, BatchAxis] = {}
        self.in_loops = find_loop_nodes(self.index)
        self._known = len(graph_def.node)

    def refuse(self, name: str, why: str) -> UserError:
        op = self.index.nodes[name].op if name in self.index.nodes else "node"
        return UserError(
            f"the batch size cannot be changed; {name} ({op}) holds the size {self.size}: {why}; keep the size, or cut "
            "the graph with --inputs or --outputs"
        )

    def take_new_nodes(self) -> list[Any]:
        """The nodes that were made since the last call, in an order for a probe."""
        made = list(self.index.graph_def.node[self._known :])
        self._known += len(made)
        self.index.nodes.update((node.name, node) for node in made)
        return made

    def get_old_size(self, edge: str, axis: int) -> int | None:
        return (self.old.get_shape(edge) or ())[axis]

    def note_axes(self, node: Any) -> None:
        for number in range(len(get_output_dtypes(node) or ())):
            edge = f"{node.name}:{number}"
            old, new = self.old.get_shape(edge), self.new.get_shape(edge)
            if old is None or new is None or edge in self.batched or len(old) != len(new):
                continue
            grown = {}
            for axis, (before, after) in enumerate(zip(old, new, strict=True)):
                if before and after and before % self.size == 0 and after == before // self.size * OTHER_SIZE:
                    grown[axis] = self._describe_axis(node, axis, before // self.size)
            if grown:
                self.axes[edge] = grown

    def _describe_axis(self, node: Any, axis: int, times: int) -> BatchAxis | None:
        """How an axis of `times` batches is made up; None if that is unknown."""
        made = self.made.get(node.name)
        if made is not None and made.axis == axis:
            return made
        if times == 1:
            return BatchAxis(axis)
        taken = (how for edge in list_data_edges(node) for how in self.axes.get(get_tensor_name(edge), {}).values())
        known = {(how.outer, how.inner) for how in taken if how and how.times == times}
        return BatchAxis(axis, *known.pop()) if len(known) == 1 else None

    def change(self, node: Any, number: int, edge: str) -> bool:
        """Have a node take another edge, that of a new node. True, for the caller to return."""
        if node.name in self.in_loops and not self.nodes.bind_constant(edge, get_node_name(node.input[0])):
            raise self.refuse(node.name, "it is in a loop")
        node.input[number] = edge
        self.changed.append(node.name)
        return True

    def read_sizes(self, edge: str) -> list[int] | None:
        """The whole numbers of a constant; None if the edge carries none."""
        node = self.index.producer(self.index.trace_back(edge, IDENTITIES | ENTERS))
        value = read_array(node).reshape(-1) if node is not None and node.op == "Const" else None
        return [int(number) for number in value] if value is not None and value.dtype.kind == "i" else None

    def get_dtype(self, edge: str) -> int:
        return get_output_dtype(self.index.producer(edge), 0)
