"""Makes a graph of a fixed batch size one of any: constants that hold the size follow the size of an input.

TensorFlow infers the graph's shapes with its own batch size and with another one: an axis that grows holds the batch.
Where the elements of such a tensor are arranged anew, one of the new axes has to hold the batch, and the order of the
elements says which; the number for it is replaced. A constant whose first axis has the batch size is replaced where it
meets tensors that grow, or is the first state of a loop, if its rows are all alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from serialization.formats import dtypes, protos
from serialization.graph.batch_axes import BatchAxis
from serialization.graph.batch_look import BatchLook, hide_other_size
from serialization.graph.batch_rules import BATCH_RULES
from serialization.graph.const_nodes import read_array
from serialization.graph.graph_def import get_tensor_name, list_control_edges, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.inlining import inline_functions
from serialization.graph.lost_rows import require_rows
from serialization.graph.op_sets import ENTERS, IDENTITIES, MERGES
from serialization.graph.recorded_signature import RECORD
from serialization.graph.shape_probe import find_named_node, order_pieces
from serialization.graph.signature import Tensor
from serialization.tensorflow import format_reason, np

_MOST_PASSES = 1000
# One of their inputs says the shape of the result, the limit of a Range.
_MAKERS = {
    **dict.fromkeys(("Fill", "RandomUniform", "RandomStandardNormal", "TruncatedNormal"), 0),
    **dict.fromkeys(("BroadcastTo", "Tile", "Range"), 1),
}
# The first states that they take.
_STATES = {"BlockLSTM": (2, 3), "BlockLSTMV2": (2, 3), "LSTMBlockCell": (1, 2), "GRUBlockCell": (1,)}
_THROUGH = IDENTITIES | {"Cast", "ExpandDims", "Neg", "OnesLike", "Sigmoid", "StopGradient", "Tanh", "ZerosLike"}


@dataclass(frozen=True)
class FreeBatch:
    """A GraphDef of a free batch size. `axes` hold it, by the names of those outputs that have one.

    `changed` are the nodes that held the size.
    """

    graph_def: Any
    axes: Mapping[str, BatchAxis]
    changed: tuple[str, ...]


def free_batch_size(
    graph_def: Any, inputs: Iterable[Tensor], batched: Iterable[str], size: int, outputs: Iterable[str]
) -> FreeBatch:
    """Free the batch size: the first axis, of `size` rows, of the inputs called `batched`.

    `inputs` are all tensors that are fed, with their shapes. Raises UserError, which names a node, where the graph does
    not show how to go on with another size.
    """
    copy, outputs = protos.GraphDef(), list(outputs)
    fed = {tensor.name: tensor for tensor in inputs}
    copy.CopyFrom(inline_functions(graph_def, [*outputs, *fed]))  # shapes are inferred in no function
    for node in copy.node:
        node.attr.pop("_output_shapes", None)
    changed: list[str] = []
    for _ in range(_MOST_PASSES):
        look = _Pass(copy, fed, list(batched), size)
        again = look.go(outputs)
        changed += look.changed
        if not again:
            require_rows(look, outputs)
            return FreeBatch(copy, look.find_axes(outputs), tuple(dict.fromkeys(changed)))
    raise look.refuse(changed[-1], "no number in its place fits the graph")


class _Pass(BatchLook):
    """A look that goes through the graph."""

    def go(self, outputs: list[str]) -> bool:
        """Go through the graph. Whether something in front of the place was changed, so that the next look differs."""
        pieces = list(order_pieces(self.index))
        self.old.add(node for piece in pieces for node in piece)
        waiting: list[Any] = []
        for piece in pieces:
            ops = {node.op for node in piece}
            if len(piece) > 1 or not ops.isdisjoint(BATCH_RULES.keys() | _STATES):
                if self._grow(waiting):
                    return True
                waiting = []
                if self._free_sources(self._list_states(piece), is_state=True):
                    return True
                for node in piece:
                    if node.op in BATCH_RULES:
                        BATCH_RULES[node.op](self, node)
            waiting += [*self.take_new_nodes(), *piece]
        return self._grow(waiting) or self._free_sources(outputs)

    def find_axes(self, outputs: Iterable[str]) -> dict[str, BatchAxis]:
        """The axis of each output that holds the batch; the first where the shape is known in a run alone."""
        result = {}
        for name in outputs:
            grown, shape = self.axes.get(get_tensor_name(name)), self.new.get_shape(name)
            if grown:
                axis, how = next(iter(grown.items()))
                result[name] = how or BatchAxis(axis, 1, (self.get_old_size(name, axis) or 0) // self.size)
            elif shape is None or None in shape:
                result[name] = BatchAxis(0 if shape is None else shape.index(None))
        return result

    def _grow(self, nodes: list[Any]) -> bool:
        """Add nodes to the look with the other size. Whether something was changed so that the next look fits."""
        try:
            self.new.add(nodes)
        except ValueError as error:
            name = find_named_node(str(error)) or ""
            reason = hide_other_size(format_reason(error).partition(" for '")[0])
            if name not in self.index.nodes:
                raise self.refuse(name or nodes[-1].name, reason) from None
            self.index = GraphIndex(self.index.graph_def)  # rules have changed edges
            needed = self.index.upstream(name) - self.index.downstream([name])  # in a loop, each needs the others
            before = [node for node in nodes if node.name in needed]
            if before and self._grow(before):
                return True
            if self._free_sources(list_data_edges(self.index.nodes[name])):
                return True
            raise self.refuse(name, reason) from None
        for node in nodes:
            self.note_axes(node)
        return False

    def _list_states(self, piece: list[Any]) -> list[str]:
        """The edges by which the first states of a loop, or of an op that is one, come in."""
        found = [node.input[number] for node in piece for number in _STATES.get(node.op, ())]
        merges = [node for node in piece if node.op in MERGES and len(piece) > 1]
        sources = (self.index.producer(edge) for node in merges for edge in list_data_edges(node))
        return [*found, *(source.input[0] for source in sources if source is not None and source.op in ENTERS)]

    def _free_sources(self, edges: Iterable[str], *, is_state: bool = False) -> bool:
        """Have the constants behind edges follow the batch, if they are as long. Whether some do now."""
        found = [self._free_source(edge, is_state=is_state) for edge in dict.fromkeys(edges)]  # each, not up to one
        return any(found)

    def _free_source(self, edge: str, *, is_state: bool) -> bool:
        shape = self.old.get_shape(edge)
        if not shape or shape[0] != self.size or get_tensor_name(edge) in self.axes:
            return False
        node = self.index.producer(self.index.trace_back(edge, _THROUGH))
        # In a loop a node cannot take the batch size from outside. Of one row each constant looks like a batch of one.
        if node is None or node.name in self.in_loops or (is_state and self.size == 1 and len(shape) < 2):
            return False
        if node.op == "Const":
            return self._repeat_row(node, only_one_number=is_state)
        sizes = self.read_sizes(node.input[_MAKERS[node.op]]) if node.op in _MAKERS else None
        if not sizes or sizes[0] != self.size or node.name in self.changed:
            return False
        number = _MAKERS[node.op]
        dtype = self.get_dtype(node.input[number])
        if node.op == "Range":
            return self.change(node, number, self.nodes.add_batch(node.name, 1, dtype))
        return self.change(node, number, self.nodes.add_shape(node.name, sizes, 0, 1, dtype))

    def _repeat_row(self, node: Any, *, only_one_number: bool) -> bool:
        """Repeat one row in the place of a constant whose rows are all alike."""
        value = read_array(node)
        if value.shape[:1] != (self.size,) or not all(np.array_equal(row, value[0]) for row in value):
            return False
        if only_one_number and not np.all(value == value.reshape(-1)[0]):
            return False
        dtype = node.attr["dtype"].type
        row = self.nodes.add_array(f"{node.name}/row", value[:1], dtype)
        repeats = self.nodes.add_shape(node.name, [self.size, *[1] * (value.ndim - 1)], 0, 1, dtypes.INT32)
        for name in set(node.attr) - {RECORD}:
            del node.attr[name]
        control, node.op = list_control_edges(node), "Tile"
        node.attr["T"].type, node.attr["Tmultiples"].type = dtype, dtypes.INT32
        node.input[:] = [row, repeats, *control]
        self.changed.append(node.name)
        return True
