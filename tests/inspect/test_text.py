"""The report as text."""

from __future__ import annotations

import re
from pathlib import Path

from conftest import Run

from serialization.tensorflow import tf


def test_the_text_has_version_signature_variables_and_scan(run: Run, toy: Path) -> None:
    done = run("model_inspect", toy / "savedmodel_from_checkpoint")
    assert (done.status, done.stderr) == (0, "")
    assert "savedmodel_from_checkpoint: a SavedModel, binary, " in done.stdout
    assert f"TensorFlow version: {tf.__version__}\n" in done.stdout
    assert re.search(r"^input +inputs_1 +Placeholder/inputs_placeholder:0 +float32 +\[None, 10\]$", done.stdout, re.M)
    assert re.search(r"^NN/W1 +float32 +\[10, 1\] +10$", done.stdout, re.M)
    assert done.stdout.endswith("safety scan: nothing found\n")
