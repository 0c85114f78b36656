"""Trains a restored model for one step, to see which of its variables can be trained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from serialization.console import format_count, list_some
from serialization.errors import UserError
from serialization.graph.op_sets import ALL_PLACEHOLDERS, ENTERS, SHAPES
from serialization.graph.signature import Signature
from serialization.run.predictor import Values
from serialization.run.variables import holds_values, read_slices
from serialization.tensorflow import format_reason, np, quiet, tf, tf1

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RATE = 0.01
_NUMBERS = 10_000  # fed at most, where a feed has fewer: more rows give more variables a gradient, but take longer
_TRIES = 12  # feeds, until one gives a gradient
# What functions of gradients raise for ops that they do not know, or that a GraphDef records in part.
_NO_GRADIENT = (LookupError, ValueError, TypeError, AttributeError, NotImplementedError, AssertionError)
_MOVED, _ZERO, _NOT_FINITE = "", "a gradient of 0 on these rows", "no finite gradient on these rows"
_NO_PATH = "no gradient leads to it from the outputs"
_LOOP = "used in a loop of TensorFlow 1, whose gradient needs more than a GraphDef records"


class _NotTrainedError(Exception):
    """No step could be taken; the message is the reason."""


def train_one_step(
    session: Any,
    wanted: Signature,
    attempts: Iterable[Sequence[Values]],
    read: Callable[[str, int, int], NDArray[Any]],
    *,
    generated: bool,
) -> list[str]:
    """Take one step of gradient descent in a restored session, on the first feed that gives a gradient.

    The loss is the sum of the outputs, each number times a random one. For an output that has no gradient, such as
    integers, the floats stand that it is computed from. `read` returns values that a variable had before: so many
    from a first one on, by its name in the graph. `generated` feeds may be scaled down: large ones saturate a sigmoid.

    Returns the lines to print: how many trainable variables moved, and which did not, with the reason. Raises UserError
    if a variable moved that is not trainable.
    """
    graph = session.graph
    trainable = {variable.op.name: variable for variable in graph.get_collection("trainable_variables")}
    if not trainable:
        return ["not trained: none of the variables is trainable"]
    fates = {name: _LOOP if _enters_loop(variable) else _NO_PATH for name, variable in trainable.items()}
    done = ""
    try:
        with graph.as_default(), quiet():
            losses = _find_losses(graph, wanted)
            gradients = _differentiate(losses, {n: v for n, v in trainable.items() if fates[n] != _LOOP})
            if gradients:
                step = tf1.train.GradientDescentOptimizer(_RATE).apply_gradients(
                    (gradient, trainable[name]) for name, gradient in gradients.items()
                )
                rows, changed = _run(session, wanted, step, _find_feeds(wanted, attempts, generated=generated), read)
                fates |= {name: _ZERO if changed.get(name) is None else changed[name] for name in gradients}
                done = (
                    f"one step of gradient descent on {list_some(list(losses))}, on {format_count(rows, 'row')}, moved"
                )
    except _NotTrainedError as why:
        return [f"not trained: {why}"]
    except (*_NO_GRADIENT, tf.errors.OpError) as error:
        what = format_reason(error) if str(error) else "TensorFlow cannot form a gradient in a graph that was imported"
        return [f"not trained: {what}"]
    if others := sorted(changed.keys() - trainable.keys()) if done else []:
        raise UserError(f"{done} {list_some(others)}, which is not trainable; nothing was written")
    still = defaultdict[str, list[str]](list)
    for name, fate in fates.items():
        still[fate].append(name)
    moved = len(still.pop(_MOVED, []))
    count = f"{moved:,} of {format_count(len(trainable), 'trainable variable')}, and nothing else"
    lines = [f"proved: {done} {count}"] if moved else []
    return [*lines, *(f"not trained: {list_some(names)}: {why}" for why, names in still.items())]


def _find_losses(graph: Any, wanted: Signature) -> dict[str, Any]:
    """The outputs that are floats, by their keys; for each other output, the floats that it is computed from."""
    found, seen = {}, set()
    waiting = [(tensor.key, graph.get_tensor_by_name(tensor.name)) for tensor in wanted.outputs]
    while waiting:
        key, tensor = waiting.pop(0)
        if tensor.dtype.is_floating and tensor.op.type not in ALL_PLACEHOLDERS | {"Const"}:
            found[key] = tensor
        elif tensor.op not in seen and tensor.op.type not in SHAPES:
            seen.add(tensor.op)
            waiting += [(source.name.removesuffix(":0"), source) for source in tensor.op.inputs]
    if not found:
        dtypes = ", ".join(dict.fromkeys(tensor.dtype for tensor in wanted.outputs))
        raise _NotTrainedError(f"the outputs are of dtype {dtypes}, and are computed from no floats")
    return found


def _enters_loop(variable: Any) -> bool:
    """Whether a loop of TensorFlow 1 takes the variable, or a tensor that is computed from it."""
    waiting = [variable.op]
    seen = {*waiting}
    while waiting:
        op = waiting.pop()
        if op.type in ENTERS:
            return True
        users = {user for tensor in op.outputs for user in tensor.consumers()} - seen
        seen |= users
        waiting += users
    return False


def _differentiate(losses: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
    """The gradients of the variables that have one, by their names."""
    tensors = list(losses.values())
    weights = [tf1.random_normal(tf.shape(tensor), dtype=tensor.dtype, seed=1) for tensor in tensors]
    found = tf1.gradients(tensors, list(variables.values()), weights) if variables else []
    return {name: gradient for name, gradient in zip(variables, found, strict=True) if gradient is not None}


def _find_feeds(wanted: Signature, attempts: Iterable[Sequence[Values]], *, generated: bool) -> Iterator[Values]:
    """One feed of each attempt, and if they are `generated` the same with smaller floats."""
    for batch in attempts:
        feed = max((one for one in batch if _count(one) <= _NUMBERS), key=_count, default=batch[0])
        yield feed
        if generated and any(value.dtype.kind == "f" for value in feed.values()):
            for scale in (0.1, 0.01):
                yield {k: (v * scale).astype(v.dtype) if v.dtype.kind == "f" else v for k, v in feed.items()}


def _count(feed: Values) -> int:
    return sum(value.size for value in feed.values())


def _run(
    session: Any, wanted: Signature, step: Any, feeds: Iterable[Values], read: Callable[[str, int, int], NDArray[Any]]
) -> tuple[int, dict[str, str]]:
    """Run the step, until it changes a variable. Returns the number of rows, and the fates of the changed variables."""
    rows, failure = 0, None
    for feed in islice(feeds, _TRIES):
        try:
            session.run(step, {tensor.name: feed[tensor.key] for tensor in wanted.inputs})
        except tf.errors.OpError as error:
            failure = failure or error
            continue
        rows = max((len(value) for value in feed.values() if value.ndim), default=1)
        changed = {}
        for variable in session.graph.get_collection("variables"):
            if not holds_values(session, variable, partial(read, variable.op.name)):
                finite = all(np.isfinite(part).all() for part in read_slices(session, variable))
                changed[variable.op.name] = _MOVED if finite else _NOT_FINITE
        if changed:
            return rows, changed
    if not rows and failure is not None:
        raise failure
    return rows, {}
