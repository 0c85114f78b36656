"""freezemodel_load.py: the frozen model below its prefix, with values of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Run

from serialization.tensorflow import np

ROWS = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [5] * 10, [9] * 10]


def test_predictions_of_the_example_rows(run: Run, toy: Path) -> None:
    done = run("freezemodel_load")
    assert (done.status, done.stderr) == (0, "")
    assert "prefix/Placeholder/inputs_placeholder:0 float32 [2, 10]" in done.stdout
    assert "prefix/Accuracy/predictions:0 bool [2, 1]\n[[False]\n [ True]]\n" in done.stdout


def test_feed_as_json_npy_and_json_file(run: Run, toy: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.array(ROWS, np.float64))
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    key = "Placeholder/inputs_placeholder"
    np.savez(tmp_path / "rows.npz", rows=np.array(ROWS, np.float32))
    for given in (json.dumps(ROWS), *(f"@{tmp_path}/rows.{kind}" for kind in ("npy", "npz", "json"))):
        for value in (given, f"{key}={given}", f"{key}:0={given}", f"prefix/{key}:0={given}"):
            done = run("freezemodel_load", "--feed", value)
            assert "[[False]\n [ True]\n [ True]]" in done.stdout, value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[[1,2,3]]", "--feed Placeholder/inputs_placeholder[0]: expected 10 values, got 3"),
        (
            "[1,2,3,4,5,6,7,8,9,0]",
            "--feed Placeholder/inputs_placeholder: expected the shape [None, 10], got [10]",
        ),
        (
            '[[1,2,3,4,5,6,7,8,"b",true]]',
            "--feed Placeholder/inputs_placeholder[0][8]: expected a number, got a string",
        ),
        ("y=[[1]]", "--feed y: no such input; the inputs are Placeholder/inputs_placeholder"),
        ("@missing.npy", "missing.npy: No such file or directory"),
    ],
)
def test_a_feed_that_does_not_fit(run: Run, toy: Path, value: str, message: str) -> None:
    done = run("freezemodel_load", "--feed", value)
    assert done.status == 1
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_pickle_is_never_loaded(run: Run, toy: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    done = run("freezemodel_load", "--feed", f"@{tmp_path}/evil.npy")
    assert done.status == 1
    assert "evil.npy holds Python objects, which are not loaded; save numbers or strings" in done.stderr


def test_other_tensors(run: Run, toy: Path) -> None:
    words = ("--frozen-model", toy / "frozen_model.pb", "--inputs", "x=Placeholder/inputs_placeholder")
    done = run("freezemodel_load", *words, "--outputs", "Accuracy/predictions")
    assert done.status == 0
    assert done.stdout.startswith("no --feed, so these values are generated:\nprefix/Placeholder/inputs_placeholder:0 ")


@pytest.mark.parametrize("content", [b"", b"not a graph at all", b"\x0a\xff\xff\xff\xff"])
def test_a_file_that_holds_no_graph(run: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.pb").write_bytes(content)
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb")
    assert done.status == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
