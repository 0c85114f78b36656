"""Makes loops of TensorFlow 1's control flow into While ops, where a list of tensors goes through them.

Freezing inlines functions, so that the loop of a Keras LSTM becomes Enter, Merge, Switch, NextIteration and Exit. Other
converters know these only with TensorArrays, as TensorFlow 1 wrote them; a list of tensors they know in a While.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from serialization.formats import protos
from serialization.formats.dtypes import VARIANT
from serialization.graph.graph_def import change_op, find_free_name, get_node_name, get_tensor_name, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import ENTERS, EXITS, MERGES, SWITCHES
from serialization.tensorflow import explain_failures, tf, tf1

_MOST_ROUNDS = 4  # in which the shapes of a loop's variables get less and less definite


@dataclass(frozen=True)
class _Loop:
    """The nodes of a frame: those of each variable of the loop, and the Enters of what it only reads.

    Variables are (Enter, Merge, Switch, NextIteration); `condition` is the edge of the predicate.
    """

    variables: list[tuple[Any, Any, Any, Any]]
    constants: list[Any]
    condition: str


def raise_list_loops(graph_def: Any) -> Any:
    """The GraphDef with a While in the place of each loop that a list of tensors goes through; itself without any.

    A loop inside of another is raised first. Control edges to the nodes of a loop are dropped. Raises UserError if the
    graph cannot be imported.
    """
    while (found := _find_loop(GraphIndex(graph_def))) is not None:
        with explain_failures("the loops of the graph cannot be read"):
            graph_def = _raise_loop(graph_def, *found)
    return graph_def


def _find_loop(index: GraphIndex) -> tuple[str, _Loop] | None:
    """The frame and the nodes of a loop with a list and without such a loop inside."""
    enters: dict[str, list[Any]] = {}
    for node in index.graph_def.node:
        if node.op in ENTERS:
            enters.setdefault(node.attr["frame_name"].s.decode(errors="replace"), []).append(node)
    wanted = {frame for frame, nodes in enters.items() if any(node.attr["T"].type == VARIANT for node in nodes)}
    for frame in sorted(wanted):
        loop = _read_loop(index, enters[frame])
        if loop is None:
            continue
        inside = {name for edges in (_body_edges(loop), [loop.condition]) for name in _slice(index, edges, _ends(loop))}
        others = {node.name for other in wanted - {frame} for node in enters[other]}
        if not inside & others:
            return frame, loop
    return None


def _read_loop(index: GraphIndex, enters: list[Any]) -> _Loop | None:
    """The loop of these Enters; None if it does not have the form that TensorFlow writes."""
    variables, constants, conditions = [], [], set()
    for enter in enters:
        users = [index.nodes[name] for name in index.consumers(enter.name)]
        merges = [user for user in users if user.op in MERGES]
        if not merges:
            constants.append(enter)
            continue
        merge = merges[0]
        back = index.producer(merge.input[1]) if len(merge.input) > 1 else None
        switches = [index.nodes[name] for name in index.consumers(merge.name) if index.nodes[name].op in SWITCHES]
        own = [switch for switch in switches if get_node_name(switch.input[0]) == merge.name]
        if back is None or back.op not in ("NextIteration", "RefNextIteration") or len(own) != 1:
            return None
        conditions.add(get_node_name(own[0].input[1]))
        variables.append((enter, merge, own[0], back))
    predicate = index.nodes.get(next(iter(conditions))) if len(conditions) == 1 else None
    if predicate is None or predicate.op != "LoopCond":
        return None
    return _Loop(variables, constants, predicate.input[0])


def _ends(loop: _Loop) -> set[str]:
    """The names of the nodes at which the inside of a loop ends: what hands its variables and constants in."""
    handed = {node.name for _, merge, switch, _ in loop.variables for node in (merge, switch)}
    return handed | {enter.name for enter in loop.constants}


def _body_edges(loop: _Loop) -> list[str]:
    return [back.input[0] for _, _, _, back in loop.variables]


def _slice(index: GraphIndex, edges: Iterable[str], ends: set[str]) -> dict[str, None]:
    """The nodes that these edges need along data edges, up to the `ends`."""
    found: dict[str, None] = {}
    waiting = [get_node_name(edge) for edge in edges]
    while waiting:
        name = waiting.pop()
        if name not in found and name not in ends and name in index.nodes:
            found[name] = None
            waiting += index.producers(index.nodes[name])
    return found


def _raise_loop(graph_def: Any, frame: str, loop: _Loop) -> Any:
    index = GraphIndex(graph_def)
    handed = [enter for enter, _, _, _ in loop.variables] + loop.constants
    places = {enter.name: place for place, enter in enumerate(handed)}
    merged = {get_tensor_name(merge.name): place for place, (_, merge, _, _) in enumerate(loop.variables)}
    switched = {f"{switch.name}:1": place for place, (_, _, switch, _) in enumerate(loop.variables)}
    read = {get_tensor_name(enter.name): places[enter.name] for enter in loop.constants}
    dtypes = [enter.attr["T"].type for enter in handed]
    shapes = _infer_shapes(graph_def, [enter.input[0] for enter in handed])  # an Enter hides that of a variable
    for _ in range(_MOST_ROUNDS):
        body = _make_function(index, loop, {**switched, **read}, dtypes, shapes, computes_variables=True)
        general = [a.most_specific_compatible_shape(b.shape) for a, b in zip(shapes, body.outputs, strict=True)]
        if [str(shape) for shape in general] == [str(shape) for shape in shapes]:
            break
        shapes = general
    condition = _make_function(index, loop, {**merged, **read}, dtypes, shapes, computes_variables=False)

    inside = {*_slice(index, [*_body_edges(loop), loop.condition], _ends(loop)), *_ends(loop)}
    inside |= {node.name for enter, _, _, back in loop.variables for node in (enter, back)}
    result = protos.GraphDef(versions=graph_def.versions)
    result.library.CopyFrom(graph_def.library)
    for function in (condition, body):
        _add_functions(result.library, function)
    name = find_free_name(f"{frame}/functional", index.nodes)
    loop_node = result.node.add(name=name, op="While", input=[enter.input[0] for enter in handed])
    loop_node.attr["T"].list.type.extend(dtypes)
    loop_node.attr["cond"].func.name = condition.function_def.signature.name
    loop_node.attr["body"].func.name = body.function_def.signature.name
    loop_node.attr["output_shapes"].list.shape.extend(shape.as_proto() for shape in shapes)
    exits = {switch.name: place for place, (_, _, switch, _) in enumerate(loop.variables)}
    gone = index.downstream(inside - exits.keys()) - index.downstream(_exits_of(index, exits))
    for node in graph_def.node:
        place = exits.get(get_node_name(node.input[0])) if node.op in EXITS and node.input else None
        if node.name in inside | gone and place is None:
            continue
        kept = result.node.add()
        kept.CopyFrom(node)
        kept.attr.pop("_class", None)
        kept.input[:] = [
            edge for edge in node.input if not (edge.startswith("^") and get_node_name(edge) in inside | gone)
        ]
        if place is not None:
            change_op(kept, "Identity", [f"{name}:{place}"], T=dtypes[place])
    return result


def _exits_of(index: GraphIndex, switches: Iterable[str]) -> list[str]:
    """The nodes that hand the last values of a loop's variables out."""
    users = [name for switch in switches for name in index.consumers(switch)]
    return [name for name in users if index.nodes[name].op in EXITS]


