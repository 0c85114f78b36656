"""Inlines the functions of a graph, which other runtimes cannot call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from serialization.errors import UserError
from serialization.graph.graph_def import iterate_nodes
from serialization.graph.op_sets import BRANCHES, FUNCTION_CALLS, WHILES
from serialization.tensorflow import explain_failures, import_quietly, tf1

_COMPILED = "_XlaMustCompile"
_KEPT_WHOLE = ("_noinline", _COMPILED)  # attributes that keep a function from being inlined


def is_xla_compiled(graph_def: Any) -> bool:
    """Whether XLA compiles functions of the graph, so that results may be rounded differently."""
    holders = (*iterate_nodes(graph_def), *graph_def.library.function)
    return any(holder.attr[_COMPILED].b for holder in holders if _COMPILED in holder.attr)


def inline_functions(graph_def: Any, fetches: Iterable[str]) -> Any:
    """The GraphDef with every function call, functional loop and condition replaced by the function's nodes.

    `fetches` are the names of the tensors that have to stay. A function that an op takes as an argument (a dataset's
    map) stays a function. Raises UserError if a call cannot be inlined.
    """
    if not graph_def.library.function:
        return graph_def
    copy = tf1.GraphDef()
    copy.CopyFrom(graph_def)
    for function in copy.library.function:
        function.attr.pop("api_implements", None)  # an alternative implementation, which keeps it from being inlined
        for attribute in _KEPT_WHOLE:
            function.attr.pop(attribute, None)
    for node in iterate_nodes(copy):
        for attribute in _KEPT_WHOLE:
            node.attr.pop(attribute, None)
        if node.op in BRANCHES | WHILES:
            node.attr["_lower_using_switch_merge"].b = True
    result = _optimize(copy, list(fetches))
    left = sorted({node.op for node in result.node if node.op in FUNCTION_CALLS | BRANCHES | WHILES})
    if left:
        raise UserError(
            f"the functions of the graph cannot be inlined; {', '.join(left)} ops are left; keep the SavedModel"
        )
    return result


def _optimize(graph_def: Any, fetches: list[str]) -> Any:
    """Run Grappler with only its function optimizer. TensorFlow has no public call for it.

    tests/graph/test_inlining.py fails when TensorFlow changes it.
    """
    tf_optimizer = import_quietly("tensorflow.python.grappler.tf_optimizer")
    with tf1.Graph().as_default() as graph:
        tf1.import_graph_def(graph_def, name="")
    meta_graph = tf1.train.export_meta_graph(graph_def=graph.as_graph_def(), graph=graph)
    train_op = meta_graph.collection_def["train_op"]
    train_op.node_list.value.extend(fetches)
    config = tf1.ConfigProto()
    rewrite = config.graph_options.rewrite_options
    rewrite.min_graph_nodes = -1
    rewrite.optimizers.append("function")
    rewrite.function_optimization = rewrite.AGGRESSIVE
    with explain_failures("the functions of the graph cannot be inlined"):
        return tf_optimizer.OptimizeGraph(config, meta_graph)
