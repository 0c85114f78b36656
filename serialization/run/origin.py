"""The source model of a conversion, ready to run; each run begins from the same state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from serialization.graph.graph_index import GraphIndex
from serialization.graph.lookup_tables import list_table_nodes
from serialization.graph.op_sets import REF_FORMS, is_of_dataset, is_update
from serialization.graph.signature import Signature
from serialization.run.batch_runs import Batches
from serialization.run.differences import Tolerance
from serialization.run.generated_feeds import Hint
from serialization.run.predictor import Run, Values

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


def run_from_first_state(afresh: Callable[[], AbstractContextManager[Run]]) -> tuple[Run, Run]:
    """Functions that run a model once and twice, for a model that changes its variables.

    Each call begins from the same state: `afresh` opens the model in that state.
    """

    def run(values: Values, times: int) -> Values:
        with afresh() as predict:
            return [predict(values) for _ in range(times)][-1]

    return partial(run, times=1), partial(run, times=2)


def takes_plain_calls(index: GraphIndex) -> bool:
    """Whether convert_variables_to_constants is enough: no functions, tables or files; variables are only read."""
    for node in index.graph_def.node:
        if node.op in _NOT_PLAIN or is_update(node.op) or is_of_dataset(node.op) or node.op == "ReadFile":
            return False
        if node.op in ("ReadVariableOp", "ResourceGather") and index.producer(node.input[0]).op != "VarHandleOp":
            return False
    return not index.functions and not list_table_nodes(index.graph_def)
