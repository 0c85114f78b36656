"""Help, versions, and words that no flag takes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, Run

from serialization import __version__
from serialization.checks.confinement import describe_confinement
from serialization.parser import make_parser


def test_help_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    docstring = "One sentence.\n\n    python script.py --kept-as-it-is" + " word" * 30 + "\n\n" + "prose " * 50
    for columns in (80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = make_parser(docstring, "feed", "checkpoint", "top", timeout=30.0).format_help().splitlines()
        widths = [len(line) for line in lines if "kept-as-it-is" not in line]
        assert columns - 12 < max(widths) <= columns
        assert "    python script.py --kept-as-it-is" + " word" * 30 in lines
    flags_in_order = [line.split()[0] for line in lines if line.startswith("  --")]
    assert flags_in_order == ["--version", "--checkpoint", "--feed", "--top", "--timeout"]
    assert [line for line in lines if line.endswith(":")] == ["options:", "model:", "inputs and outputs:", "server:"]
    assert any(line.endswith("is cancelled (default: 30)") for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--output x", "unknown flag --output; the nearest is --outputs"),
        ("--output=x", "unknown flag --output; the nearest is --outputs"),
        ("-outputs x", "unknown flag -outputs; the nearest is --outputs"),
        ("--frozen_model x", "unknown flag --frozen_model; the nearest is --frozen-model"),
        ("--model x", "unknown flag --model; the nearest are --frozen-model, --trust-model"),
        ("--quantize", "unknown flag --quantize"),
        ("frozen_model.pb", "{0} stands without a flag; it is a frozen model (a GraphDef); use --frozen-model {0}"),
        ("rows.npy", "{0} stands without a flag; it is a .npy file; use --feed @{0}"),
        ("graph.ckpt", "{0} stands without a flag; it is a checkpoint, which no flag of this script takes"),
        ("savedmodel_from_source", "{0} stands without a flag; it is a SavedModel, which no flag of this script takes"),
        ("checkpoint.d", "{0} stands without a flag; it is no file"),
    ],
)
def test_a_word_that_no_flag_takes_is_explained(
    run: Run, made: Path, monkeypatch: pytest.MonkeyPatch, words: str, message: str
) -> None:
    monkeypatch.chdir(made)
    done = run("freezemodel_load", *words.split())
    assert (done.status, done.stdout) == (2, "")
    assert re.fullmatch(rf"error: {re.escape(message.format(words))}; `.* --help` lists the flags\n", done.stderr)


@pytest.mark.parametrize(
    ("path", "flag"),
    [
        (".", "--checkpoint"),
        ("graph.ckpt", "--checkpoint"),
        ("graph.ckpt.meta", "--checkpoint"),
        ("graph.ckpt.index", "--checkpoint"),
        ("graph.ckpt.data-00000-of-00001", "--checkpoint"),
        ("checkpoint", "--checkpoint"),
        ("frozen_model.pb", "--frozen-model"),
        ("savedmodel_from_frozen", "--saved-model"),
        ("savedmodel_from_frozen/saved_model.pb", "--saved-model"),
    ],
)
def test_a_path_without_its_flag_names_the_flag(
    run: Run, made: Path, monkeypatch: pytest.MonkeyPatch, path: str, flag: str
) -> None:
    monkeypatch.chdir(made)
    done = run("freezemodel_save", path)
    assert done.status == 2
    assert f"; use {flag} {path}; " in done.stderr


def test_a_script_that_takes_one_path(run: Run) -> None:
    done = run("model_inspect", "a", "b")
    assert done.status == 2
    assert done.stderr.startswith("error: b is one path too many; give one; ")


def test_the_version_without_tensorflow(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-B", str(PROJECT / "tour.py"), "--version"]  # -S: without site-packages
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"serialization {__version__}, TensorFlow is not installed\n{describe_confinement()}\n"
