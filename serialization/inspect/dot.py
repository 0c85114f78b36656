"""Draws a graph in Graphviz's language, with its nodes folded into boxes by their name scopes.

`dot -Tsvg graph.dot > graph.svg` draws it. Language: https://graphviz.org/doc/info/lang.html.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from serialization.console import format_count, make_printable
from serialization.graph import op_sets
from serialization.graph.graph_def import get_node_name
from serialization.graph.graph_index import GraphIndex
from serialization.graph.signature import show_shape
from serialization.graph.tensors import describe_tensor

_BOXES = 40  # a picture of more is hard to read
_DETAILS = op_sets.IDENTITIES | op_sets.VARIABLE_READERS | op_sets.ASSIGNMENTS | {"Const", "NoOp"}
# Ops between the ones that do the work: a label names them only if the box has no others.
_PLUMBING = _DETAILS | op_sets.VARIABLES | op_sets.VIEWS | op_sets.PASS_THROUGH | op_sets.SHAPES | op_sets.LIKES
_PLUMBING |= {"StridedSlice", "Slice", "Pack", "Cast", "LoopCond", "Fill", "Range", "Rsqrt", "Transpose"}
_PLUMBING |= {"LogicalAnd", "Less", "Equal", "GreaterEqual", "Assert"}
_GREEN, _YELLOW, _ROSE = "#dff3e4", "#fdf1da", "#fbe4e6"


@dataclass
class _Box:
    """Nodes that are drawn as one box."""

    name: str
    nodes: list[Any] = field(default_factory=list)
    is_output: bool = False

    @property
    def ops(self) -> Counter[str]:
        return Counter(node.op for node in self.nodes)


def draw_graph(index: GraphIndex, outputs: Iterable[str], boxes: int = _BOXES) -> str:
    """The nodes that the outputs need, in Graphviz's language and about `boxes` boxes; without outputs all nodes.

    If the graph only calls a function, as exports of TensorFlow 2 do, the function is drawn.
    """
    wanted = {get_node_name(output) for output in outputs}
    needed = index.reachable(wanted)
    name, nodes = _body(index, [node for node in index.graph_def.node if node.name in needed or not needed])
    groups = _fold(nodes, boxes)
    drawn: dict[str, _Box] = {}
    for node in nodes:
        box = drawn.setdefault(groups[node.name], _Box(groups[node.name]))
        box.nodes.append(node)
        box.is_output |= node.name in wanted
    edges: Counter[tuple[str, str]] = Counter()
    for node in nodes:
        for source in dict.fromkeys(index.producers(node)):
            if source in groups and groups[source] != groups[node.name]:
                edges[groups[source], groups[node.name]] += 1
    lines = [
        "digraph model {",
        f'  label={_quote(name)}; labelloc=t; rankdir=TB; fontname="sans-serif"; fontsize=11;',
        '  node [shape=box, style="rounded,filled", fillcolor="#eef3fb", fontname="sans-serif", fontsize=11];',
        '  edge [color="#667085", fontname="sans-serif", fontsize=9];',
    ]
    for box in drawn.values():
        lines.append(f"  {_quote(box.name)} [label={_quote(_label(box))}{_look(box)}];")
    for (source, target), count in edges.items():
        lines.append(f"  {_quote(source)} -> {_quote(target)}{f' [label={_quote(str(count))}]' if count > 1 else ''};")
    return "\n".join([*lines, "}", ""])


def _body(index: GraphIndex, nodes: list[Any]) -> tuple[str, list[Any]]:
    """The title and the nodes to draw: the given ones, or those of the largest function they call, if it has more."""
    called = index.called_functions(nodes)
    largest = max(called, key=lambda name: len(index.functions[name].node_def), default=None)
    if largest is None or len(index.functions[largest].node_def) <= len(nodes):
        part = " that the outputs need" if len(nodes) < len(index.nodes) else ""
        return (
            f"{len(nodes):,} of {format_count(len(index.nodes), 'node')}{part}; a number at an arrow counts tensors",
            nodes,
        )
    body = index.functions[largest].node_def
    return f"function {largest}: {format_count(len(body), 'node')}", list(body)


def _fold(nodes: list[Any], boxes: int) -> dict[str, str]:
    """Each node's box: the deepest scopes that leave few enough boxes, then neighbours merged."""
    groups = _by_scope(nodes, 1)
    for depth in range(2, 8):
        deeper = _by_scope(nodes, depth)
        if len(set(deeper.values())) > boxes:
            break
        groups = deeper
    return _merge(nodes, groups, boxes)


