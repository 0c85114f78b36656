"""No caller fetches the nodes that train, save, restore, summarize, check, or fill a pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import graphs
import pytest
from handmade_graphs import X, graph
from typical_graphs import make_index, train

from serialization.graph.graph_index import GraphIndex
from serialization.infer.data_edges import Flow
from serialization.infer.set_aside import find_gradients, find_nodes_aside
from serialization.tensorflow import tf, tf1


def aside_of(index: GraphIndex) -> set[str]:
    flow = Flow(index)
    return find_nodes_aside(index, find_gradients(index)[0], flow.ends, flow.depends)


def energy() -> Any:
    x = tf1.placeholder(tf.float32, [None, 3], name="positions")
    return x, tf.reduce_sum(tf.tanh(tf.matmul(x, tf1.get_variable("w", [3, 1]))), name="energy")


def forces() -> None:
    x, y = energy()
    tf.negative(tf.gradients(y, x)[0], name="forces")


def applied_elsewhere() -> None:
    """Another process fetches the gradient and updates the variable."""
    _, y = energy()
    tf.identity(tf.gradients(y, tf1.trainable_variables())[0], name="pushed")


def penalized() -> None:
    """The gradient by the input is part of the loss, whose gradient trains."""
    x, y = energy()
    train(y + tf.reduce_sum(tf.square(tf.gradients(y, x)[0])))


def scopes(names: set[str]) -> set[str]:
    return {name.partition("/")[0] for name in names}


@pytest.mark.parametrize(
    ("build", "training", "answering"),
    [
        (energy, set(), set()),
        (graphs.classifier, {"gradients"}, set()),
        (forces, set(), {"gradients"}),
        (applied_elsewhere, {"gradients"}, set()),
        (penalized, {"gradients_1"}, {"gradients"}),
    ],
)
def test_gradients_train_if_a_variable_may_be_updated_with_them(
    build: Callable[[], Any], training: set[str], answering: set[str]
) -> None:
    found = find_gradients(make_index(build))
    assert tuple(map(scopes, found)) == (training, answering)


def test_what_the_optimizer_and_the_saver_add_is_set_aside() -> None:
    def build() -> None:
        graphs.classifier()
        tf1.train.Saver()
        tf1.report_uninitialized_variables().mark_used()

    index = make_index(build)
    aside = aside_of(index)
    assert {"x", "labels", "logits", "dense/kernel", "dense/bias"}.isdisjoint(aside)
    assert {"loss", "Adam/update_dense/kernel/ResourceApplyAdam", "save/SaveV2", "save/Const"} <= aside
    added = ("gradients/", "save/", "report_uninitialized_variables/")
    assert {name for name in index.nodes if name.startswith(added)} <= aside


@pytest.mark.parametrize(
    ("nodes", "aside"),
    [
        ([("c", "Cast", ["x"]), ("s", "ImageSummary", ["c"])], {"s"}),  # `c` has a name of its own
        ([("Cast", "Cast", ["x"]), ("s", "ImageSummary", ["Cast"])], {"s", "Cast"}),
        ([("Cast", "Cast", ["x"]), ("s", "ImageSummary", ["Cast"]), ("y", "Neg", ["Cast"])], {"s"}),
        ([("Tanh", "Tanh", ["x"]), ("s", "ImageSummary", ["Tanh"])], {"s"}),  # it prepares nothing
        ([("y", "Neg", ["x"]), ("a", "Assert", ["ok"]), ("ok", "Less", ["y", "y"])], {"a", "ok", "y"}),
        ([("y", "Neg", ["x"]), ("shape", "Shape", ["y"]), ("a", "Assert", ["y"])], {"a", "y"}),
        ([("y", "Neg", ["x"]), ("z", "Neg", ["y"]), ("a", "Assert", ["y"])], {"a"}),
        ([("q", "FIFOQueueV2", []), ("y", "Neg", ["x"]), ("e", "QueueEnqueueV2", ["q", "y"])], {"q", "e", "y"}),
        ([("a", "Assert", ["gone"])], {"a"}),  # the graph lacks a node
        ([("gradients/y", "Neg", ["x"])], set()),  # it trains nothing
    ],
)
def test_nodes_that_only_plumbing_takes_are_set_aside(nodes: list[Any], aside: set[str]) -> None:
    assert aside_of(GraphIndex(graph(X, *nodes))) == aside


def test_a_prediction_that_a_metric_compares_with_a_label_stays() -> None:
    nodes = [
        ("t", "Placeholder", []),
        ("y", "Neg", ["x"]),
        ("ArgMax", "ArgMax", ["y"]),
        ("Equal", "Equal", ["ArgMax", "t"]),
    ]
    update = [("v", "VariableV2", []), ("Mean", "Mean", ["Equal"]), ("u", "AssignAdd", ["v", "Mean"])]
    assert aside_of(GraphIndex(graph(X, *nodes, *update))) == {"u", "v", "Mean", "Equal", "ArgMax"}
