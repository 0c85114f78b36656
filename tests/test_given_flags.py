"""Flags that do not go together, and what is written where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import Run


@pytest.mark.parametrize(
    "words",
    [
        ("freezemodel_save", "--saved-model", "x", "--graph", "y"),
        ("freezemodel_save", "--saved-model", "x", "--checkpoint", "y"),
        ("freezemodel_save", "--tag-set", "serve"),
        ("freezemodel_serve", "--signature", "serving_default"),
        ("freezemodel_serve", "--saved-model", "x", "--checkpoint", "y"),
        ("savedmodel_pretrained", "--image", "x.png", "--feed", "[1]"),
        ("savedmodel_pretrained", "--feed", "[1]", "--std", "2"),
        ("checkpoint_restore", "--tensor", "x", "--ema"),
    ],
)
def test_flags_without_effect_are_refused(run: Run, words: tuple[str, ...]) -> None:
    done = run(*words)
    assert (done.status, done.stdout) == (2, "")
    assert re.fullmatch(r"error: (--[a-z-]+ (is|goes|does)|one model at a time).* lists the flags\n", done.stderr)


def test_a_folder_in_the_place_of_a_file_that_is_written(run: Run, results: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for script, flag in {"onnx_from_frozen": "--onnx", "tflite_from_frozen": "--tflite"}.items():
        done = run(script, flag, tmp_path / "folder")
        assert done.status == 2
        assert done.stderr.startswith(f"error: {flag} names the folder {tmp_path}/folder; name a file in it")
        assert "SavedModel" not in done.stderr
