"""The toy model learns its task with every seed."""

from __future__ import annotations

import pytest

import model
from serialization.tensorflow import tf1


@pytest.mark.parametrize("seed", range(5))
def test_training_succeeds_with_every_seed(seed: int) -> None:
    graph = model.build_graph(seed)
    with tf1.Session(graph=graph, config=model.session_config()) as session, graph.as_default():
        session.run(tf1.global_variables_initializer())
        model.train(session, 10)
        assert model.evaluate(session) >= 0.995
        rows = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [5] * 10]  # sums 45 and 50
        assert session.run(model.PREDICTIONS, {model.INPUTS: rows}).tolist() == [[False], [True]]


def test_graph_has_the_names_and_shapes_of_the_document() -> None:
    graph = model.build_graph()
    described = {
        name: (graph.get_tensor_by_name(name).dtype.name, graph.get_tensor_by_name(name).shape.as_list())
        for name in (model.INPUTS, model.LABELS, model.PREDICTIONS, "Accuracy/correct_predictions:0", model.LOSS)
    }
    assert described == {
        "Placeholder/inputs_placeholder:0": ("float32", [None, 10]),
        "Placeholder/labels_placeholder:0": ("float32", [None, 1]),
        "Accuracy/predictions:0": ("bool", [None, 1]),
        "Accuracy/correct_predictions:0": ("bool", [None, 1]),
        "Loss/loss:0": ("float32", []),
    }
    variables = {v.op.name: v.shape.as_list() for v in graph.get_collection(tf1.GraphKeys.TRAINABLE_VARIABLES)}
    assert variables == {"NN/W1": [10, 1], "NN/b1": [1], "NN/W2": [10, 1], "NN/b2": [1]}


def test_labels_are_true_if_the_sum_is_more_than_45() -> None:
    inputs, labels = model.make_rows(1000)
    assert inputs.min() == 0
    assert inputs.max() == 9
    assert ((inputs.sum(axis=1) > 45) == (labels[:, 0] == 1)).all()
    assert 0.4 < labels.mean() < 0.6
