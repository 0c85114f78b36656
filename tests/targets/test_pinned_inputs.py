"""Inputs fixed to values: what follows from them is folded. tests/test_freezemodel_edit.py proves the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from edited_models import dropout, list_ops, prepare, rate, training

from freezemodel_edit import replace_inputs
from serialization.errors import UserError
from serialization.run.given_feeds import parse_pin
from serialization.run.origin import Origin
from serialization.sources.from_frozen import PreparedFrozenModel
from serialization.targets.pinned_inputs import fix_pinned, read_pins, take_defaults
from serialization.tensorflow import tf, tf1


def pin(ready: PreparedFrozenModel, *texts: str) -> PreparedFrozenModel:
    values = read_pins(ready, [parse_pin(text) for text in texts])
    pinned, origin = fix_pinned(ready, None, values, replace_inputs)
    assert origin is None
    return pinned


def test_a_switch_takes_the_branch_out_and_a_rate_of_0_the_layer(tmp_path: Path) -> None:
    def make(x: Any) -> Any:
        share = rate()
        return tf1.cond(training(), lambda: tf.nn.dropout(x, rate=share), lambda: tf.exp(x))

    ready = prepare(tmp_path / "m.pb", dropout(make), inputs="x,training,rate", outputs="y")
    inference = pin(ready, "training=false")
    assert list_ops(inference) == ["Exp", "Identity", "Identity", "Identity", "Placeholder", "Placeholder", "Relu"]
    assert [tensor.key for tensor in inference.signature.inputs] == ["x", "rate"]
    off = list_ops(pin(ready, "training=true", "rate=0"))
    assert not {"RandomUniform", "SelectV2", "Exp"} & set(off)
    assert "RandomUniform" in list_ops(pin(ready, "training=true", "rate=0.5"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("other=1", "--pin other: no such input; the inputs are x, rate"),
        ("rate=[1,2]", "--pin rate: expected"),
        ('rate="a"', "--pin rate: expected a number"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, text: str, said: str) -> None:
    ready = prepare(tmp_path / "m.pb", dropout(lambda x: x * rate()), inputs="x,rate", outputs="y")
    with pytest.raises(UserError, match=said):
        read_pins(ready, [parse_pin(text)])


def test_values_that_contradict_the_shapes_are_refused(tmp_path: Path) -> None:
    def make(x: Any) -> Any:
        return tf.math.top_k(x, tf1.placeholder(tf.int32, [], name="count")).values

    ready = prepare(tmp_path / "m.pb", dropout(make), inputs="x,count", outputs="y")
    assert pin(ready, "count=2").signature.inputs[0].key == "x"
    with pytest.raises(UserError, match=r"^the graph does not take the values of --pin: .*k = 50.*; give others$"):
        pin(ready, "count=50")


def test_a_default_that_the_source_cannot_be_fed_is_refused(tmp_path: Path) -> None:
    ready = prepare(tmp_path / "m.pb", dropout(lambda x: x * tf1.placeholder_with_default(0.5, [], name="keep")))
    pins = [parse_pin("keep=1")]
    assert [tensor.key for tensor in take_defaults(ready, None, pins)[0].signature.inputs] == ["x", "keep"]
    assert take_defaults(ready, None, [parse_pin("x=1")]) == (ready, None)
    with tf1.Graph().as_default() as graph:
        tf1.import_graph_def(ready.graph_def, name="")
    with tf1.Session(graph=graph) as session:
        source = Origin(session, ready.index, ready.signature, dict, repeat=dict)
        with pytest.raises(UserError, match="--pin keep: it has a default value, so it is no input by itself; name it"):
            take_defaults(ready, source, pins)
