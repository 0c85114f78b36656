"""The ops that this TensorFlow knows, with those of the op libraries that are loaded."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from serialization.console import format_error, list_some, show_path
from serialization.errors import UserError
from serialization.graph.graph_def import iterate_nodes
from serialization.graph.known_ops import describe_op_outputs, load_known_ops, load_op_outputs
from serialization.graph.op_libraries import advise_on_libraries, guess_op_library
from serialization.graph.op_sets import PYTHON_CALLS
from serialization.tensorflow import import_quietly, tf


def load_op_library(path: Path | None) -> None:
    """Register the ops of a shared library (`--op-library`), which runs its code. Raises UserError."""
    if path is None:
        return
    if not path.is_file():
        raise UserError(f"no library at {show_path(path)}; --op-library takes the .so file that registers the ops")
    try:
        tf.load_op_library(str(path.resolve()))
    except (tf.errors.OpError, OSError) as error:
        raise UserError(
            f"{show_path(path)} cannot be loaded: {format_error(error)}; was it built for this TensorFlow?"
        ) from None


def require_known_ops(graph_def: Any, what: str) -> None:
    """Raise UserError with all ops of the graph that this TensorFlow does not know, each with its library.

    Ops that call a function of the Python program which made the graph are unknown, too.
    """
    python = [node.name for node in iterate_nodes(graph_def) if node.op in PYTHON_CALLS]
    if python:
        raise UserError(
            f"{what} calls Python functions, at {list_some(python)}; they were in the program that made the model, and "
            "are not in its file; cut the graph there: name the tensors behind as --inputs, or tensors in front as "
            "--outputs"
        )
    functions = {function.signature.name for function in graph_def.library.function}
    unknown: dict[str, list[str]] = defaultdict(list)
    for node in iterate_nodes(graph_def):
        if node.op not in functions and not is_known_op(node.op):
            unknown[node.op].append(node.name)
    if unknown:
        listed = ", ".join(f"{op} ({guess_op_library(op)}; {_count(names)})" for op, names in sorted(unknown.items()))
        raise UserError(
            f"{what} needs ops that TensorFlow {tf.__version__} does not know: {listed}; {advise_on_libraries(unknown)}"
        )


def get_output_dtype(node: Any, index: int) -> int:
    """The dtype number of a node's output, from the op's definition and the node's attributes; 0 if unknown."""
    types = get_output_dtypes(node)
    return types[index] if types is not None and index < len(types) else 0


def count_nameable_outputs(node: Any) -> int:
    """How many outputs a node has; 1000 for an unknown op, so that none is refused."""
    types = get_output_dtypes(node)
    return 1000 if types is None else len(types)


def get_op_def(op: str) -> Any:
    """TensorFlow's definition of an op, None if there is none. The public tf.raw_ops leaves some ops out."""
    return import_quietly("tensorflow.python.framework.op_def_registry").get(op)


def is_known_op(op: str) -> bool:
    """Whether this TensorFlow, with the op libraries loaded into it, has the op."""
    return _outputs(op) is not None


def _outputs(op: str) -> list[str] | None:
    """The outputs of an op as known_ops.txt writes them; None for an unknown op."""
    if op in load_known_ops():
        return load_op_outputs()[op]
    # Other ops are registered by a library, in a TensorFlow that runs.
    definition = get_op_def(op) if "tensorflow" in sys.modules else None
    return None if definition is None else describe_op_outputs(definition)


def get_output_dtypes(node: Any) -> list[int] | None:
    """The dtype numbers of a node's outputs, None for an unknown op."""
    outputs = _outputs(node.op)
    if outputs is None:
        return None
    types: list[int] = []
    for output in outputs:
        counted, several, dtype = output.rpartition("*")
        if several and not counted:
            types += [int(number) for number in node.attr[dtype].list.type]
            continue
        attribute, _, default = dtype.partition("=")
        if attribute.isdecimal():
            number = int(attribute)
        else:
            number = int(node.attr[attribute].type) if attribute in node.attr else int(default or 0)
        types += [number] * (max(0, int(node.attr[counted].i)) if counted else 1)
    return types


def _count(names: Iterable[str]) -> str:
    first, *rest = names
    return f"node {first}" if not rest else f"node {first} and {len(rest)} more"
