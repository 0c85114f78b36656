"""The values of a checkpoint are printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Run

from serialization.tensorflow import tf1


def test_table_has_all_variables_of_the_index(run: Run, toy: Path) -> None:
    rows = {line.split()[0]: line for line in run("checkpoint_restore").stdout.splitlines() if "[" in line}
    reader = tf1.train.load_checkpoint(str(toy / "graph.ckpt"))
    assert set(reader.get_variable_to_shape_map()) <= set(rows)
    assert rows["NN/W1"].split()[1:4] == ["float32", "[10,", "1]"]
    assert rows["global_step"].split() == ["global_step", "int64", "[]", "[3000]"]


@pytest.mark.parametrize("name", ["NN/W1", "NN/W1:0"])
def test_one_variable_is_printed_whole(run: Run, toy: Path, name: str) -> None:
    done = run("checkpoint_restore", "--tensor", name)
    reader = tf1.train.load_checkpoint(str(toy / "graph.ckpt"))
    assert done.stdout == f"NN/W1 float32 [10, 1]\n{reader.get_tensor('NN/W1')}\n"


def test_an_unknown_variable_is_one_line(run: Run, toy: Path) -> None:
    done = run("checkpoint_restore", "--tensor", "NN/W3")
    assert done.status == 1
    assert done.stderr.startswith("error: no variable NN/W3 in ")
    assert "NN/W1" in done.stderr
