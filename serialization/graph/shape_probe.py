"""Imports a GraphDef piece by piece, for the shapes that TensorFlow infers from other shapes of its inputs.

Loops of TensorFlow 1 are looked at in their first step: what a loop carries has the shape of its first value, but for
the axes that change from step to step.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from serialization.formats import protos
from serialization.graph.graph_def import (
    change_op,
    get_node_name,
    get_output_index,
    get_tensor_name,
    list_data_edges,
)
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import ENTERS, EXITS, MERGES, NEXT_ITERATIONS
from serialization.tensorflow import tf, tf1

Shape = tuple["int | None", ...]
_SCOPE = "serialization_shapes"
_NODE = re.compile(r"\{\{node ([^}]+)\}\}|[Nn]ode '([^']+)'")
_IMPORTED = re.compile(rf"{_SCOPE}(?:_\d+)?/")


class ShapeProbe:
    """A tf.Graph that grows by the nodes that are added to it, in an order in which each follows those that it needs.

    Values of constants are known as far as TensorFlow knows them without a run; no op is run.
    """

    def __init__(
        self,
        inputs: Mapping[str, tuple[int, Sequence[int | None] | None]],
        carried: Mapping[str, tuple[str, str]] | None = None,
        unsteady: Mapping[str, Collection[int] | None] | None = None,
    ) -> None:
        """`inputs` gives the dtype number and the shape of each tensor that is fed, by name.

        `carried` is what find_carried gives; `unsteady` the axes whose sizes change from step to step, by the name of
        the Merge, None for all.
        """
        self._graph = tf1.Graph()
        with self._graph.as_default(), tf1.name_scope(_SCOPE):
            self._tensors = {
                name: tf1.placeholder(dtype, shape, name=get_node_name(name)) for name, (dtype, shape) in inputs.items()
            }
        self._fed = {get_node_name(name) for name in inputs}
        self._carried, self._unsteady = carried or {}, unsteady or {}
        self._ops: dict[str, Any] = {}  # an import may rename what it imports

    def add(self, nodes: Iterable[Any]) -> None:
        """Add these nodes. Raises ValueError, which names a node, if shapes do not fit; then none of them is added."""
        added: dict[str, Any] = {}
        piece: list[Any] = []
        try:
            for node in nodes:
                if node.name in self._fed:
                    continue
                if node.name in self._unsteady:  # it says the shape of what comes before it
                    self._import(piece, added)
                    piece = []
                piece.append(node)
            self._import(piece, added)
        except ValueError:
            for name in added:
                del self._ops[name]
            raise

    def _import(self, nodes: list[Any], added: dict[str, Any]) -> None:
        names = {node.name for node in nodes}
        piece, sources = protos.GraphDef(), dict[str, Any]()
        for node in nodes:
            copy = piece.node.add()
            copy.CopyFrom(node)
            copy.attr.pop("_class", None)
            self._open_loop(copy)
            copy.input[:] = list_data_edges(copy)
            for edge in map(get_tensor_name, copy.input):
                if get_node_name(edge) not in names:
                    sources[edge] = self._tensor(edge)
        found = self._import_piece(piece, sources)
        added |= dict(zip((node.name for node in nodes), found, strict=True))
        self._ops |= added

    def _import_piece(self, piece: Any, sources: Mapping[str, Any]) -> list[Any]:
        names = [node.name for node in piece.node]
        try:
            with self._graph.as_default():
                return tf1.import_graph_def(piece, name=_SCOPE, input_map=sources, return_elements=names) or []
        except ValueError as error:
            raise ValueError(_IMPORTED.sub("", str(error))) from None

    def _open_loop(self, node: Any) -> None:
        """Make a node of a loop one that hands the value of the first step on."""
        if node.op in ENTERS | EXITS | NEXT_ITERATIONS:
            change_op(node, "Identity", list_data_edges(node), T=node.attr["T"].type)
        elif node.name in self._carried:
            first, dtype = self._carried[node.name][0], node.attr["T"].type
            if node.name not in self._unsteady:
                change_op(node, "Identity", [first], T=dtype)
                return
            shape, axes = self.get_shape(first), self._unsteady[node.name]
            change_op(node, "PlaceholderWithDefault", [first], dtype=dtype)
            if shape is None or axes is None:
                node.attr["shape"].shape.unknown_rank = True
            else:
                node.attr["shape"].shape.SetInParent()
                for axis, size in enumerate(shape):
                    node.attr["shape"].shape.dim.add(size=-1 if axis in axes or size is None else size)

    def fits(self, node: Any, shapes: Mapping[int, Shape]) -> bool:
        """Whether a node takes tensors of other shapes at some of its inputs, by their numbers."""
        piece, sources = protos.GraphDef(), dict[str, Any]()
        copy = piece.node.add()
        copy.CopyFrom(node)
        copy.attr.pop("_class", None)
        copy.input[:] = [f"input{number}:0" for number, _ in enumerate(list_data_edges(node))]
        with self._graph.as_default():
            for number, edge in enumerate(list_data_edges(node)):
                known = self._tensor(edge)
                sources[f"input{number}:0"] = (
                    tf1.placeholder(known.dtype, shapes[number]) if number in shapes else known
                )
        try:
            self._import_piece(piece, sources)
        except ValueError:
            return False
        return True

    def get_shape(self, edge: str) -> Shape | None:
        """The shape of the tensor on an edge; None for an unknown rank, or a tensor that was not added."""
        try:
            shape = self._tensor(edge).shape
        except (KeyError, IndexError):  # it was not added, or is the index of a Merge, of which no loop needs it
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


def find_unsteady(probe: ShapeProbe, carried: Mapping[str, tuple[str, str]]) -> dict[str, set[int] | None]:
    """The axes of what loops carry whose size another step changes, by the name of the Merge; None for all."""
    found: dict[str, set[int] | None] = {}
    for name, (first, later) in carried.items():
        before, after = probe.get_shape(first), probe.get_shape(later)
        if before is None:
            continue
        if after is None or len(before) != len(after):
            found[name] = None
        elif axes := {axis for axis, size in enumerate(before) if size is not None and after[axis] != size}:
            found[name] = axes
    return found


def find_named_node(text: str) -> str | None:
    """The node that a message of TensorFlow names."""
    found = _NODE.search(text)
    return (found[1] or found[2]) if found else None


def find_carried(index: GraphIndex) -> dict[str, tuple[str, str]]:
    """What loops of TensorFlow 1 carry: by the name of a Merge, the edges of its first value and of a later one."""
    found = {}
    for node in index.graph_def.node:
        edges = list_data_edges(node) if node.op in MERGES else []
        ends = [edge for edge in edges if (one := index.producer(edge)) is not None and one.op in NEXT_ITERATIONS]
        if len(ends) == 1 and len(edges) == 2:
            found[node.name] = (next(edge for edge in edges if edge not in ends), ends[0])
    return found


def order_nodes(index: GraphIndex, carried: Mapping[str, tuple[str, str]], first: Iterable[str] = ()) -> list[str]:
    """The names of all nodes, each behind those that it needs in the first step of a loop; `first` before others."""
    found: dict[str, None] = {}
    entered: set[str] = set()
    waiting = [*reversed(index.nodes), *first]
    while waiting:
        name = waiting[-1]
        if name in entered:
            found.setdefault(waiting.pop())
            continue
        entered.add(name)
        edges = [carried[name][0]] if name in carried else index.nodes[name].input
        waiting += [n for n in map(get_node_name, edges) if n not in entered and n in index.nodes]
    return list(found)


def find_frames(index: GraphIndex, order: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The names of the loops, the outer one first, that what a node takes belongs to, for each node in a loop."""
    taken: dict[str, tuple[str, ...]] = {}
    made: dict[str, tuple[str, ...]] = {}
    for name in order:
        node = index.nodes[name]
        frames = max((made.get(get_node_name(edge), ()) for edge in node.input), key=len, default=())
        if frames:
            taken[name] = frames
        if node.op in ENTERS:
            frames = (*frames, node.attr["frame_name"].s.decode())
        made[name] = frames[:-1] if node.op in EXITS else frames
    return taken
