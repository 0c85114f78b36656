"""Makes a graph of a fixed batch size one of any: constants that hold the size follow the size of an input.

TensorFlow infers the graph's shapes with its own batch size and with another one: an axis that grows holds the batch.
Where the elements of such a tensor are arranged anew, one of the new axes has to hold the batch, and the order of the
elements says which; the number for it is replaced. A constant whose first axis has the batch size is replaced where it
meets tensors that grow, or is the first state of a loop, if its rows are all alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Any

from serialization.errors import UserError
from serialization.formats import dtypes, protos
from serialization.graph.batch_axes import BatchAxis
from serialization.graph.batch_look import OTHER_SIZE, BatchLook, hide_other_size
from serialization.graph.batch_nodes import BatchNodes
from serialization.graph.batch_rules import BATCH_RULES
from serialization.graph.const_nodes import read_integers
from serialization.graph.graph_def import change_op, get_tensor_name, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.inlining import inline_functions
from serialization.graph.lost_rows import require_rows
from serialization.graph.op_registry import get_output_dtypes
from serialization.graph.op_sets import ENTERS
from serialization.graph.recorded_signature import COUNT, RECORD
from serialization.graph.shape_probe import find_named_node
from serialization.graph.signature import Tensor
from serialization.tensorflow import format_reason

_MOST_PASSES = 1000
# One of their inputs says the shape of the result, the limit of a Range.
_MAKERS = {
    **dict.fromkeys(("Fill", "RandomUniform", "RandomStandardNormal", "TruncatedNormal"), 0),
    **dict.fromkeys(("BroadcastTo", "Tile"), 1),
}
_MOST_TRIALS = 64
# The first states that they take, by the numbers of their inputs.
_STATES = {"BlockLSTM": (2, 3), "BlockLSTMV2": (2, 3), "LSTMBlockCell": (1, 2), "GRUBlockCell": (1,)}


@dataclass(frozen=True)
class FreeBatch:
    """A GraphDef of a free batch size. `axes` hold it, by the names of those outputs that have one.

    `changed` are the nodes that held the size.
    """

    graph_def: Any
    axes: Mapping[str, BatchAxis]
    changed: tuple[str, ...]


def free_batch_size(
    graph_def: Any,
    inputs: Iterable[Tensor],
    batched: Mapping[str, BatchAxis],
    size: int,
    outputs: Iterable[str],
) -> FreeBatch:
    """Free the batch size: an axis of each input in `batched`, which holds `size` rows.

    `inputs` are all tensors that are fed, with their shapes. Raises UserError, which names a node, where the graph does
    not show how to go on with another size.
    """
    fed, outputs = {tensor.name: tensor for tensor in inputs}, list(outputs)
    flat = inline_functions(graph_def, [*outputs, *fed])  # shapes are inferred in no function
    if size == 1:  # the numbers 0 to 0 are those of the rows, or of anything else
        with suppress(UserError):
            return _free(flat, fed, batched, size, outputs, count_rows=True)
    return _free(flat, fed, batched, size, outputs)


def _free(
    flat: Any,
    fed: Mapping[str, Tensor],
    batched: Mapping[str, BatchAxis],
    size: int,
    outputs: list[str],
    *,
    count_rows: bool = False,
) -> FreeBatch:
    copy = protos.GraphDef()
    copy.CopyFrom(flat)
    for node in copy.node:
        node.attr.pop("_output_shapes", None)
    source, how = next(iter(batched.items()))
    nodes = BatchNodes(copy, source, dtypes.get_dtype_number(fed[source].dtype), how)
    changed = _count_rows(nodes) if count_rows else []
    ranks: dict[str, int] = {}
    for _ in range(_MOST_PASSES):
        look = _Pass(nodes, fed, batched, size)
        ranks = ranks or look.count_axes(outputs)
        again = look.go(outputs)
        changed += look.changed
        if not again:
            require_rows(look, outputs)
            if look.count_axes(outputs) != ranks:
                name = next(name for name in changed if look.index.nodes[name].op in ("Squeeze", "Identity"))
                raise look.refuse(name, "it takes the axis of the only row away")
            return FreeBatch(copy, look.find_axes(outputs), tuple(dict.fromkeys(changed)))
    raise look.refuse(changed[-1], "no number in its place fits the graph")


def _count_rows(nodes: BatchNodes) -> list[str]:
    """Have each Range that gives the number of the only row give those of all rows. Returns their names."""
    index, changed = GraphIndex(nodes.graph_def), []
    for node in list(nodes.graph_def.node):
        held = [index.producer(edge) for edge in node.input] if node.op == "Range" else []
        if [read_integers(one) for one in held] == [[0], [1], [1]]:
            node.input[1] = nodes.add_batch(node.name, 1, node.attr["Tidx"].type)
            changed.append(node.name)
    return changed


class _Pass(BatchLook):
    """A look that goes through the graph."""

    def go(self, outputs: list[str]) -> bool:
        """Go through the graph. Whether something in front of the place was changed, so that the next look differs."""
        waiting: list[Any] = []
        for node in map(self.index.nodes.__getitem__, self.order):
            if node.op in BATCH_RULES or node.op in _STATES:
                if self._grow(waiting):
                    return True
                waiting = []
                for number in _STATES.get(node.op, ()):
                    self._free_state(node, number)
                if node.op in BATCH_RULES:
                    BATCH_RULES[node.op](self, node)
                if self.begins_anew:
                    return True
            waiting += [*self.take_new_nodes(), node]
        if self._grow(waiting):
            return True
        return self._free_carried() or self._free_outputs(outputs)

    def count_axes(self, names: Iterable[str]) -> dict[str, int]:
        """How many axes tensors have with the old batch size, where that is known."""
        return {name: len(shape) for name in names if (shape := self.old.get_shape(name)) is not None}

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
            self.new.add(self.nodes.show(node, old=False) for node in nodes)
        except ValueError as error:
            name = find_named_node(str(error)) or ""
            reason = hide_other_size(format_reason(error).partition(" for '")[0])
            if name not in self.index.nodes:
                raise self.refuse(name or nodes[-1].name, reason) from None
            places = {node.name: place for place, node in enumerate(nodes)}
            before, node = nodes[: places[name]], nodes[places[name]]
            if before and self._grow(before):
                return True
            if self._free_constants(node):
                return self._grow([*self.take_new_nodes(), *nodes[places[name] :]])
            if self._free_behind(node):
                return True
            raise self.refuse(name, reason) from None
        for node in nodes:
            self.note_axes(node)
        return False

    def _free_constants(self, node: Any) -> bool:
        """Have constants that a node takes follow the batch, so that it takes its other inputs. Whether they do now."""
        edges = list_data_edges(node)
        known = [how for edge in edges for how in self.axes.get(get_tensor_name(edge), {}).values() if how]
        choices = [[None, *self.list_rows(edge, known)] for edge in edges]
        tried = sorted(product(*choices), key=lambda rows: len(rows) - rows.count(None))
        for rows in tried[1:_MOST_TRIALS]:
            found = {number: one for number, one in enumerate(rows) if one is not None}
            if self.new.fits(node, {number: self._widen(edges[number], one.how) for number, one in found.items()}):
                for number, one in found.items():
                    self.change(node, number, self.add_rows(edges[number], one))
                return True
        return False

    def _widen(self, edge: str, how: BatchAxis) -> tuple[int | None, ...]:
        sizes = list(self.old.get_shape(edge) or ())
        sizes[how.axis] = how.times * OTHER_SIZE
        return tuple(sizes)

    def _free_state(self, node: Any, number: int, axis: int = 0) -> bool:
        """Have a constant first state follow the batch, if it is as long along this axis."""
        edge = node.input[number]
        shape = self.old.get_shape(edge)
        if not shape or shape[axis] != self.size:
            return False
        rows = [one for one in self.list_rows(edge, ()) if one.how == BatchAxis(axis) and one.step is None]
        return bool(rows) and self.change(node, number, self.add_rows(edge, rows[0]))

    def _free_carried(self) -> bool:
        """Have the first value of what a loop carries follow the batch, if the later ones do. Whether some do now."""
        found = []
        for first, later in self.carried.values():
            grown = self.axes.get(get_tensor_name(later), {})
            enter, shape = self.index.producer(first), self.old.get_shape(first)
            if enter is None or enter.op not in ENTERS or get_tensor_name(first) in self.axes or not shape:
                continue
            found += [self._free_state(enter, 0, axis) for axis in grown if axis < len(shape)]
        return any(found)

    def _free_behind(self, node: Any) -> bool:
        """Have what a node takes from afar follow the batch: first values of loops, and ops that are told a shape."""
        waiting = [edge for edge in list_data_edges(node) if get_tensor_name(edge) not in self.axes]
        seen, found = set(waiting), []
        while waiting:
            edge = waiting.pop()
            one = self.index.producer(edge)
            if one is None:
                continue
            if one.name in self.carried:
                enter = self.index.producer(self.carried[one.name][0])
                found.append(enter is not None and enter.op in ENTERS and self._free_state(enter, 0))
            elif one.op in _MAKERS and one.name not in self.changed:
                found.append(self._free_maker(one))
            new = [e for e in list_data_edges(one) if get_tensor_name(e) not in self.axes and e not in seen]
            seen.update(new)
            waiting += new
        return any(found)

    def _free_maker(self, node: Any) -> bool:
        number = _MAKERS[node.op]
        sizes, shape = self.read_sizes(node.input[number]), self.old.get_shape(node.name)
        if not sizes or not shape or sizes[0] != self.size or shape[0] != self.size:
            return False
        dtype = self.get_dtype(node.input[number])
        return self.change(node, number, self.nodes.add_shape(node.name, sizes, 0, 1, dtype))

    def _free_outputs(self, names: Iterable[str]) -> bool:
        found = [self._free_output(name) for name in names]
        return any(found)

    def _free_output(self, name: str) -> bool:
        """Have an output that is a constant follow the batch, if it is as long."""
        node, shape = self.index.producer(name), self.old.get_shape(name)
        if not shape or shape[0] != self.size or get_tensor_name(name) in self.axes:
            return False
        rows = next((one for one in self.list_rows(name, ()) if one.how == BatchAxis(0)), None)
        if rows is None or len(get_output_dtypes(node) or ()) != 1:
            return False
        dtype, record = self.get_dtype(name), {k: node.attr[k] for k in (RECORD, COUNT) if k in node.attr}
        change_op(node, "Identity", [self.add_rows(name, rows)], T=dtype)
        for key, value in record.items():
            node.attr[key].CopyFrom(value)
        self.changed.append(node.name)
        return True
