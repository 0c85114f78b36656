"""Generated feeds of several inputs fit together."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Run

from serialization.errors import UserError
from serialization.graph.signature import Signature, Tensor
from serialization.run.generated_feeds import generate_attempts, generate_feed
from serialization.tensorflow import tf, tf1


@pytest.mark.parametrize("names", [("x/indices", "x/values", "x/shape"), ("x", "x_1", "x_2")])
def test_a_sparse_placeholder_gets_parts_that_fit_together(
    run: Run, tmp_path: Path, names: tuple[str, str, str]
) -> None:
    with tf1.Graph().as_default() as graph:
        dtypes, shapes = (tf.int64, tf.float32, tf.int64), ([None, 2], [None], [2])
        parts = [tf1.placeholder(d, s, name=n) for d, s, n in zip(dtypes, shapes, names, strict=True)]
        tf.sparse.to_dense(tf.sparse.reorder(tf.SparseTensor(*parts)), name="y")
    (tmp_path / "m.pb").write_bytes(graph.as_graph_def().SerializeToString())
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (0, "")
    assert f"prefix/{names[0]}:0 int64 [1, 2]\n[[0 0]]\n" in done.stdout
    assert f"prefix/{names[2]}:0 int64 [2]\n[1 1]\n" in done.stdout


def test_a_long_sequence_is_tried_at_last_and_no_large_image() -> None:
    for shape, longest in (((None, None, 4), 16384), ((None, None, None, 3), 224)):
        (*_, last) = generate_attempts(Signature((Tensor("x", "x:0", "float32", shape),), ()))
        assert [feed["x"].shape[:2] for feed in last][:2] == [(1, longest), (2, longest)]


def test_three_float_inputs_are_not_a_sparse_tensor() -> None:
    tensors = tuple(Tensor(name, f"{name}:0", "float32", (None,)) for name in ("x", "x_1", "x_2"))
    (first, *_) = generate_feed(Signature(tensors, ()))
    assert [value.shape for value in first.values()] == [(1,), (1,), (1,)]


def test_a_value_that_is_too_large_for_the_memory_is_refused_before_it_is_made() -> None:
    huge = Tensor("x", "x:0", "float32", (None, 1 << 20, 1 << 20))
    with pytest.raises(UserError, match=r"^the model cannot be run here; a value for x takes 4\.4 TB, and there "):
        next(generate_attempts(Signature((huge,), ())))


def test_a_large_value_repeats_its_first_numbers() -> None:
    large = Tensor("x", "x:0", "float32", (1, 3_000_000))
    value = generate_feed(Signature((large,), ()))[0]["x"][0]
    assert value[:4].tolist() == value[1_000_000:1_000_004].tolist()
    assert len(set(value[:4].tolist())) == 4
