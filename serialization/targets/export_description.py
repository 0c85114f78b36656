"""Describes an exported model for its file, and names the step that follows an export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from serialization.console import format_command
from serialization.graph.export_record import make_record, name_in_file
from serialization.graph.row_facts import RowFacts, find_row_facts
from serialization.graph.signature import Signature, bind_signature
from serialization.run.differences import ABSOLUTE, RELATIVE
from serialization.run.given_feeds import make_default
from serialization.sources.from_frozen import PreparedFrozenModel
from serialization.tensorflow import quiet, tf1


def describe_export(
    ready: PreparedFrozenModel,
    inputs: Mapping[str, str],
    outputs: Sequence[str],
    labels: Sequence[str],
    *,
    compared: bool,
    keeps_rows: bool = True,
) -> bytes:
    """The record of a file that is made of this graph.

    `inputs` are the names in the file of the graph's inputs, `outputs` those of the outputs, in order. `compared` says
    that its answers are held to those of the source, `keeps_rows` that the conversion leaves rows as independent as
    they are in the graph.
    """
    with quiet(), tf1.Graph().as_default() as graph:
        tf1.import_graph_def(ready.graph_def, name="")
    shaped = bind_signature(graph, ready.signature)  # with the shapes that TensorFlow infers
    facts = find_row_facts(ready.graph_def, shaped)
    in_file = name_in_file(shaped, inputs, outputs)
    facts = facts if keeps_rows else RowFacts(bounded=facts.bounded)
    defaults = {t.key: make_default(t.default) for t in in_file.inputs if t.default is not None}
    difference = {"absolute": ABSOLUTE, "relative": RELATIVE} if compared else {}
    return make_record(in_file, facts, defaults, difference, labels)


def format_next(flag: str, path: Path, signature: Signature) -> str:
    """The command that goes on with an exported file: the server, or without inputs, which it needs, what shows it."""
    if not signature.inputs:
        return format_command("model_inspect.py", path)
    return format_command("freezemodel_serve.py", flag, path)
