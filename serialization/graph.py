"""What a GraphDef is made of: reading one, and telling variables and training ops from the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serialization import cli
from serialization.kinds import Kind, kind_of
from serialization.messages import read_message

_VARIABLES = {"Variable", "VariableV2", "VarHandleOp", "VarIsInitializedOp", "ReadVariableOp", "AutoReloadVariable"}


def read_graph_def(path: Path) -> Any:
    """The GraphDef in a file, binary or text, of its own or in a MetaGraphDef. Raises cli.Error if there is none."""
    kind = kind_of(path)
    message = read_message(path, kind)
    if kind is Kind.SAVED_MODEL:
        raise cli.Error(f"{cli.show(path)} is a SavedModel, not a frozen model; name its folder with --saved-model")
    return message if kind is Kind.GRAPH else message.graph_def


def variable_nodes(graph_def: Any) -> list[str]:
    """The names of the nodes that hold or read a variable."""
    return [node.name for node in graph_def.node if node.op in _VARIABLES]


def training_nodes(graph_def: Any) -> list[str]:
    """The names of the nodes that change a variable: assignments and the optimizers' Apply ops."""
    return [node.name for node in graph_def.node if node.op.startswith(("Assign", "Apply", "ResourceApply", "Scatter"))]
