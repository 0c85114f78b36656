"""SSTables are read to their end; a damaged block is reported."""

from __future__ import annotations

import re
from pathlib import Path

import graphs
import pytest
from conftest import Run

from serialization.tensorflow import tf, tf1


@pytest.mark.parametrize("at", [0.8, 0.95])
def test_a_damaged_later_block_of_the_first_format_is_reported(run: Run, tmp_path: Path, at: float) -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 100], name="x")
        for number in range(10):
            x = x @ tf1.get_variable(f"w{number}", [100, 100], use_resource=False)

    prefix = graphs.save(tmp_path, build, write_version=1)
    data = bytearray(prefix.read_bytes())
    data[int(at * len(data))] ^= 1
    prefix.write_bytes(data)
    found = r"the checksum of a block differs, number \d of \d"
    line = rf"{prefix} is damaged or no part of a checkpoint; {found}; copy it here again\n"
    for words in (
        ("checkpoint_restore", "--checkpoint", prefix),
        ("checkpoint_restore", "--checkpoint", prefix, "--tensor", "w1"),
        ("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / "m.pb", "--no-verify"),
    ):
        done = run(*words)
        assert (done.status, re.fullmatch(f"error: {line}", done.stderr) is not None) == (1, True), done.stderr
    assert not (tmp_path / "m.pb").exists()
    assert re.search(line, run("model_inspect", prefix).stdout)
