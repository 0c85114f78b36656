"""Edits the signatures that TensorFlow 2 sees in a SavedModel: objects of its object graph, which call functions.

TensorFlow 1 and TensorFlow Serving read the SignatureDefs, which name tensors of the graph. tf.saved_model.load reads
the object graph of a SavedModel of TensorFlow 2 instead: the root has a child `signatures`, whose children are the
functions by the signatures' keys; the arguments and results of a function are named by those of inputs and outputs. So
a signature with new keys, or of other tensors, gets a function of its own: the same part of the graph, with the same
objects bound to it. Format: tensorflow/core/protobuf/saved_object_graph.proto, and function_deserialization.py in
tensorflow/python/saved_model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from serialization.console import list_some, make_printable
from serialization.errors import UserError
from serialization.graph.function_body import make_function
from serialization.graph.graph_def import find_free_name, get_node_name, get_tensor_name
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import HANDLES, VARIABLES
from serialization.sources.saved_variables import bind_handles
from serialization.targets.edited_signatures import EditedSignature

_SIGNATURES = "signatures"


def edit_signature_map(meta_graph: Any, edited: Iterable[EditedSignature]) -> None:
    """Give the object graph these signatures, in place; `meta_graph` still has the SignatureDefs of the source.

    A SavedModel of TensorFlow 1 has no object graph, and is left as it is: both loaders read its SignatureDefs. Raises
    UserError for a signature that no function can be made for.
    """
    objects = meta_graph.object_graph_def
    if not objects.nodes:
        return
    index = GraphIndex(meta_graph.graph_def)
    bound = dict(bind_handles(meta_graph, index))
    signatures = _find_map(objects)
    known = {child.local_name: child.node_id for child in signatures.children}
    kept = {}
    for one in edited:
        if one.source is not None and one.source not in known:
            continue  # TensorFlow 2 does not see it in the source either
        if one.source is None or one.is_rekeyed:
            kept[one.key] = _add_function(meta_graph, index, bound, one)
        else:
            kept[one.key] = known[one.source]
    del signatures.children[:]
    for key, number in sorted(kept.items()):
        signatures.children.add(local_name=key, node_id=number)


def _find_map(objects: Any) -> Any:
    """The object that holds the signatures by key; it is added where there is none."""
    number = next((child.node_id for child in objects.nodes[0].children if child.local_name == _SIGNATURES), None)
    if number is not None and 0 <= number < len(objects.nodes):
        return objects.nodes[number]
    objects.nodes[0].children.add(local_name=_SIGNATURES, node_id=len(objects.nodes))
    added = objects.nodes.add()
    added.user_object.identifier = "signature_map"
    added.user_object.version.producer = added.user_object.version.min_consumer = 1
    return added


def _add_function(meta_graph: Any, index: GraphIndex, bound: Mapping[str, int], one: EditedSignature) -> int:
    """Add the function of a signature, and the object that holds it. Returns the object's number."""
    inputs, outputs = (sorted(side.items()) for side in (one.definition.inputs, one.definition.outputs))
    fed, results = ([get_tensor_name(info.name) for _, info in side] for side in (inputs, outputs))
    if not one.is_plain or len(set(fed)) < len(fed):
        raise UserError(
            f"the signature {make_printable(one.key)} has a sparse or ragged tensor, or two keys for one tensor, which "
            "TensorFlow 2 knows by the recorded keys alone; keep the keys of this signature"
        )
    stop = {*bound, *map(get_node_name, fed)}
    needed = index.reachable(results, stop=stop)
    captured = [name for name in bound if name in needed]
    unbound = [n for n in needed if index.nodes[n].op in VARIABLES | HANDLES and n not in stop]
    if unbound:
        raise UserError(
            f"the signature {make_printable(one.key)} needs {make_printable(list_some(unbound))}, which no object of "
            "the SavedModel holds, so TensorFlow 2 would find no value there; name other --outputs"
        )
    objects = meta_graph.object_graph_def
    stem = "__inference_signature_wrapper_" + re.sub(r"\W", "_", one.key, flags=re.ASCII)
    taken = {*index.functions, *(f.signature.name for f in meta_graph.graph_def.library.function)}
    name = find_free_name(f"{stem}_{len(taken)}", taken)
    function = make_function(index, name, [*fed, *(f"{handle}:0" for handle in captured)], results)
    for number, (key, _) in enumerate(inputs):
        function.arg_attr[number].attr["_user_specified_name"].s = key.encode()
    meta_graph.graph_def.library.function.append(function)
    concrete = objects.concrete_functions[name]
    concrete.bound_inputs.extend(bound[handle] for handle in captured)
    positional, named = (concrete.canonicalized_input_signature.tuple_value.values.add() for _ in range(2))
    positional.tuple_value.SetInParent()
    _describe(named.dict_value, inputs)
    _describe(concrete.output_signature.dict_value, outputs)
    added = objects.nodes.add()
    bare = added.bare_concrete_function
    bare.concrete_function_name = name
    bare.argument_keywords.extend(key for key, _ in inputs)
    for position, number in enumerate(concrete.bound_inputs):  # which keeps what only this function needs
        added.children.add(node_id=number, local_name=f"capture_{position}")
    return len(objects.nodes) - 1


def _describe(described: Any, tensors: Sequence[tuple[str, Any]]) -> None:
    """Record keys, dtypes and shapes of tensors as a StructuredValue."""
    described.SetInParent()
    for key, info in tensors:
        spec = described.fields[key].tensor_spec_value
        spec.name, spec.dtype = key, info.dtype
        spec.shape.CopyFrom(info.tensor_shape)
