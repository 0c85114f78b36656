"""Protobufs are read in their binary and in their text form."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import Run

from serialization.formats import protos


def test_text_protobufs_load(run: Run, toy: Path, tmp_path: Path) -> None:
    from google.protobuf import text_format

    graph_def = protos.GraphDef.FromString((toy / "frozen_model.pb").read_bytes())
    (tmp_path / "model.pb").write_text(text_format.MessageToString(graph_def))
    names = ("--inputs", "x=Placeholder/inputs_placeholder", "--outputs", "Accuracy/predictions")
    done = run("freezemodel_load", "--frozen-model", tmp_path / "model.pb", *names, "--feed", json.dumps([[9] * 10]))
    assert (done.status, done.stderr) == (0, "")
    assert "[[ True]]" in done.stdout
