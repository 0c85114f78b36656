"""The report as text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from serialization.checks.confinement import describe_confinement
from serialization.inspect.text import print_candidates, print_findings, print_heading, print_rows
from serialization.tensorflow import tf


def test_the_text_has_version_signature_variables_and_scan(run: Run, toy: Path) -> None:
    done = run("model_inspect", toy / "savedmodel_from_checkpoint")
    assert (done.status, done.stderr) == (0, "")
    assert "savedmodel_from_checkpoint: a SavedModel, binary, " in done.stdout
    assert f"TensorFlow version: {tf.__version__}\n" in done.stdout
    assert re.search(r"^input +inputs_1 +Placeholder/inputs_placeholder:0 +float32 +\[None, 10\]$", done.stdout, re.M)
    assert re.search(r"^NN/W1 +float32 +\[10, 1\] +10$", done.stdout, re.M)
    assert done.stdout.endswith(f"safety scan: nothing found\n{describe_confinement()}\n")


Printed = pytest.CaptureFixture[str]


def test_a_table_is_cut_at_the_most_rows(capsys: Printed) -> None:
    print_rows(("op", "count"), [(f"op{n}", n) for n in range(1005)], most=2)
    assert capsys.readouterr().out == "\nop   count\nop0  0\nop1  1\nand 1,003 more; --json lists all\n"
    print_rows(("op", "count"), [])
    assert capsys.readouterr().out == "", "no table without rows"


def test_control_characters_are_not_printed(capsys: Printed) -> None:
    print_rows(("name",), [("evil\x1b[2J\n",)])
    print_findings(["would write: \x1b[2J"])
    assert capsys.readouterr().out == "\nname\nevil?[2J?\n\n1 finding:\n  would write: ?[2J\n"


@pytest.mark.parametrize(
    ("count", "first", "last"),
    [
        (0, "safety scan: nothing found", ""),
        (1, "1 finding:", "  0"),
        (40, "40 findings:", "  39"),
        (42, "42 findings:", "  and 2 more; --json lists all"),
    ],
)
def test_findings_are_counted_and_listed(capsys: Printed, count: int, first: str, last: str) -> None:
    print_findings([str(number) for number in range(count)])
    _, heading, *lines = capsys.readouterr().out.splitlines()
    assert (heading, lines[-1] if lines else "") == (first, last)


def heading(**fields: Any) -> dict[str, Any]:
    report = {"kind": "checkpoint", "path": "m", "format": "V2", "bytes": 1, "files": [{}], "notes": ["a note"]}
    return {**report, "tensorflow_version": None, "exported": None, **fields}


def test_the_heading_tells_kind_size_and_version(capsys: Printed) -> None:
    print_heading(heading())
    assert (
        capsys.readouterr().out == "m: a checkpoint, V2, 1 byte in 1 file\nTensorFlow version: not recorded\na note\n"
    )
    print_heading(heading(kind="graph_def", bytes=2000, files=[{}, {}], notes=[], tensorflow_version="1.\x1b5"))
    assert capsys.readouterr().out == "m: a GraphDef (frozen model), V2, 2 kB in 2 files\nTensorFlow version: 1.?5\n"


@pytest.mark.parametrize(("ambiguous", "role"), [(False, "output"), (True, "output (ambiguous)")])
def test_candidates_are_shown_with_their_reasons(capsys: Printed, ambiguous: bool, role: str) -> None:
    listed = {
        side: [{"role": r, "name": f"{side}:0", "dtype": "float32", "shape": [None], "why": "because"}]
        for side, r in (("inputs", "feature"), ("outputs", "output"), ("others", "label"))
    }
    print_candidates({**listed, "ambiguous": ambiguous})
    rows = [line.split("  ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == ["feature", role, "less likely: label"]
    assert {row[-1] for row in rows} == {"because"}
