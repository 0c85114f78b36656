"""Imports a GraphDef piece by piece, for the shapes that TensorFlow infers from other shapes of its inputs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from serialization.formats import protos
from serialization.graph.graph_def import get_node_name, get_output_index, get_tensor_name, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import ENTERS, EXITS, MERGES, NEXT_ITERATIONS
from serialization.tensorflow import tf, tf1

Shape = tuple["int | None", ...]
_SCOPE = "serialization_shapes"
_NODE = re.compile(r"\{\{node ([^}]+)\}\}|[Nn]ode '([^']+)'")


class ShapeProbe:
    """A tf.Graph that grows by the nodes that are added to it, in an order in which each follows those that it needs.

    Values of constants are known as far as TensorFlow knows them without a run; no op is run.
    """

    def __init__(self, inputs: Mapping[str, tuple[int, Sequence[int | None] | None]]) -> None:
        """`inputs` gives the dtype number and the shape of each tensor that is fed, by name."""
        self._graph = tf1.Graph()
        with self._graph.as_default(), tf1.name_scope(_SCOPE):
            self._tensors = {
                name: tf1.placeholder(dtype, shape, name=get_node_name(name)) for name, (dtype, shape) in inputs.items()
            }
        self._fed = {get_node_name(name) for name in inputs}
        self._ops: dict[str, Any] = {}  # an import may rename what it imports

    def add(self, nodes: Iterable[Any]) -> None:
        """Add these nodes. Raises ValueError, which names a node, if shapes do not fit; then none of them is added."""
        added = [node for node in nodes if node.name not in self._fed]
        names = {node.name for node in added}
        piece, sources = protos.GraphDef(), dict[str, Any]()
        for node in added:
            copy = piece.node.add()
            copy.CopyFrom(node)
            copy.attr.pop("_class", None)
            copy.input[:] = [e for e in node.input if not e.startswith("^") or get_node_name(e) in names]
            for edge in map(get_tensor_name, list_data_edges(node)):
                if get_node_name(edge) not in names:
                    sources[edge] = self._tensor(edge)
        with self._graph.as_default():
            found = tf1.import_graph_def(piece, name="", input_map=sources, return_elements=[n.name for n in added])
        self._ops |= {node.name: operation for node, operation in zip(added, found or (), strict=True)}

    def get_shape(self, edge: str) -> Shape | None:
        """The shape of the tensor on an edge; None for an unknown rank, or a tensor that was not added."""
        try:
            shape = self._tensor(edge).shape
        except KeyError:
            return None
        return None if shape.rank is None else tuple(shape.as_list())

    def read_sizes(self, edge: str) -> Shape | None:
        """The numbers of a tensor that says a shape, None for each that is unknown or negative."""
        with self._graph.as_default(), tf1.name_scope(_SCOPE):
            shape = tf.raw_ops.Reshape(tensor=tf1.placeholder(tf.float32, None), shape=self._tensor(edge)).shape
        return None if shape.rank is None else tuple(shape.as_list())

    def _tensor(self, edge: str) -> Any:
        name = get_tensor_name(edge)
        if name in self._tensors:
            return self._tensors[name]
        return self._ops[get_node_name(name)].outputs[get_output_index(name)]


def find_named_node(text: str) -> str | None:
    """The node that a message of TensorFlow names."""
    found = _NODE.search(text)
    return (found[1] or found[2]) if found else None


def order_pieces(index: GraphIndex) -> Iterator[list[Any]]:
    """The nodes in an order for a probe: each alone, and those of one loop together."""
    loop_of = _find_loops(index)
    members: dict[str, list[str]] = {}
    for name in index.order:
        members.setdefault(loop_of.get(name, name), []).append(name)
    done: set[str] = set()
    for start in index.order:
        waiting = [loop_of.get(start, start)]
        entered: set[str] = set()
        while waiting:
            group = waiting[-1]
            if group in done:
                waiting.pop()
                continue
            # Not along control edges, which would close circles; a probe has none of them.
            needed = {loop_of.get(n, n) for name in members[group] for n in index.producers(index.nodes[name])}
            missing = [n for n in needed if n in members and n not in done and n != group and n not in entered]
            if missing and group not in entered:
                entered.add(group)
                waiting += missing
                continue
            done.add(group)
            waiting.pop()
            yield [index.nodes[name] for name in members[group]]


def find_loop_nodes(index: GraphIndex) -> set[str]:
    """The names of the nodes that run in the frame of a loop of TensorFlow 1, which nothing but an Enter leads into."""
    waiting = [node.name for node in index.graph_def.node if node.op in ENTERS]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        new = [user for user in index.consumers(name) if user not in found and index.nodes[user].op not in EXITS]
        found.update(new)
        waiting += new
    return found


def _find_loops(index: GraphIndex) -> dict[str, str]:
    """For each node in a loop of TensorFlow 1, one name that all nodes of its loop share."""
    groups: list[set[str]] = []
    for node in index.graph_def.node:
        if node.op not in MERGES:
            continue
        ends = [name for name in index.producers(node) if index.nodes[name].op in NEXT_ITERATIONS]
        if ends:
            inside = index.downstream([node.name]) & set().union(*(index.upstream(end) for end in ends))
            joined = [group for group in groups if group & inside]
            groups = [group for group in groups if not group & inside]
            groups.append(inside.union(*joined))
    return {name: min(group) for group in groups for name in group}
