"""The parts of a copy, and a copy that differs. tests/test_checkpoint_edit.py copies."""

from __future__ import annotations

from pathlib import Path

import graphs
import pytest

import checkpoint_edit
from serialization.errors import UserError
from serialization.files.locate import find_checkpoint
from serialization.sources.edited_names import choose_edited_names
from serialization.targets import checkpoint_copy
from serialization.targets.checkpoint_copy import list_parts, prove_copy
from serialization.tensorflow import tf


def test_parts_are_filled_in_the_order_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_copy, "PART_SIZE", 4000)
    held = find_checkpoint(graphs.save(tmp_path, graphs.every_kind))
    parts = list_parts(held, choose_edited_names(held))
    names = [piece.name for part in parts for piece in part]
    assert names == sorted(names)
    assert len(parts) > 3
    assert all(len(part) == 1 or sum(piece.nbytes for piece in part) <= 4000 for part in parts)
    rows = [piece for part in parts for piece in part if piece.name == "rows"]
    assert [piece.spec for piece in rows] == ["1000 3 0,334:0,3", "1000 3 334,333:0,3", "1000 3 667,333:0,3"]
    assert [piece.nbytes for piece in rows] == [4008, 3996, 3996]


@pytest.mark.parametrize("fault", ["value", "missing", "more", "dtype"])
def test_a_copy_that_differs_is_refused(tmp_path: Path, fault: str) -> None:
    source = tmp_path / "m"
    tensors = {"a": tf.constant([1.0, 0.0]), "b": tf.constant([2])}
    save = tf.raw_ops.SaveV2
    save(prefix=str(source), tensor_names=[*tensors], shape_and_slices=["", ""], tensors=[*tensors.values()])
    held = find_checkpoint(source)
    names = choose_edited_names(held, [("a", "c")])
    parts = list_parts(held, names)
    checkpoint_edit.copy(held, parts, tmp_path / "good")
    line = prove_copy(held, names, parts, tmp_path / "good")
    assert line == "2 variables read back, the same bits, and nothing else"
    wrong = {"c": tensors["a"], "b": tensors["b"]}
    wrong |= {
        "value": {"c": tf.constant([1.0, -0.0])},
        "more": {"d": tensors["a"]},
        "dtype": {"b": tf.constant([2.0])},
    }.get(fault, {})
    if fault == "missing":
        del wrong["b"]
    bad = tmp_path / "bad"
    save(prefix=str(bad), tensor_names=[*wrong], shape_and_slices=[""] * len(wrong), tensors=[*wrong.values()])
    what = "c came back from the copy with another value" if fault == "value" else "came back with other variables"
    with pytest.raises(UserError, match=f"{what}; nothing was written"):
        prove_copy(held, names, parts, bad)
