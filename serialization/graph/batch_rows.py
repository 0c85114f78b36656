"""Finds how numbers that stand in a graph would go on for another batch size, from the rows that are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serialization.formats import protos
from serialization.formats.dtypes import RESOURCE, VARIANT
from serialization.graph.batch_axes import BatchAxis
from serialization.graph.const_nodes import read_array
from serialization.graph.function_optimizers import make_unoptimized_config
from serialization.graph.graph_def import change_op, get_tensor_name, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_registry import get_op_def, get_output_dtypes
from serialization.graph.op_sets import ALL_PLACEHOLDERS, ENTERS, IDENTITIES, PASS_THROUGH
from serialization.tensorflow import np, tf, tf1

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NEVER = ALL_PLACEHOLDERS | PASS_THROUGH - IDENTITIES - ENTERS
_MOST = 1 << 26  # elements


@dataclass(frozen=True)
class Rows:
    """Numbers of which an axis holds the batch: each row is the `first` one, plus its number times the `step`.

    `first` has the axes [*those before, outer, 1, inner, *those behind], as `step` has. Rows without a step are alike.
    """

    how: BatchAxis
    first: NDArray[Any]
    step: NDArray[Any] | None = None


def split_rows(value: NDArray[Any], how: BatchAxis, size: int) -> Rows | None:
    """The rows of an array whose axis holds `size` of them; None if they neither are alike nor count up."""
    axis = how.axis
    parts = value.reshape(*value.shape[:axis], how.outer, size, how.inner, *value.shape[axis + 1 :])
    first = np.take(parts, [0], axis + 1)
    if np.array_equal(parts, np.broadcast_to(first, parts.shape)):
        return Rows(how, first)
    if value.dtype.kind != "i":
        return None
    step = np.take(parts, [1], axis + 1) - first
    numbers = np.arange(size, dtype=value.dtype).reshape(-1, *[1] * (parts.ndim - axis - 2))
    return Rows(how, first, step) if np.array_equal(parts, first + numbers * step) else None


def list_axes(shape: Iterable[int | None], size: int, known: Iterable[BatchAxis]) -> Iterator[BatchAxis]:
    """The ways in which axes of a tensor may hold the batch, those first of which other tensors have the kind."""
    factors = {(how.outer, how.inner): None for how in known}
    for axis, length in enumerate(shape):
        if length and length % size == 0:
            times = length // size
            ways = {**factors, (1, times): None, (times, 1): None}
            yield from (BatchAxis(axis, *way) for way in ways if way[0] * way[1] == times)


def compute_constant(index: GraphIndex, edge: str) -> NDArray[Any] | None:
    """The value on an edge, if it follows from constants alone, and in a loop is the same in each step."""
    producer = index.producer(edge)
    if producer is not None and producer.op == "Const":
        return read_array(producer)
    names = set() if producer is None else index.upstream(producer.name)
    if not names or not all(_is_computable(index.nodes.get(name)) for name in names):
        return None
    part = protos.GraphDef(versions=index.graph_def.versions)
    for name in index.order:
        if name in names:
            node = part.node.add()
            node.CopyFrom(index.nodes[name])
            node.attr.pop("_class", None)
            node.input[:] = list_data_edges(node)
            if node.op in ENTERS:
                change_op(node, "Identity", node.input, T=node.attr["T"].type)
    with tf1.Graph().as_default() as graph:
        (tensor,) = tf1.import_graph_def(part, name="", return_elements=[get_tensor_name(edge)])
    if (tensor.shape.num_elements() or 0) > _MOST:
        return None
    config = tf1.ConfigProto()
    config.MergeFrom(make_unoptimized_config())
    with tf1.Session(graph=graph, config=config) as session:
        try:
            return np.asarray(session.run(tensor))
        except tf.errors.OpError:  # the run of the whole graph will tell
            return None


def _is_computable(node: Any) -> bool:
    if node is None or node.op in _NEVER:
        return False
    definition = get_op_def(node.op)
    made = get_output_dtypes(node) or []
    return definition is not None and not definition.is_stateful and {RESOURCE, VARIANT}.isdisjoint(made)
