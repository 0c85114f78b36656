"""What is said of a result: proved, measured, not verified and why; a result that differs is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from serialization.errors import UserError
from serialization.graph.graph_index import GraphIndex
from serialization.graph.signature import make_signature
from serialization.run.origin import Origin
from serialization.run.verify import prove_same
from serialization.tensorflow import tf, tf1

Answer = Callable[[Any], dict[str, Any]]


def make_origin(predict: Answer, **how: Any) -> Origin:
    """A source with the signature of a model that doubles two numbers, and with these answers."""
    with tf1.Graph().as_default() as graph:
        tf.multiply(tf1.placeholder(tf.float32, [None, 2], name="x"), 2, name="y")
    return Origin(None, GraphIndex(graph.as_graph_def()), make_signature(graph, "x", "y"), predict, **how)


def double(feeds: Any) -> dict[str, Any]:
    return {"y": feeds["x"] * 2}


def opens(plain: Answer, optimized: Answer) -> Any:
    """The written model, without and with TensorFlow's optimizers."""

    @contextmanager
    def open_result(optimize: bool) -> Iterator[Answer]:
        yield optimized if optimize else plain

    return open_result


def test_a_result_is_proved_and_what_the_optimizers_do_is_told() -> None:
    lines = prove_same(make_origin(double), opens(double, lambda feeds: {"y": feeds["x"] * 2.1})).splitlines()
    assert lines[0].startswith("proved: y: the same bits as the source, on ")
    assert lines[0].endswith(" generated for x")
    assert lines[1].startswith("TensorFlow's default graph optimizers move y by up to ")


def test_a_result_that_differs_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"^the result differs from its source: y is off by up to .*nothing was written"
    ):
        prove_same(make_origin(double), opens(lambda feeds: {"y": feeds["x"]}, double))


def test_a_source_that_does_not_run_is_not_said_to_be_proved() -> None:
    def fail(_: Any) -> dict[str, Any]:
        raise tf.errors.InvalidArgumentError(None, None, "x must be a picture")

    line = prove_same(make_origin(fail), opens(double, double))
    assert line.startswith("not verified: the source does not run on generated feeds: x must be a picture")


def test_a_result_without_state_of_a_model_that_changes_its_variables_is_refused() -> None:
    origin = make_origin(double, repeat=lambda feeds: {"y": feeds["x"] * 2 + 1})
    with pytest.raises(UserError, match="the model changes its variables as it runs, and y with them"):
        prove_same(origin, opens(double, double), steady=True)
