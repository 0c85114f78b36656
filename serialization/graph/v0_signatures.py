"""Reads the signatures of TensorFlow 0.x, in the collection `serving_signatures` of a MetaGraphDef.

No installed package has their messages (tensorflow_serving/session_bundle/manifest.proto), so they are declared here.
There is a default signature for tf.Examples, and there are named ones. The Predict call took the generic pair "inputs"
and "outputs", so if there is one it becomes serving_default.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from serialization.errors import UserError
from serialization.formats.dtypes import get_dtype_number
from serialization.graph.graph_def import get_node_name
from serialization.graph.graph_index import GraphIndex
from serialization.graph.tensors import describe_tensor

_COLLECTION = "serving_signatures"
_DEFAULT = "serving_default"
_PACKAGE = "tensorflow.serving"
# Message, field, its number, its type; "*" for a map from strings.
_MESSAGES = """
TensorBinding tensor_name 1 string
RegressionSignature input 1 TensorBinding
RegressionSignature output 2 TensorBinding
ClassificationSignature input 1 TensorBinding
ClassificationSignature classes 2 TensorBinding
ClassificationSignature scores 3 TensorBinding
GenericSignature map 1 TensorBinding*
Signature regression_signature 1 RegressionSignature
Signature classification_signature 2 ClassificationSignature
Signature generic_signature 3 GenericSignature
Signatures default_signature 1 Signature
Signatures named_signatures 2 Signature*
"""


def add_v0_signatures(meta_graph: Any, index: GraphIndex) -> None:
    """Copy the collection's signatures into the MetaGraphDef's signature_def, if that is empty.

    `index` is that of its graph. Raises UserError if the collection is damaged.
    """
    from google.protobuf.message import DecodeError

    if meta_graph.signature_def or _COLLECTION not in meta_graph.collection_def:
        return
    found: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {}
    for value in meta_graph.collection_def[_COLLECTION].any_list.value:
        try:
            recorded = _message("Signatures").FromString(value.value)
        except DecodeError:
            raise UserError(
                f"the graph's {_COLLECTION} are damaged; found bytes that are no Signatures; copy the file here again"
            ) from None
        named = recorded.named_signatures
        sides = [{k: b.tensor_name for k, b in named[s].generic_signature.map.items()} for s in ("inputs", "outputs")]
        if sides[1]:
            found[_DEFAULT] = ("predict", sides[0], sides[1])
        for key, one in ((_DEFAULT, recorded.default_signature), *sorted(named.items())):
            if typed := _typed(one):
                found[typed[0] if key == _DEFAULT and key in found else key] = typed
    nodes = index.nodes
    for key, (method, inputs, outputs) in found.items():
        names = [*inputs.values(), *outputs.values()]
        if all(get_node_name(name) in nodes for name in names):
            signature = meta_graph.signature_def[key]
            signature.method_name = f"tensorflow/serving/{method}"
            _fill(signature.inputs, inputs, nodes)
            _fill(signature.outputs, outputs, nodes)


def _typed(recorded: Any) -> tuple[str, dict[str, str], dict[str, str]] | None:
    """Method, inputs and outputs of a signature for regression or classification."""
    one = recorded.regression_signature
    if one.output.tensor_name:
        return "regress", {"inputs": one.input.tensor_name}, {"outputs": one.output.tensor_name}
    one = recorded.classification_signature
    outputs = {"classes": one.classes.tensor_name, "scores": one.scores.tensor_name}
    outputs = {key: name for key, name in outputs.items() if name}
    return ("classify", {"inputs": one.input.tensor_name}, outputs) if outputs else None


def _fill(infos: Any, tensors: dict[str, str], nodes: dict[str, Any]) -> None:
    for key, name in tensors.items():
        tensor = describe_tensor(nodes, name if ":" in name else f"{name}:0")
        info = infos[key]
        info.name = tensor.name
        info.dtype = get_dtype_number(tensor.dtype)
        info.tensor_shape.unknown_rank = tensor.shape is None
        for size in tensor.shape or ():
            info.tensor_shape.dim.add(size=-1 if size is None else size)


@cache
def _message(name: str) -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="manifest.proto", package=_PACKAGE, syntax="proto3")
    messages: dict[str, Any] = {}
    for line in _MESSAGES.split("\n")[1:-1]:
        owner, field, number, kind = line.split()
        if owner not in messages:
            messages[owner] = file.message_type.add(name=owner)
        added = messages[owner].field.add(name=field, number=int(number), label=1)
        if kind == "string":
            added.type = 9
            continue
        added.type = 11
        added.type_name = f".{_PACKAGE}.{kind.rstrip('*')}"
        if kind.endswith("*"):  # a map is a repeated message of a key and a value
            entry = messages[owner].nested_type.add(name=f"{field.title().replace('_', '')}Entry")
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, label=1, type=9)
            entry.field.add(name="value", number=2, label=1, type=11, type_name=added.type_name)
            added.label = 3
            added.type_name = f".{_PACKAGE}.{owner}.{entry.name}"
    pool = descriptor_pool.DescriptorPool()  # its own: an installed tensorflow_serving has these messages too
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
