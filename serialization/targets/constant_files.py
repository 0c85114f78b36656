"""Replaces the content that a graph reads from a file by a constant: a frozen model is one file.

The file is an asset of the SavedModel, in the private copy of it that is loaded; with --trust-model, any that the graph
names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serialization.console import format_size, make_printable, show_path
from serialization.errors import UserError
from serialization.formats import dtypes, protos
from serialization.formats.messages import LIMIT
from serialization.graph.const_nodes import make_constant, read_strings
from serialization.graph.graph_def import find_free_name, list_control_edges, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.tensorflow import np

_READ_FILE = "ReadFile"
_WAYS = ("Identity", "Switch", "RefSwitch", "Enter")  # into a branch or a loop


def inline_files(index: GraphIndex) -> list[str]:
    """Replace, in place, each ReadFile whose file name is a constant by a constant. Returns a line for each.

    Raises UserError if a file is missing, or if they are too much for a GraphDef.
    """
    notes, total = [], index.graph_def.ByteSize()
    for node in [node for node in index.graph_def.node if node.op == _READ_FILE]:
        source, moves = _follow(index, node)
        names = read_strings(source)
        if len(names) != 1:
            continue
        path = Path(names[0].decode(errors="surrogateescape"))
        if not path.is_file():
            raise UserError(
                f"{make_printable(node.name)} reads the file {show_path(path)}, which is missing; copy it there"
            )
        total += path.stat().st_size
        if total > LIMIT:
            raise UserError(
                f"the model is too large to be frozen; with the file that {make_printable(node.name)} reads it has "
                f"{format_size(total)}, a GraphDef at most 2.15 GB; keep it as a SavedModel"
            )
        content = path.read_bytes()
        control = list_control_edges(node)
        if moves:  # a constant that waits for the name is alive where the name is, in the same turn of a loop
            waits = protos.NodeDef(name=find_free_name(f"{node.name}/name", index.nodes), op="Identity")
            waits.input.append(list_data_edges(node)[0])
            waits.attr["T"].type = dtypes.STRING
            index.graph_def.node.append(waits)
            control = [*control, f"^{waits.name}"]
        node.CopyFrom(make_constant(node.name, np.array(content, dtype=object), dtypes.STRING))
        node.input.extend(control)
        notes.append(f"inlined the file that {make_printable(node.name)} reads: {format_size(len(content))}")
    return notes


def _follow(index: GraphIndex, reader: Any) -> tuple[Any, bool]:
    """The node that gives the file name, and whether the name goes into a branch or a loop on its way."""
    node, moves = index.producer(list_data_edges(reader)[0]), False
    while node is not None and node.op in _WAYS:
        moves = moves or node.op != "Identity"
        node = index.producer(list_data_edges(node)[0])
    return node, moves
