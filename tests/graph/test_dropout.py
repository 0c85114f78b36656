"""Dropout layers in the forms of several versions of TensorFlow: found, and made identities."""

from __future__ import annotations

from typing import Any

import pytest
from edited_models import DROPOUT, dropout, run

from serialization.graph.dropout import find_dropout, keep_everything, remove_dropout
from serialization.graph.graph_index import GraphIndex, prune_graph
from serialization.graph.op_sets import RANDOM_OPS, STATELESS_UNIFORMS
from serialization.tensorflow import np, tf, tf1

FED = {"rate": 0.5, "keep": 0.5, "training": True}


@pytest.mark.parametrize("form", DROPOUT)
def test_layers_become_identities(form: str) -> None:
    make, count = DROPOUT[form]
    graph_def = dropout(make)
    layers = find_dropout(GraphIndex(graph_def), ["y"])
    assert len(layers) == count
    kept = keep_everything(graph_def, layers)
    remove_dropout(graph_def, layers)
    feeds: dict[str, Any] = {"x": np.arange(12, dtype="f").reshape(3, 4) - 4}
    feeds |= {name: value for name, value in FED.items() if name in {node.name for node in graph_def.node}}
    (before,), (after,) = (run(one, feeds, "y", seed=1) for one in (kept, graph_def))
    if count:  # as what comes in, by the mask of ones and without it
        np.testing.assert_array_equal(before, np.maximum(feeds["x"], 0))
        np.testing.assert_array_equal(before, after)
        left = {node.op for node in prune_graph(GraphIndex(graph_def), ["y"]).node}
        assert not left & (RANDOM_OPS | STATELESS_UNIFORMS)


def test_a_layer_is_described() -> None:
    (layer,) = find_dropout(GraphIndex(dropout(DROPOUT["by a selection"][0])), ["y"])
    assert (layer.result, layer.data) == ("dropout/SelectV2", "Relu")
    assert layer.random == "dropout/random_uniform/RandomUniform"
    assert layer.keep == pytest.approx(0.7)
    (layer,) = find_dropout(GraphIndex(dropout(DROPOUT["of a rate that is fed"][0])), ["y"])
    assert layer.keep is None


def test_a_layer_that_no_output_needs_is_none() -> None:
    graph_def = dropout(lambda x: (tf.nn.dropout(x, 0.5), x)[1])
    assert not find_dropout(GraphIndex(graph_def), ["y"])


def test_a_mask_for_two_tensors_makes_two_layers() -> None:
    def twice(x: object) -> object:
        mask = tf.cast(tf1.random_uniform([4]) >= 0.5, tf.float32)
        return tf.nn.relu(x) * 2 * mask + tf.tanh(x) * 2 * mask

    assert len(find_dropout(GraphIndex(dropout(twice)), ["y"])) == 2
