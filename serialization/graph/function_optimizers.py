"""Switches off the optimizers that function calls bring along, so that two forms of a model compute the same bits.

TensorFlow optimizes the body of a called function as the call node's own `config_proto` says, a serialized ConfigProto,
whatever the session's says (tensorflow/core/kernels/partitioned_function_ops.cc). Messages that follow each other in
one string are merged, so bytes at its end switch the optimizers off, and are cut off again without a trace.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serialization.formats import protos
from serialization.graph.graph_def import iterate_nodes
from serialization.tensorflow import tf1

_CONFIG = "config_proto"


def make_unoptimized_config() -> Any:
    """A ConfigProto that switches all of TensorFlow's graph optimizers off."""
    config = tf1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = tf1.OptimizerOptions.L0
    return config


def list_function_calls(graph_def: Any) -> list[Any]:
    """The nodes that call a function, and say how it is optimized."""
    calls = (node for node in iterate_nodes(graph_def) if node.op in ("PartitionedCall", "StatefulPartitionedCall"))
    # In a function's body the caller may say it: then this node is optimized as that caller's other attribute says.
    return [node for node in calls if not (_CONFIG in node.attr and node.attr[_CONFIG].placeholder)]


def switch_off_optimizers(graph_def: Any) -> None:
    """Have no function body optimized; change the GraphDef."""
    end = make_unoptimized_config().SerializeToString()
    for node in list_function_calls(graph_def):
        node.attr[_CONFIG].s = node.attr[_CONFIG].s.removesuffix(end) + end


def switch_on_optimizers(graph_def: Any) -> None:
    """Undo `switch_off_optimizers`; change the GraphDef."""
    end = make_unoptimized_config().SerializeToString()
    for node in list_function_calls(graph_def):
        node.attr[_CONFIG].s = node.attr[_CONFIG].s.removesuffix(end)


def switch_on_exported_optimizers(folder: Path) -> None:
    """The same for a SavedModel that was written from a graph without them."""
    file = folder / "saved_model.pb"
    saved_model = protos.SavedModel.FromString(file.read_bytes())
    if any(list_function_calls(meta_graph.graph_def) for meta_graph in saved_model.meta_graphs):
        for meta_graph in saved_model.meta_graphs:
            switch_on_optimizers(meta_graph.graph_def)
        file.write_bytes(saved_model.SerializeToString())
