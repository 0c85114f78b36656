"""run/training_step.py: which variables one step moves, and what is said of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from serialization.errors import UserError
from serialization.graph.signature import Signature, make_signature
from serialization.run.generated_feeds import generate_attempts
from serialization.run.training_step import train_one_step
from serialization.tensorflow import np, tf, tf1


def get(name: str, *shape: int, dtype: Any = None, trainable: bool = True) -> Any:
    values = tf1.random_normal_initializer(seed=1)
    return tf1.get_variable(name, shape, dtype or tf.float32, values, trainable=trainable, use_resource=True)


@contextmanager
def opened(build: Callable[[], None], outputs: str) -> Iterator[tuple[Any, Signature, dict[str, Any]]]:
    """A session in which the graph is initialized, its signature, and the values of its variables."""
    with tf1.Graph().as_default() as graph, tf1.Session() as session:
        build()
        session.run(tf1.global_variables_initializer())
        before = {variable.op.name: session.run(variable) for variable in tf1.global_variables()}
        yield session, make_signature(graph, "x", outputs), before


def train(build: Callable[[], None], outputs: str = "y") -> list[str]:
    with opened(build, outputs) as (session, wanted, before):

        def read(name: str, first: int, count: int) -> Any:
            return before[name].reshape(-1)[first : first + count]

        return train_one_step(session, wanted, generate_attempts(wanted), read, generated=True)


def test_all_that_is_trainable_moves_and_nothing_else() -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        y = (x - get("mean", 4, trainable=False)) @ get("w", 4, 2) + get("b", 2)
        half = tf.cast(y, tf.float16) * get("half", 2, dtype=tf.float16)
        tf.nn.embedding_lookup(get("rows", 5, 2), tf.argmax(half, 1), name="looked_up")
        tf.identity(half, name="y")

    (line,) = train(build, "y,looked_up")
    done = "one step of gradient descent on y, looked_up, on 1,000 rows"
    assert line == f"proved: {done}, moved 4 of 4 trainable variables, and nothing else"


def test_integers_are_computed_from_floats_that_learn() -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        logits = tf.matmul(x, get("w", 4, 2), name="logits")
        tf.argmax(logits, 1, name="y")

    (line,) = train(build)
    assert "gradient descent on logits, " in line
    assert "moved 1 of 1 trainable variable, and" in line


def test_what_does_not_learn_is_named() -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        y = x @ get("w", 4, 2) + tf.round(get("rounded", 2)) * 0.0
        z = tf.cast(tf.cast(get("cut", 2), tf.int32), tf.float32)
        tf.add(y, z + tf.nn.relu(get("dead", 2) - 100.0), name="y")

    assert train(build) == [
        "proved: one step of gradient descent on y, on 1,000 rows, moved 1 of 4 trainable variables, and nothing else",
        "not trained: rounded, cut: no gradient leads to it from the outputs",
        "not trained: dead: a gradient of 0 on these rows",
    ]


def test_a_saturated_sigmoid_is_fed_smaller_numbers() -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        tf.sigmoid(20 * tf.matmul(x, 2 + tf.abs(get("w", 4, 1))), name="y")

    (line,) = train(build)
    assert line.startswith("proved: ")


def in_a_loop() -> None:
    x = tf1.placeholder(tf.float32, [None, 2], name="x")
    inside, behind = get("inside", 2, 2), get("behind", 2, 2)
    tf1.disable_control_flow_v2()
    try:
        y = tf1.while_loop(lambda n, _: n < 3, lambda n, y: (n + 1, tf.tanh(y @ inside)), (0, x))[1]
    finally:
        tf1.enable_control_flow_v2()
    tf.matmul(y, behind, name="y")


def test_loops_of_tensorflow_1_keep_what_is_in_them_from_learning() -> None:
    """The graph goes through a GraphDef, as that of a frozen model does, and loses the contexts of its loops."""
    with tf1.Graph().as_default() as built:
        in_a_loop()
        known = tf1.train.export_meta_graph(clear_extraneous_savers=True)
    del built, known.collection_def["while_context"]
    first, second = train(lambda: tf1.train.import_meta_graph(known))
    assert "moved 1 of 2 trainable variables" in first
    assert second.startswith("not trained: inside: used in a loop of TensorFlow 1")


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda x: tf1.unique(tf.reshape(x * get("w", 4), [-1]))[0], "No gradient defined for operation"),
        (lambda x: tf.shape(x * get("w", 4)), "of dtype int32, and are computed from no floats"),
        (lambda x: x * get("w", 4, trainable=False), "none of the variables is trainable"),
    ],
)
def test_why_nothing_learns(build: Callable[[Any], Any], why: str) -> None:
    def whole() -> None:
        tf.identity(build(tf1.placeholder(tf.float32, [None, 4], name="x")), name="y")

    lines = train(whole)
    assert lines
    assert all(line.startswith("not trained: ") and why in line for line in lines), lines


def test_a_statistic_that_moves_is_refused() -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        tf.matmul(x, get("w", 4, 2), name="y")
        get("mean", 2, trainable=False)

    with opened(build, "y") as (session, wanted, before):
        before["mean"] = before["mean"] + np.float32(1)
        with pytest.raises(UserError, match="moved mean, which is not trainable; nothing was written"):
            train_one_step(
                session, wanted, generate_attempts(wanted), lambda name, *_: before[name].reshape(-1), generated=True
            )
