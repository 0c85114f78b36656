"""The source as an edit changes it: fed fixed values, with dropout that keeps all, without inputs that do nothing."""

from __future__ import annotations

from typing import Any

import pytest
from edited_models import build, dropout, rate, sign, training

from serialization.errors import UserError
from serialization.graph.dropout import find_dropout
from serialization.graph.graph_index import GraphIndex
from serialization.run.edited_source import fix_inputs, ignore_inputs, keep_all_numbers
from serialization.run.origin import Origin
from serialization.run.predictor import compile_later, open_session
from serialization.tensorflow import np, tf, tf1

X = np.arange(12, dtype="f").reshape(3, 4)


def load(graph_def: Any) -> Origin:
    with tf1.Graph().as_default() as graph:
        tf1.import_graph_def(graph_def, name="")
    session, wanted = open_session(graph, optimize=False), sign(graph_def)
    return Origin(session, GraphIndex(graph_def), wanted, compile_later(session, wanted))


def keys(origin: Origin) -> list[str]:
    return [tensor.key for tensor in origin.signature.inputs]


def test_fixed_inputs_are_fed() -> None:
    origin = load(build(lambda: tf.multiply(tf1.placeholder(tf.float32, [None], name="x"), rate(), name="y")))
    with origin.session:
        fixed = fix_inputs(origin, {"rate": np.float32(3)})
        assert (keys(fixed), fixed.predict({"x": X[0]})["y"].tolist()) == (["x"], [0, 3, 6, 9])


def test_dropout_that_keeps_all_is_run_as_ever_beside_variables() -> None:
    """The copy of the graph reads the variables of the session, whatever they hold."""

    def make() -> None:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        scale = tf1.get_variable("scale", [], initializer=tf1.ones_initializer(), use_resource=True)
        tf.add(tf.nn.dropout(x * scale, 0.5), tf.zeros([4]), name="y")

    with tf1.Graph().as_default() as graph:
        make()
    session, wanted = open_session(graph, optimize=False), sign(graph.as_graph_def())
    index = GraphIndex(graph.as_graph_def())
    origin = Origin(session, index, wanted, compile_later(session, wanted))
    with session:
        session.run(graph.get_operation_by_name("scale/Assign"))
        kept = keep_all_numbers(origin, find_dropout(index, ["y"]), index)
        np.testing.assert_array_equal(kept.predict({"x": X})["y"], X)
        assert kept.repeat is None
        assert not np.array_equal(origin.predict({"x": X})["y"], X)


def test_inputs_that_nothing_takes_are_tried_with_two_values() -> None:
    def make(x: Any) -> Any:
        share = rate()
        return tf1.cond(training(), lambda: tf.nn.dropout(x, rate=share), lambda: x)

    graph_def = dropout(make)
    origin = load(graph_def)
    with origin.session:
        kept = keep_all_numbers(origin, find_dropout(origin.index, ["y"]), origin.index)
        alone = ignore_inputs(kept, ["training", "rate"])
        assert keys(alone) == ["x"]
        np.testing.assert_array_equal(alone.predict({"x": X})["y"], X)
        with pytest.raises(UserError, match="y depends on rate, training without dropout too"):
            ignore_inputs(origin, ["training", "rate"]).predict({"x": X})
