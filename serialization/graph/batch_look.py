"""What two batch sizes show of a graph: the axes that hold the batch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from serialization.errors import UserError
from serialization.formats import dtypes
from serialization.graph.batch_axes import BatchAxis
from serialization.graph.batch_nodes import BatchNodes
from serialization.graph.batch_rows import Rows, compute_constant, list_axes, split_rows
from serialization.graph.graph_def import get_node_name, get_output_index, get_tensor_name, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_registry import get_output_dtype, get_output_dtypes
from serialization.graph.shape_probe import ShapeProbe, find_carried, find_frames, find_unsteady, order_nodes
from serialization.graph.signature import Tensor

OTHER_SIZE = 1_000_003  # a batch size that no other size in a graph is a multiple of
_REPEAT = ("Concat", "ConcatV2", "SpaceToBatch", "SpaceToBatchND", "Tile")
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

    def __init__(self, nodes: BatchNodes, inputs: Mapping[str, Tensor], batched: Mapping[str, BatchAxis], size: int):
        self.nodes, self.batched, self.size = nodes, batched, size
        self.index = GraphIndex(nodes.graph_def)
        self.changed: list[str] = []
        self.begins_anew = False  # what was changed is not seen by this look
        self.carried = find_carried(self.index)
        self.order = order_nodes(self.index, self.carried, nodes.shared)
        self.frames = find_frames(self.index, self.order)
        shapes = {name: (dtypes.get_dtype_number(one.dtype), one.shape) for name, one in inputs.items()}
        self.old, unsteady = self._look_at_old(shapes)
        wide = dict(shapes)
        for name, how in batched.items():
            dtype, shape = shapes[name]
            sizes = list(shape or ())
            sizes[how.axis] = how.times * OTHER_SIZE
            wide[name] = dtype, tuple(sizes)
        self.new = ShapeProbe(wide, self.carried, unsteady)
        self.axes: dict[str, dict[int, BatchAxis | None]] = {name: {how.axis: how} for name, how in batched.items()}
        self.made: dict[str, BatchAxis] = {}
        self._known = len(nodes.graph_def.node)

    def _look_at_old(self, shapes: Mapping[str, Any]) -> tuple[ShapeProbe, dict[str, Any]]:
        """The probe with the graph's own batch size, and what changes from step to step in loops."""
        unsteady: dict[str, Any] = {}
        while True:
            probe = ShapeProbe(shapes, self.carried, unsteady)
            probe.add(self.nodes.show(self.index.nodes[name], old=True) for name in self.order)
            more = {name: axes for name, axes in find_unsteady(probe, self.carried).items() if name not in unsteady}
            if not more:
                return probe, unsteady
            unsteady |= more

    def refuse(self, name: str, why: str) -> UserError:
        op = self.index.nodes[name].op if name in self.index.nodes else "node"
        return UserError(
            f"the batch size cannot be changed; {name} ({op}) holds the size {self.size}: {why}; keep the size, or cut "
            "the graph with --inputs or --outputs"
        )

    def take_new_nodes(self) -> list[Any]:
        """The nodes that were made since the last call, in an order for a probe."""
        made = list(self.nodes.graph_def.node[self._known :])
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
        taken = [how for edge in list_data_edges(node) for how in self.axes.get(get_tensor_name(edge), {}).values()]
        if node.op in _REPEAT:  # one batch behind the other
            inner = {how.inner for how in taken if how and how.axis == axis}
            return BatchAxis(axis, times // inner.pop(), *inner) if len(inner) == 1 else None
        known = {(how.outer, how.inner) for how in taken if how and how.times == times}
        return BatchAxis(axis, *known.pop()) if len(known) == 1 else None

    def change(self, node: Any, number: int, edge: str) -> bool:
        """Have a node take another edge, that of a new node. True, for the caller to return."""
        frames = self.frames.get(node.name)
        if frames and not self.nodes.bind_constant(edge, get_node_name(node.input[0])):
            edge = self.nodes.add_entered(edge, frames, self.get_dtype(node.input[number]))
        node.input[number] = edge
        self.changed.append(node.name)
        return True

    def read_sizes(self, edge: str) -> list[int] | None:
        """The whole numbers of a constant; None if the edge carries none."""
        node = self.index.producer(edge)
        value = None if node is None else compute_constant(self.index, edge)
        value = None if value is None else value.reshape(-1)
        return [int(number) for number in value] if value is not None and value.dtype.kind == "i" else None

    def get_dtype(self, edge: str) -> int:
        return get_output_dtype(self.index.producer(edge), get_output_index(edge))

    def list_rows(self, edge: str, known: Iterable[BatchAxis]) -> list[Rows]:
        """How a constant may hold the batch."""
        shape = self.old.get_shape(edge)
        if not shape or get_tensor_name(edge) in self.axes:
            return []
        axes = list(list_axes(shape, self.size, known))
        value = compute_constant(self.index, edge) if axes else None
        return [] if value is None else [one for how in axes if (one := split_rows(value, how, self.size))]

    def add_rows(self, edge: str, rows: Rows) -> str:
        """The edge of new nodes that give as many of these rows as the batch has."""
        made = self.nodes.add_rows(get_node_name(edge), rows, self.get_dtype(edge))
        self.axes[get_tensor_name(made)] = {rows.how.axis: rows.how}
        return made