def _by_scope(nodes: list[Any], depth: int) -> dict[str, str]:
    users: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        for edge in node.input:
            users[get_node_name(edge)].append(node.name)
    groups = {node.name: "/".join(node.name.split("/")[:depth]) for node in nodes}
    # A constant or a variable outside of all scopes goes into the box of its first consumer.
    for node in reversed(nodes):
        alone = "/" not in node.name and (node.op in _DETAILS or node.op in op_sets.VARIABLES)
        if alone and users[node.name]:
            groups[node.name] = groups.get(users[node.name][0], groups[node.name])
    return groups


def _merge(nodes: list[Any], groups: dict[str, str], boxes: int) -> dict[str, str]:
    """Merge boxes into their only consumers: boxes of constants and variables, then the smallest until few are left.

    Inputs keep their own boxes.
    """
    members = Counter(groups.values())
    keep = {groups[node.name] for node in nodes if node.op in op_sets.PLACEHOLDERS}
    after: dict[str, set[str]] = defaultdict(set)
    for node in nodes:
        for edge in node.input:
            source = groups.get(get_node_name(edge))
            if source is not None and source != groups[node.name]:
                after[source].add(groups[node.name])
    into: dict[str, str] = {}

    def where(group: str) -> str:
        while group in into:
            group = into[group]
        return group

    plain = set(members) - {groups[node.name] for node in nodes if node.op not in _DETAILS | op_sets.VARIABLES}
    for group, _ in sorted(members.items(), key=lambda item: (item[0] not in plain, item[1])):
        if group not in plain and len(members) - len(into) <= boxes:
            break
        users = {where(user) for user in after[group]} - {group}
        if len(users) == 1 and group not in keep:
            into[group] = users.pop()
    return {name: where(group) for name, group in groups.items()}


def _label(box: _Box) -> str:
    if len(box.nodes) == 1:
        (node,) = box.nodes
        tensor = describe_tensor({"": node}, "")
        if node.op in op_sets.PLACEHOLDERS:
            return f"{box.name}\n{tensor.dtype} {show_shape(tensor.shape)}"
        return box.name if box.name.rpartition("/")[2] == node.op else f"{box.name}\n{node.op}"
    telling = [(op, n) for op, n in box.ops.most_common() if op not in _PLUMBING][:4]
    telling = telling or [(op, n) for op, n in box.ops.most_common() if op not in _DETAILS | op_sets.VARIABLES][:3]
    words = [f"{op} {n}" if n > 1 else op for op, n in telling]
    variables = sum(n for op, n in box.ops.items() if op in op_sets.VARIABLES)
    words += [format_count(variables, "variable")] if variables else []
    if not words:
        words = [f"{op} {n}" if n > 1 else op for op, n in box.ops.most_common(2)]
    if words == [box.name.rpartition("/")[2]]:
        return box.name
    return f"{box.name}\n{', '.join(words)}" + (f"\n{len(box.nodes)} nodes" if len(box.nodes) > 9 else "")


def _look(box: _Box) -> str:
    if box.is_output:
        return f', fillcolor="{_ROSE}", penwidth=2'
    if any(op in op_sets.PLACEHOLDERS for op in box.ops):
        return f', shape=ellipse, fillcolor="{_GREEN}"'
    return f', fillcolor="{_YELLOW}"' if any(op in op_sets.VARIABLES for op in box.ops) else ""


def _quote(text: str) -> str:
    lines = [make_printable(line, 80).replace("\\", "\\\\").replace('"', '\\"') for line in text.split("\n")]
    return '"' + "\\n".join(lines) + '"'
