"""Dropout switched off in a frozen graph, with the inputs that it alone took, and what is random besides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from edited_models import DROPOUT, beside_noise, dropout, list_ops, prepare, training

from serialization.errors import UserError
from serialization.targets.removed_dropout import switch_dropout_off
from serialization.tensorflow import tf, tf1


def test_the_inputs_that_dropout_alone_took_go(tmp_path: Path) -> None:
    graph_def = dropout(DROPOUT["by a switch"][0])
    ready = prepare(tmp_path / "m.pb", graph_def, inputs="x,training", outputs="y")
    off, _ = switch_dropout_off(ready, None)
    assert [tensor.key for tensor in off.signature.inputs] == ["x"]
    assert list_ops(off) == ["Identity", "Identity", "Placeholder", "Relu"]
    assert off.changes == (
        "dropout off in 1 layer, of the random ops cond/dropout/random_uniform/RandomUniform: the result is compared "
        "with the source in which each of them keeps every number, at a scale of 1",
        "left out the input training, which the dropout alone took",
    )


def test_an_input_that_something_else_takes_stays(tmp_path: Path) -> None:
    def make(x: Any) -> Any:
        on = training()
        return tf1.cond(on, lambda: tf.nn.dropout(x, 0.5), lambda: x) + tf.cast(on, tf.float32)

    graph_def = dropout(make)
    off, _ = switch_dropout_off(prepare(tmp_path / "m.pb", graph_def, inputs="x,training", outputs="y"), None)
    assert [tensor.key for tensor in off.signature.inputs] == ["x", "training"]


def test_other_random_ops_are_named(tmp_path: Path) -> None:
    off, _ = switch_dropout_off(prepare(tmp_path / "m.pb", dropout(beside_noise), outputs="y"), None)
    assert off.changes[-1] == "random, and no dropout: noise/RandomStandardNormal (RandomStandardNormal)"


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("noise", r"found random_uniform/RandomUniform \(RandomUniform\), which is none; leave the flag out"),
        ("without a scale", r"found random_uniform/RandomUniform \(RandomUniform\), which is none"),
        ("", "found no random op"),
    ],
)
def test_without_dropout_there_is_nothing_to_do(tmp_path: Path, form: str, said: str) -> None:
    graph_def = dropout(DROPOUT[form][0] if form else tf.tanh)
    with pytest.raises(UserError, match=f"^--no-dropout: the outputs depend on no dropout layer; {said}"):
        switch_dropout_off(prepare(tmp_path / "m.pb", graph_def, outputs="y"), None)
