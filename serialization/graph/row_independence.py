"""Proves from the graph that row i of each output depends only on row i of each input.

Trying some rows proves nothing for others: texts may be padded to the longest, a limit may hold for the whole batch. So
rows count as independent only if each op between inputs and outputs makes row i of its result from row i of its inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serialization.graph.cut import cut_at_inputs
from serialization.graph.graph_def import get_node_name, get_output_index
from serialization.graph.graph_index import GraphIndex, prune_graph
from serialization.graph.inlining import inline_functions
from serialization.graph.op_sets import BATCH_NORMS, MERGES, SHAPES, SWITCHES
from serialization.graph.row_rules import COUNT, FIXED, ROWS, RULES, STATES, fills_rows, has_free_rows
from serialization.graph.signature import Signature
from serialization.tensorflow import explain_failures, tf, tf1

_CHOICES = SWITCHES | MERGES | {"_SwitchN"}  # their results depend on a condition
# Ops whose work depends on one of their values.
_BY_VALUE = {"BlockLSTM", "BlockLSTMV2", "Polygamma", "RaggedTensorToTensor", "Zeta"}


class RowIndependence:
    """The graph that computes a signature's outputs, functions inlined and shapes inferred."""

    def __init__(self, graph_def: Any, signature: Signature) -> None:
        """Raises UserError if the functions of the graph cannot be inlined."""
        index, self._signature, _ = cut_at_inputs(GraphIndex(graph_def), signature)
        names = [tensor.name for tensor in (*self._signature.inputs, *self._signature.outputs)]
        flat = prune_graph(GraphIndex(inline_functions(prune_graph(index, names), names)), names)
        self._has_functions = bool(flat.library.function)  # of datasets, say
        with explain_failures("the graph cannot be looked at"), tf1.Graph().as_default() as self._graph:
            tf1.import_graph_def(flat, name="")

    def has_independent_rows(self) -> bool:
        """Whether row i of each output depends only on row i of the inputs."""
        kinds = {tensor.name: ROWS for tensor in self._signature.inputs if self._has_rows(tensor.name)}
        if len(kinds) < len({tensor.name for tensor in self._signature.inputs}):
            return False
        for op in self._graph.get_operations():
            fed = bool(op.outputs) and op.outputs[0].name in kinds
            made = [ROWS] * len(op.outputs) if fed else _kinds_of(op, kinds)
            if made is None:
                return False
            for tensor, kind in zip(op.outputs, made, strict=True):
                kinds[tensor.name] = kind if kind != ROWS or has_free_rows(tensor) else ""
        return all(kinds[tensor.name] == ROWS for tensor in self._signature.outputs)

    def has_fixed_sizes(self) -> bool:
        """Whether a run takes about as long whatever is fed: all tensors have fixed sizes, and there is no condition.

        Texts have no fixed size, and neither have lists, datasets and queues behind handles.
        """
        return not self._has_functions and all(
            op.type not in _CHOICES | _BY_VALUE and all(map(_is_of_fixed_size, op.outputs))
            for op in self._graph.get_operations()
            if op.type not in STATES
        )

    def _has_rows(self, name: str) -> bool:
        op = self._graph.get_operation_by_name(get_node_name(name))
        return has_free_rows(op.outputs[get_output_index(name)])


def _is_of_fixed_size(tensor: Any) -> bool:
    return tensor.shape.is_fully_defined() and tensor.dtype not in (tf.string, tf.resource, tf.variant)


def _kinds_of(op: Any, kinds: Mapping[str, str]) -> list[str] | None:
    """The kind of each of an op's outputs, empty if it is unknown; None if the proof ends at this op."""
    given = [kinds.get(tensor.name, "") for tensor in op.inputs]
    changes = op.op_def.is_stateful and op.type not in STATES and op.type not in RULES
    if changes or any(arg.is_ref for arg in op.op_def.input_arg):  # random, or a state that changes
        return None
    if "" in given or op.type in _CHOICES:
        return None
    if op.type == "IdentityN":
        return given
    if op.type == "Fill" and fills_rows(op, kinds):
        return [ROWS]
    if ROWS not in given:
        return [COUNT if COUNT in given else FIXED] * len(op.outputs)
    if op.type in SHAPES:
        return [COUNT] * len(op.outputs)
    rule = RULES.get(op.type)
    if rule is None or not rule(op, given):
        return None
    if op.type in BATCH_NORMS:  # its other outputs are means and variances
        return [ROWS, *[""] * (len(op.outputs) - 1)]
    return [ROWS] * len(op.outputs)
