"""Finds the nodes that no caller fetches: those that train, save, restore, summarize, check, or fill a pipeline.

It works on the protobuf, without TensorFlow's runtime. TensorFlow writes the nodes of a gradient into a scope
`gradients`. They train where a variable is updated with them; else the gradients are part of the model, as the forces
in a molecule are.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

from serialization.graph import op_sets
from serialization.graph.graph_def import get_node_name, list_control_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.tensors import describe_tensor
from serialization.infer.entrances import list_variables
from serialization.infer.names import has_own_name

_SHOWN = op_sets.VIEWS | {"Cast", "Mul", "Slice", "StridedSlice", "GatherV2", "Add", "AddV2", "Sub", "Div", "RealDiv"}
_SHOWN |= {"Maximum", "Minimum", "ConcatV2", "Transpose", "Pack", "Tile", "Round"}
_PREPARING = op_sets.VIEWS | {"Cast", "ArgMax", "TopKV2", "Tile", "Round", "Transpose", "LogicalNot"}
_PREPARING |= {"Equal", "NotEqual", "Greater", "GreaterEqual", "Less", "LessEqual"}
# No caller fetches them. Nodes that only they consume are left out too.
_PLUMBING = op_sets.SAVE_OPS | op_sets.RESTORE_OPS | op_sets.INITIALIZED_CHECKS | op_sets.SUMMARY_WRITERS
_PLUMBING |= op_sets.TABLE_WRITERS | op_sets.TABLE_EXPORTS | op_sets.TABLE_SIZES | op_sets.ENQUEUES | op_sets.CLOSES
_PLUMBING |= {"Assert", "NoOp", "ControlTrigger", "Abort", "DestroyResourceOp", "MakeIterator", "WriteFile", "PrintV2"}
_PLUMBING |= {"Stage", "MapStage", "OrderedMapStage", "IteratorToStringHandle"}
_CHECKS = {"CheckNumerics", "CheckNumericsV2"}  # they pass their input on; where nothing takes it, they only check
# A loop's gradient keeps the loop's values in them, so the loop takes them. They carry nothing into it.
_LISTS = op_sets.STACKS | {"EmptyTensorList", "TensorListReserve"}
_GRADIENTS = re.compile(r"((?:.*?/)??gradients(?:_\d+)?)/.*")
_OPTIMIZERS = re.compile(r"(Resource)?(Sparse)?Apply")
_SCAFFOLD = re.compile(r"(.*/)?(report_uninitialized_variables|save|zero_fraction)(_\d+)?/.*")


def find_gradients(index: GraphIndex) -> tuple[set[str], set[str]]:
    """The nodes of gradients that train, and those of other gradients.

    A gradient trains if a variable is updated with it, or if it has the shape of a variable: some apply it elsewhere.
    Then nothing may take it in the graph, and the optimizer gets it from a placeholder.
    """
    scopes: dict[str, set[str]] = defaultdict(set)
    for name in index.nodes:
        if match := _GRADIENTS.fullmatch(name):
            scopes[match[1]].add(name)
    every = set().union(*scopes.values())
    sizes = {tuple(dim.size for dim in node.attr["shape"].shape.dim) for node in list_variables(index)} - {()}
    train: set[str] = set()
    reached = _follow(index, every, ())
    fed = any(_OPTIMIZERS.match(node.op) and node.name not in reached for node in index.nodes.values())
    for nodes in scopes.values():
        # What a gradient of a gradient trains is not trained by the first one.
        used = _follow(index, nodes, every)
        results = (
            name
            for name in nodes
            if any(user not in every for user in index.consumers(name)) or (fed and not index.consumers(name))
        )
        if any(op_sets.is_update(index.nodes[name].op) for name in used) or any(
            describe_tensor(index.nodes, f"{name}:0").shape in sizes for name in results
        ):
            train |= nodes
    return train, every - train


def _follow(index: GraphIndex, names: Collection[str], stop: Collection[str]) -> set[str]:
    found, waiting = set(names), list(names)
    while waiting:
        new = {user for user in index.consumers(waiting.pop()) if user not in stop} - found
        found |= new
        waiting += new
    return found


def find_nodes_aside(
    index: GraphIndex, training: set[str], ends: Collection[str], depends: Mapping[str, int]
) -> set[str]:
    """All nodes that no caller fetches.

    `training` are the gradients that train, `ends` those of input pipelines; `depends` are the sources that each node
    needs, as bits.
    """
    lists = {name for name in training if index.nodes[name].op in _LISTS}
    aside = lists | _follow(index, training - lists, lists)
    plumbing = {n.name for n in index.nodes.values() if n.op in _PLUMBING or op_sets.is_update(n.op)}
    plumbing |= {n.name for n in index.nodes.values() if n.op in _CHECKS and not index.consumers(n.name)}
    # The end of a tf.cond that others only wait for runs for its effect, such as an Assert.
    awaited = {get_node_name(edge) for node in index.nodes.values() for edge in list_control_edges(node)}
    ends_of_conds = (name for name in awaited & index.nodes.keys() if index.nodes[name].op in op_sets.MERGES)
    plumbing |= {name for name in ends_of_conds if not index.consumers(name)}
    optimizer = aside - training
    plumbing = _add_sole_producers(index, plumbing | optimizer, set(ends), aside, depends)
    summaries = {n.name for n in index.nodes.values() if n.op in op_sets.SUMMARIES}
    waiting = list(summaries)
    while waiting:  # a node that only prepares an answer for a summary
        for name in index.producers(index.nodes[waiting.pop()]):
            node = index.nodes.get(name)
            shown = node is not None and name not in summaries and node.op in _SHOWN and not has_own_name(node)
            if shown and all(user in summaries for user in index.consumers(name)):
                summaries.add(name)
                waiting.append(name)
    return plumbing | summaries | {name for name in index.nodes if _SCAFFOLD.fullmatch(name)}


def _add_sole_producers(
    index: GraphIndex, plumbing: set[str], ends: set[str], aside: set[str], depends: Mapping[str, int]
) -> set[str]:
    """These nodes, and those whose results only they or the ends of pipelines take, beside those `aside` already.

    But a prediction stays that a metric compares with a label, which comes from another source: all but the nodes that
    prepare it for the metric.
    """
    roots = plumbing | ends
    found, predicting, wanted = plumbing | aside, set[str](), set[str]()
    others: Counter[str] = Counter()  # the users of each node that are no takers
    for name in index.nodes.keys() - roots:
        if index.nodes[name].op not in op_sets.SHAPES:
            others.update(set(index.producers(index.nodes[name])))
    waiting = list(roots)
    while waiting:
        user = waiting.pop()
        for name in index.producers(index.nodes[user]):
            if name not in index.nodes or name in found or index.nodes[name].op in op_sets.PLACEHOLDERS:
                continue
            if others[name] or name in wanted:
                continue
            predicted = any(
                taker in predicting or (taker not in roots and depends[name] and depends[taker] & ~depends[name])
                for taker in index.consumers(name)
            )
            if predicted and (index.nodes[name].op not in _PREPARING or has_own_name(index.nodes[name])):
                wanted.add(name)
            else:
                found.add(name)
                if index.nodes[name].op not in op_sets.SHAPES:
                    others.subtract(set(index.producers(index.nodes[name])))
                predicting |= {name} if predicted else set()
                waiting.append(name)
    return found
