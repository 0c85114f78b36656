"""Reads the outputs that an author listed in collections of the MetaGraphDef.

`tf.add_to_collection("pred_network", y)` before saving and `tf.get_collection("pred_network")[0]` after loading is how
many scripts hand a tensor on. Some list names as JSON, under "inputs" and "outputs". It works on the protobuf, without
TensorFlow's runtime.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from serialization.graph.graph_def import get_node_name
from serialization.infer.data_edges import Flow

COLLECTED = "its author listed it in the collection {}"
_OUTPUTS = re.compile(r"(^|.*[/_ ])(y_?)?(pred\w*|outputs?|logits?|prob\w*|results?|scores?|answers?)", re.IGNORECASE)
_LAYERS = re.compile(r"activations|layer_tensor|end_?points|losses|summar|metric")  # what libraries list by themselves


def find_collected(flow: Flow, meta_graph: Any, labels: int) -> dict[str, str]:
    """The results that the author listed, each with the reason.

    They are in a collection whose name speaks of an output, or in any collection of an author who lists inputs too. Of
    the copies of a network in one collection it is the first, as a loader takes it.
    """
    found: dict[str, str] = {}
    collections = [(key, listed) for key, listed in _list_collections(meta_graph) if not _LAYERS.search(key)]
    lists_inputs = any(tensor in flow.bits for _, listed in collections for tensor in listed)
    for key, listed in collections:
        if not lists_inputs and not _OUTPUTS.fullmatch(key):
            continue
        kept: dict[str, int] = {}
        for tensor in filter(lambda tensor: _is_result(flow, tensor, labels), listed):
            op, needs = flow.nodes[get_node_name(tensor)].op, flow.depends[get_node_name(tensor)]
            if kept.setdefault(op, needs) == needs:
                found.setdefault(tensor, COLLECTED.format(key))
    return found


def _list_collections(meta_graph: Any) -> Iterator[tuple[str, list[str]]]:
    """The tensors of each collection."""
    for key, collection in meta_graph.collection_def.items() if meta_graph is not None else ():
        if names := [name for name in collection.node_list.value if ":" in name]:
            yield key, names
        if key in ("inputs", "outputs"):
            yield key, [name for text in collection.bytes_list.value for name in _read_names(text)]


def _read_names(text: bytes) -> Iterable[str]:
    """The names in a JSON object of keys and tensors; none in another text."""
    try:
        names = json.loads(text)
    except ValueError:
        return []
    return [name for name in names.values() if isinstance(name, str)] if isinstance(names, dict) else []


def _is_result(flow: Flow, tensor: str, labels: int) -> bool:
    """Whether the tensor is computed from the inputs alone, and is no number that a loss or a metric gives."""
    name = get_node_name(tensor)
    if name not in flow.nodes or name in flow.parameters or tensor in flow.bits or name in flow.losses:
        return False
    known = flow.depends[name] and not flow.depends[name] & labels
    return bool(known) and not flow.is_value_free(name) and flow.describe(tensor).shape != ()
