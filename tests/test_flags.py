"""A wrong value of a flag ends a script with status 2 and one line that says what was expected."""

from __future__ import annotations

import pytest
from conftest import Run


@pytest.mark.parametrize(
    "words",
    [
        ("freezemodel_load", "--feed", "[[1,2"),
        ("freezemodel_load", "--inputs", "a=x,a=y"),
        ("checkpoint_restore", "--tensor", ""),
        ("checkpoint_restore", "--rename", "old"),
        ("savedmodel_pretrained", "--tag-set", ","),
        ("savedmodel_pretrained", "--signature", ""),
        ("model_inspect", "--dot", ""),
    ],
)
def test_a_wrong_value_ends_a_script_with_status_2(run: Run, words: tuple[str, ...]) -> None:
    done = run(*words)
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: argument {words[1]}: expected ") or "two tensors" in done.stderr
    assert done.stderr.endswith(" --help` lists the flags\n")
    assert done.stderr.count("\n") == 1