def _infer_shapes(graph_def: Any, edges: Iterable[str]) -> list[Any]:
    """The tf.TensorShapes of the tensors on these edges."""
    with tf1.Graph().as_default() as graph:
        tf1.import_graph_def(graph_def, name="")
    return [graph.get_tensor_by_name(get_tensor_name(edge)).shape for edge in edges]


def _make_function(
    index: GraphIndex,
    loop: _Loop,
    handed: Mapping[str, int],
    dtypes: list[int],
    shapes: list[Any],
    *,
    computes_variables: bool,
) -> Any:
    """A ConcreteFunction of the loop's variables and constants, which computes the variables anew, or the condition.

    `handed` gives tensors the place of their argument.
    """
    edges = _body_edges(loop) if computes_variables else [loop.condition]
    inner = protos.GraphDef(versions=index.graph_def.versions)
    inner.library.CopyFrom(index.graph_def.library)
    names = [f"argument_{place}" for place in range(len(dtypes))]
    for name, dtype in zip(names, dtypes, strict=True):
        placeholder = inner.node.add(name=name, op="Placeholder")
        placeholder.attr["dtype"].type = dtype
        placeholder.attr["shape"].shape.unknown_rank = True

    def follow(edge: str) -> str:
        place = handed.get(get_tensor_name(edge))
        return edge if place is None else names[place]

    for name in _slice(index, edges, _ends(loop)):
        node = inner.node.add()
        node.CopyFrom(index.nodes[name])
        node.attr.pop("_class", None)  # the nodes that it is to be near may be elsewhere
        node.input[:] = [follow(edge) for edge in list_data_edges(node)]
    fetched = [get_tensor_name(follow(edge)) for edge in edges]
    if computes_variables:  # a While hands everything on
        fetched += [f"{name}:0" for name in names[len(edges) :]]

    def call(*arguments: Any) -> Any:
        given = {f"{name}:0": value for name, value in zip(names, arguments, strict=True)}
        return tf1.import_graph_def(inner, given, fetched, name="")

    specs = [tf.TensorSpec(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
    return tf.function(call, autograph=False).get_concrete_function(*specs)


def _add_functions(library: Any, function: Any) -> None:
    known = {held.signature.name for held in library.function}
    for held in (function.function_def, *function.graph.as_graph_def().library.function):
        if held.signature.name not in known:
            library.function.add().CopyFrom(held)
            known.add(held.signature.name)
