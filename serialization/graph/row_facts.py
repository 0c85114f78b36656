"""Facts about the rows of a model: whether they depend on each other, and whether they may take long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serialization.errors import UserError
from serialization.graph.graph_def import get_node_name, iterate_nodes
from serialization.graph.op_sets import may_wait
from serialization.graph.row_independence import RowIndependence
from serialization.graph.signature import Signature, Tensor
from serialization.tensorflow import tf1


@dataclass(frozen=True)
class RowFacts:
    """The facts that a graph shows. False means unknown.

    `independent`: row i of each output depends only on row i of the inputs, so that several requests may run together.
    `bounded`: the time of a run depends on the number of rows alone.
    """

    independent: bool = False
    bounded: bool = False


def find_row_facts(graph_def: Any, signature: Signature) -> RowFacts:
    """The facts that a GraphDef shows."""
    needed = tf1.graph_util.extract_sub_graph(graph_def, [get_node_name(tensor.name) for tensor in signature.outputs])
    endless = any(may_wait(node.op) for node in iterate_nodes(needed))
    try:
        flow = RowIndependence(graph_def, signature)
    except UserError:
        return RowFacts()
    independent = have_rows(signature) and flow.has_independent_rows()
    fixed = _sizes_are_fixed(signature.inputs) and (independent or flow.has_fixed_sizes())
    return RowFacts(independent, fixed and not endless)


def have_rows(signature: Signature) -> bool:
    """Whether all inputs and outputs have an open number of rows, so that a batch can hold several requests."""
    return all(t.shape is not None and t.shape[:1] == (None,) for t in (*signature.inputs, *signature.outputs))


def _sizes_are_fixed(tensors: Sequence[Tensor]) -> bool:
    """Whether all rows have the same size; texts do not."""
    return all(t.dtype != "string" and t.shape is not None and None not in t.shape[1:] for t in tensors)
