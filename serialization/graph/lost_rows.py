"""Finds where a graph loses the rows of a batch, so that an output has none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from serialization.graph.batch_look import BatchLook
from serialization.graph.graph_def import get_tensor_name, list_data_edges
from serialization.graph.op_registry import get_output_dtypes
from serialization.graph.op_sets import SHAPES
from serialization.graph.signature import show_shape

# Of any number of rows they make one result, which says nothing of a size.
_SUMMARIES = {
    *("All", "Any", "ArgMax", "ArgMin", "EuclideanNorm", "L2Loss", "Max", "Mean", "Min", "Prod", "Sum"),
    *("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "MatMul"),
}


def require_rows(look: BatchLook, outputs: Iterable[str]) -> None:
    """Raise UserError if an output has no rows because a node takes some of them, or puts others beside them.

    The node would do so with a batch of any size, as one that takes the first 8 rows does. A mean of all rows is what
    it is for any number of them. `look` has gone through the whole graph.
    """
    waiting = [name for name in map(get_tensor_name, outputs) if name not in look.axes]
    seen = set(waiting)
    while waiting:
        node = look.index.producer(waiting.pop())
        if node is None or node.op in SHAPES:
            continue
        taken = [edge for edge in map(get_tensor_name, list_data_edges(node)) if edge in look.axes]
        if taken and node.op not in _SUMMARIES and _shows_shapes(look, node):
            before, after = (show_shape(look.old.get_shape(edge)) for edge in (taken[0], node.name))
            raise look.refuse(node.name, f"it makes {after} of {before}, where no axis holds it")
        if not taken:
            new = [edge for edge in map(get_tensor_name, list_data_edges(node)) if edge not in seen]
            seen.update(new)
            waiting += new


def _shows_shapes(look: BatchLook, node: Any) -> bool:
    """Whether the shapes of all that a node makes are known; a list of tensors does not show those of its rows."""
    if node.op.startswith(("TensorArray", "TensorList")):
        return False
    made = (look.new.get_shape(f"{node.name}:{number}") for number in range(len(get_output_dtypes(node) or ())))
    return all(shape is not None and None not in shape for shape in made)
