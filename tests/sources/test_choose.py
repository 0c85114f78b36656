"""Inputs and outputs are chosen by name, from the signature, or by inference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Run, freeze, nothing_left

from serialization.tensorflow import tf, tf1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--outputs", "logitz"), "no tensor logitz:0 in the graph; the nearest are logits:0"),
        (("--outputs", "logits:3"), "no tensor logits:3 in the graph; logits has one output, logits:0"),
        (
            ("--outputs", "sparse_softmax_cross_entropy_loss/value", "--inputs", "x"),
            "the outputs also need labels:0 int64 [None]; add it to --inputs",
        ),
    ],
)
def test_wrong_tensor_names_are_refused(run: Run, tmp_path: Path, words: tuple[str, ...], line: str) -> None:
    prefix = graphs.save(tmp_path, graphs.classifier)
    done = freeze(run, prefix, tmp_path, *words)
    assert done.status == 1
    first = done.stderr.splitlines()[0]
    assert first == f"error: {line}" or first.startswith(f"error: {line}, ")
    assert nothing_left(tmp_path)


def test_several_signatures_of_a_checkpoint_are_listed(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, graphs.classifier)

    def record(meta_graph: Any) -> None:
        for key in ("first", "second"):
            meta_graph.signature_def[key].outputs["y"].name = "logits:0"

    graphs.edit_meta(prefix, record)
    done = freeze(run, prefix, tmp_path)
    assert done.stderr == (
        "error: the graph records several signatures and none called serving_default; found first, second; "
        "choose with --inputs and --outputs\n"
    )
    assert freeze(run, prefix, tmp_path, "--outputs", "logits").status == 0


def test_a_python_op_for_a_summary_is_not_an_output(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        graphs.classifier()
        logits = tf1.get_default_graph().get_tensor_by_name("logits:0")
        tf1.summary.scalar("metric", tf1.py_func(lambda x: x.mean(), [logits], tf.float32, name="metric"))
        tf.nn.softmax(logits, name="probabilities")

    prefix = graphs.save(tmp_path, build)
    done = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (0, "")
    assert "inferred output probabilities:0" in done.stdout
