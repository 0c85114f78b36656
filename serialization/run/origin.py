"""The source model of a conversion, ready to run; each run begins from the same state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from serialization.console import list_some
from serialization.errors import UserError
from serialization.graph.graph_def import get_node_name
from serialization.graph.graph_index import GraphIndex
from serialization.graph.lookup_tables import list_table_nodes
from serialization.graph.op_sets import REF_FORMS, TABLES, VARIABLES, is_of_dataset, is_update
from serialization.graph.signature import Signature, Tensor
from serialization.run.batch_runs import Batches
from serialization.run.differences import Tolerance, has_same_bits
from serialization.run.generated_feeds import Hint
from serialization.run.predictor import Run, Values
from serialization.tensorflow import np, tf

# convert_variables_to_constants does not convert these ops.
_NOT_PLAIN = REF_FORMS | {"RefSelect", "AutoReloadVariable", "TemporaryVariable"}


@dataclass(frozen=True)
class Origin:
    """A session on a graph, in which `predict` runs `signature`.

    `plain` says that TensorFlow's own calls convert it well. `hints` and `batches` are for generate_attempts. `repeat`
    runs the model twice and returns the second answer; None if running changes no variables. `tolerance` is for a model
    whose rounding may change, as where XLA compiles it. `freed` says how its rows stand, if the result
    takes batches of any size. `switches` are inputs, one bool each, of which both values are fed. `unpinned` is the
    source as it was before inputs were fixed to values.
    """

    session: Any
    index: GraphIndex
    signature: Signature
    predict: Run
    plain: bool = True
    hints: Mapping[str, Hint] = field(default_factory=dict)
    batches: tuple[int, ...] = ()
    repeat: Run | None = None
    tolerance: Tolerance | None = None
    freed: Batches | None = None
    switches: tuple[str, ...] = ()
    unpinned: Origin | None = None

    @property
    def graph_def(self) -> Any:
        return self.index.graph_def


def run_from_first_state(
    afresh: Callable[[], AbstractContextManager[Run]], read: Callable[[Any], Values] = lambda _: {}
) -> tuple[Run, Run]:
    """Functions that run a model once and twice, for a model that changes its variables.

    Each call begins from the same state: `afresh` opens the model in that state. `read` takes what that gives, and
    returns values: running twice raises UserError if the second run changes them. The first one may, as where a
    constant is assigned.
    """

    def once(values: Values) -> Values:
        with afresh() as predict:
            return predict(values)

    def twice(values: Values) -> Values:
        with afresh() as predict:
            predict(values)
            before = read(predict)
            answer = predict(values)
            after = read(predict)
            changed = [name for name, value in before.items() if not has_same_bits(value, after[name])]
            if changed:
                raise UserError(
                    f"the model changes {list_some(changed)} as it runs, and its outputs are computed from that; the "
                    "result would not change; keep it as a SavedModel; nothing was written"
                )
            return answer

    return once, twice


def find_state(index: GraphIndex, outputs: Iterable[Tensor]) -> list[Any]:
    """The nodes of the variables and tables that a run may change, and that outputs are computed from."""
    updates = (get_node_name(node.input[0]) for node in index.graph_def.node if is_update(node.op) and node.input)
    changed, read = (
        set().union(*(index.upstream(name) for name in names if name in index.nodes))
        for names in (updates, (get_node_name(tensor.name) for tensor in outputs))
    )
    return [index.nodes[name] for name in sorted(changed & read) if index.nodes[name].op in VARIABLES | TABLES]


def read_state(session: Any, nodes: Iterable[Any]) -> dict[str, Any]:
    """The values of variables in a session, and how many entries tables have, by the names of their nodes."""
    known = {operation.name: operation for operation in session.graph.get_operations()}
    tensors = {}
    with session.graph.as_default():
        for node in nodes:
            handle = known[node.name].outputs[0] if node.name in known else None  # it may be in a function
            if handle is not None and node.op in TABLES and handle.dtype == tf.resource:
                tensors[node.name] = tf.raw_ops.LookupTableSizeV2(table_handle=handle)
            elif handle is not None and node.op in VARIABLES:
                dtype = tf.as_dtype(node.attr["dtype"].type)
                is_handle = handle.dtype == tf.resource
                tensors[node.name] = tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype) if is_handle else handle
    return {name: np.asarray(value) for name, value in session.run(tensors).items()}


def takes_plain_calls(index: GraphIndex) -> bool:
    """Whether convert_variables_to_constants is enough: no functions, tables or files; variables are only read."""
    for node in index.graph_def.node:
        if node.op in _NOT_PLAIN or is_update(node.op) or is_of_dataset(node.op) or node.op == "ReadFile":
            return False
        if node.op in ("ReadVariableOp", "ResourceGather") and index.producer(node.input[0]).op != "VarHandleOp":
            return False
    return not index.functions and not list_table_nodes(index.graph_def)
