"""Frozen graphs are prepared for import."""

from __future__ import annotations

from pathlib import Path

import graphs
from conftest import Run


def test_a_frozen_graph_with_reference_dtypes_is_repaired(run: Run, tmp_path: Path) -> None:
    (tmp_path / "their.pb").write_bytes(graphs.freeze(graphs.batch_norm, ["y"]).SerializeToString())
    done = run("freezemodel_load", "--frozen-model", tmp_path / "their.pb", "--outputs", "y")
    assert (done.status, done.stderr) == (0, "")
    assert "repaired: replaced 1 RefSwitch op with Switch" in done.stdout
