"""Tells the failures of a run that another feed may mend from those that none does."""

from __future__ import annotations

import re
from typing import Any

from serialization.errors import UserError
from serialization.graph.graph_def import get_node_name
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import RANDOM_OPS
from serialization.graph.shape_probe import find_named_node
from serialization.graph.signature import Signature
from serialization.tensorflow import format_reason, tf

_IMPORTED = "prefix/"  # below which freezemodel_load.py imports a graph
_KERNEL = re.compile(r"OpKernel|not find device for node")


def require_mendable(error: Any, index: GraphIndex, wanted: Signature) -> None:
    """Raise UserError where no feed mends a failure. `error` is an OpError.

    Something that the graph needs is not there: a kernel for this machine, or the value of an iterator, a variable or a
    table. Or the node that fails is computed from no input of the signature.
    """
    said = str(error.message)
    node = find_named_node(said)
    lacks = isinstance(error, tf.errors.FailedPreconditionError) or _KERNEL.search(said)
    if not lacks and not (isinstance(error, tf.errors.InvalidArgumentError) and _is_fixed(node, index, wanted)):
        return
    shown = find_failed_node(error)
    where = f"node {shown}" if shown else "it"
    raise UserError(
        f"the model cannot be run here, whatever it is fed: {format_reason(error)}; cut the graph around {where}: name "
        "the tensors behind it with --inputs, or tensors in front of it with --outputs"
    )


def _is_fixed(node: str | None, index: GraphIndex, wanted: Signature) -> bool:
    """Whether a node of the graph takes the same values in each run: no input leads there, and no random op."""
    if node not in index.nodes or any(node in index.body(function) for function in index.functions):
        return False  # it may be the one in a function
    needed = index.reachable([node])
    fed = {get_node_name(tensor.name) for tensor in wanted.inputs}
    return not fed & needed.keys() and not any(index.nodes[name].op in RANDOM_OPS for name in needed)


def may_be_mended(error: Any) -> bool:
    """Whether another feed may run: not where the machine lacks memory or an implementation, or a file is closed."""
    no_feeds = (tf.errors.UnimplementedError, tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError)
    return not isinstance(error, no_feeds)


def find_failed_node(error: Any) -> str | None:
    """The node that an OpError names, as the model's file calls it."""
    name = find_named_node(str(error.message))
    return name and name.removeprefix(_IMPORTED)
