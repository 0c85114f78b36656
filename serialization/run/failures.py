"""Tells the failures of a run that another feed may mend from those that none does."""

from __future__ import annotations

import re
from typing import Any

from serialization.errors import UserError
from serialization.graph.shape_probe import find_named_node
from serialization.tensorflow import format_reason, tf

_KERNEL = re.compile(r"OpKernel|not find device for node")


def require_mendable(error: Any) -> None:
    """Raise UserError where no feed mends a failure: something that the graph needs is not there.

    That is a kernel for this machine, or the value of an iterator, a variable or a table. `error` is an OpError.
    """
    said = str(error.message)
    if not isinstance(error, tf.errors.FailedPreconditionError) and not _KERNEL.search(said):
        return
    node = find_named_node(said)
    where = f"node {node}" if node else "it"
    raise UserError(
        f"the model cannot be run here, whatever it is fed: {format_reason(error)}; cut the graph around {where}: name "
        "the tensors behind it with --inputs, or tensors in front of it with --outputs"
    )


def may_be_mended(error: Any) -> bool:
    """Whether another feed may run: not where this machine lacks the memory, or an implementation for its devices."""
    return not isinstance(error, (tf.errors.UnimplementedError, tf.errors.ResourceExhaustedError))
