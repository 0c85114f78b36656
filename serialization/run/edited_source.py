"""The source of a conversion as an edit changes it, which the edited result is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from serialization.errors import UserError
from serialization.graph.dropout import DropoutLayer, keep_everything
from serialization.graph.graph_def import get_node_name, get_output_index, get_tensor_name, list_data_edges
from serialization.graph.graph_index import GraphIndex, prune_graph
from serialization.graph.inlining import inline_functions
from serialization.graph.op_sets import TABLES, VARIABLES
from serialization.graph.repair import remove_lost_locations
from serialization.graph.signature import Signature, Tensor
from serialization.run.differences import has_same_bits, is_alike
from serialization.run.generated_feeds import generate_attempts, generate_feed
from serialization.run.origin import Origin
from serialization.run.predictor import Run, Values, compile_later
from serialization.tensorflow import np, tf, tf1

_KEPT = "serialization_kept"


def fix_inputs(origin: Origin, values: Values) -> Origin:
    """The source without these inputs, by key: each run feeds them these values."""

    def feed(run: Run) -> Run:
        return lambda feeds: run({**feeds, **values})

    inputs = tuple(tensor for tensor in origin.signature.inputs if tensor.key not in values)
    return replace(
        origin,
        signature=replace(origin.signature, inputs=inputs),
        predict=feed(origin.predict),
        repeat=None if origin.repeat is None else feed(origin.repeat),
        unpinned=origin,
    )


def keep_all_numbers(origin: Origin, layers: Sequence[DropoutLayer], edited: GraphIndex) -> Origin:
    """The source in which each dropout layer keeps every number, at a scale of 1; else it runs as ever.

    That is a copy of its graph, functions inlined, in its own session, with the same variables and tables. `edited` is
    the index of the graph that is to be compared with it.
    """
    graph, signature = origin.session.graph, origin.signature
    roots = [tensor.name for tensor in (*signature.outputs, *signature.inputs)]
    whole = inline_functions(prune_graph(origin.index, roots), roots)
    copy = keep_everything(prune_graph(GraphIndex(whole), roots), layers)
    remove_lost_locations(copy)
    operations = {operation.name: operation for operation in graph.get_operations()}
    held = [node for node in copy.node if node.op in VARIABLES | TABLES and node.name in operations]
    used = {get_tensor_name(edge) for node in copy.node for edge in list_data_edges(node)}
    shared = {name: operations[node.name].outputs[0] for node in held if (name := f"{node.name}:0") in used}
    names = {get_node_name(name): None for name in roots}
    with graph.as_default():
        found = tf1.import_graph_def(copy, name=_KEPT, input_map=shared, return_elements=list(names))
    made = dict(zip(names, found, strict=True))

    def move(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
        outputs = (made[get_node_name(tensor.name)].outputs[get_output_index(tensor.name)] for tensor in tensors)
        return tuple(replace(tensor, name=output.name) for tensor, output in zip(tensors, outputs, strict=True))

    predict = compile_later(origin.session, Signature(move(signature.inputs), move(signature.outputs)))

    def repeat(feeds: Values) -> Values:
        predict(feeds)
        return predict(feeds)

    return replace(origin, index=edited, predict=predict, repeat=None if origin.repeat is None else repeat)


def ignore_inputs(origin: Origin, keys: Iterable[str]) -> Origin:
    """The source without these inputs, on which its outputs do not depend: each run tries two values of them.

    The run raises UserError if the outputs do depend on them.
    """
    tensors = [tensor for tensor in origin.signature.inputs if tensor.key in set(keys)]
    tried = [{tensor.key: _choose_value(tensor, number) for tensor in tensors} for number in range(2)]

    def predict(feeds: Values) -> Values:
        first, second = (origin.predict({**feeds, **values}) for values in tried)
        for key, value in first.items():
            if not is_alike(value, second[key]) or not has_same_bits(value, second[key]):
                raise UserError(f"{key} depends on {', '.join(tried[0])} without dropout too; nothing was written")
        return first

    inputs = tuple(tensor for tensor in origin.signature.inputs if tensor not in tensors)
    return replace(origin, signature=replace(origin.signature, inputs=inputs), predict=predict)


def find_feeds(origin: Origin, seeds: Iterable[int]) -> list[Values]:
    """For each seed a generated feed that the source runs on, if there is one."""
    found: list[Values] = []
    for seed in seeds:
        for feeds in generate_attempts(origin.signature, origin.hints, origin.batches, seed):
            try:
                origin.predict(feeds[0])
            except tf.errors.OpError:
                continue  # the next attempt has other values
            found.append(feeds[0])
            break
    return found


def _choose_value(tensor: Tensor, number: int) -> Any:
    """One of two values: False or True, a rate of a half or a quarter, else one that is generated."""
    value = generate_feed(Signature((tensor,), ()), number)[0][tensor.key]
    if tensor.dtype == "bool":
        return np.full_like(value, bool(number))
    return np.full_like(value, (0.5, 0.25)[number]) if value.dtype.kind == "f" and value.ndim == 0 else value
