"""What a GraphDef is made of: reading one, and telling variables and training ops from the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serialization import cli
from serialization.tensorflow import tf1

_VARIABLES = {"Variable", "VariableV2", "VarHandleOp", "VarIsInitializedOp", "ReadVariableOp", "AutoReloadVariable"}


def read_graph_def(path: Path) -> Any:
    """The GraphDef in a binary file. Raises cli.Error where the file holds none."""
    from google.protobuf.message import DecodeError

    try:
        graph_def = tf1.GraphDef.FromString(path.read_bytes())
    except DecodeError:
        raise cli.Error(f"{cli.show(path)} holds no GraphDef; name a frozen model") from None
    if not graph_def.node:
        raise cli.Error(f"{cli.show(path)} holds no nodes; it is empty or no GraphDef")
    return graph_def


def variable_nodes(graph_def: Any) -> list[str]:
    """The names of the nodes that hold or read a variable."""
    return [node.name for node in graph_def.node if node.op in _VARIABLES]


def training_nodes(graph_def: Any) -> list[str]:
    """The names of the nodes that change a variable: assignments and the optimizers' Apply ops."""
    return [node.name for node in graph_def.node if node.op.startswith(("Assign", "Apply", "ResourceApply", "Scatter"))]
