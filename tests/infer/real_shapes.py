"""A register of graphs built after the shapes of real ones, each with the tensors that its maker feeds and fetches.

The graphs are in the modules shapes_*.py. None is a copy: they have the layers, names and leftovers that scripts of
their kind have, in small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from typical_graphs import dense

from serialization.graph.graph_index import GraphIndex
from serialization.sources.frozen_reader import GraphFile
from serialization.tensorflow import tf, tf1

Build = Callable[[], Any]


@dataclass(frozen=True)
class Shape:
    """A graph, the tensors that its maker feeds and fetches, and what was saved of it.

    `frozen` names the tensors to which it was frozen; otherwise it is whole, with or without a Saver.
    """

    build: Build
    inputs: frozenset[str]
    outputs: frozenset[str]
    frozen: str = ""
    saver: bool = True
    functions: bool = False


SHAPES: dict[str, Shape] = {}


def shape(inputs: str = "", outputs: str = "", **saved: Any) -> Callable[[Build], Build]:
    """Enter a graph into the register. Names are separated by spaces, `:0` may be left out.

    Without outputs, the function that builds the graph returns the two lists of tensors.
    `functions` builds loops and conditions from functions, as TensorFlow 2 does.
    """

    def add(build: Build) -> Build:
        SHAPES[build.__name__] = Shape(build, _names(inputs), _names(outputs), **saved)
        return build

    return add


def _names(text: str) -> frozenset[str]:
    return frozenset(name if ":" in name else f"{name}:0" for name in text.split())


def make_known(known: Shape) -> tuple[GraphFile, frozenset[str], frozenset[str]]:
    """The graph as a reader of its file sees it, and the tensors that its maker feeds and fetches."""
    (tf1.enable_control_flow_v2 if known.functions else tf1.disable_control_flow_v2)()
    try:
        with tf1.Graph().as_default() as graph:
            made = known.build()
            inputs, outputs = known.inputs, known.outputs
            if not outputs:
                inputs, outputs = (frozenset(tensor.name for tensor in tensors) for tensors in made)
            there = {tensor.name for operation in graph.get_operations() for tensor in operation.outputs}
            missing = sorted((inputs | outputs) - there)
            assert not missing, f"no {missing} in the graph"
            if known.frozen:
                return GraphFile(GraphIndex(_freeze(graph, known.frozen.split()))), inputs, outputs
            if known.saver and tf1.global_variables():
                tf1.train.Saver()
            meta_graph = tf1.train.export_meta_graph(graph=graph)
            return GraphFile(GraphIndex(meta_graph.graph_def), meta_graph), inputs, outputs
    finally:
        tf1.enable_control_flow_v2()


def _freeze(graph: Any, outputs: list[str]) -> Any:
    with tf1.Session() as session:
        session.run([tf1.global_variables_initializer(), tf1.local_variables_initializer()])
        return tf1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), outputs)


def feed(name: str, *sizes: int | None, dtype: str = "float32") -> Any:
    return tf1.placeholder(dtype, list(sizes), name=name)


def weights(name: str, *sizes: int, resource: bool = False, trainable: bool = True) -> Any:
    start = tf1.random_normal_initializer(seed=1)
    return tf1.get_variable(name, sizes, initializer=start, use_resource=resource, trainable=trainable)


def right(logits: Any, labels: Any, name: str = "accuracy") -> Any:
    """The accuracy for classes, as scripts compute it."""
    hits = tf.equal(tf.argmax(logits, -1), tf.cast(labels, tf.int64))
    return tf.reduce_mean(tf.cast(hits, tf.float32), name=name)


def normalized(x: Any, training: Any, scope: str) -> Any:
    """Batch normalization with moving averages, whose update is an op of its own in UPDATE_OPS."""
    with tf1.variable_scope(scope):
        axes = list(range(len(x.shape) - 1))
        mean, variance = tf.nn.moments(x, axes)
        held = [weights(name, int(x.shape[-1]), trainable=False) for name in ("moving_mean", "moving_variance")]
        used = [
            tf1.cond(training, lambda now=now: now, lambda then=then: then.read_value())
            for now, then in zip((mean, variance), held, strict=True)
        ]
        for now, then in zip((mean, variance), held, strict=True):
            tf1.add_to_collection("update_ops", tf1.assign_sub(then, 0.1 * (then - now)))
        beta, gamma = weights("beta", int(x.shape[-1])), weights("gamma", int(x.shape[-1]))
        return tf.nn.batch_normalization(x, *used, beta, gamma, 1e-3)


class Cell:
    """An LSTM cell as tf.nn.dynamic_rnn takes it."""

    def __init__(self, units: int, *, resource: bool = False) -> None:
        self.output_size, self.state_size, self.resource = units, (units, units), resource

    def zero_state(self, batch_size: Any, dtype: Any) -> tuple[Any, Any]:
        with tf.name_scope("zeros"):
            return tf.zeros([batch_size, self.output_size], dtype), tf.zeros([batch_size, self.output_size], dtype)

    def __call__(self, x: Any, state: tuple[Any, Any], scope: str | None = None) -> tuple[Any, tuple[Any, Any]]:
        memory, hidden = state
        with tf1.variable_scope(scope or "lstm_cell", reuse=tf1.AUTO_REUSE):
            kernel = weights(
                "kernel", int(x.shape[-1]) + self.output_size, 4 * self.output_size, resource=self.resource
            )
            bias = weights("bias", 4 * self.output_size, resource=self.resource)
            gates = tf.nn.bias_add(tf.matmul(tf.concat([x, hidden], 1), kernel), bias)
            start, new, forget, out = tf.split(gates, 4, 1)
            memory = memory * tf.sigmoid(forget + 1.0) + tf.sigmoid(start) * tf.tanh(new)
            hidden = tf.tanh(memory) * tf.sigmoid(out)
            return hidden, (memory, hidden)


def attend(x: Any, mask: Any, scope: str) -> Any:
    """One head of self-attention; the mask [batch, length] is added to the scores, as BERT does."""
    with tf1.variable_scope(scope):
        query, key, value = (dense(x, 8, name) for name in ("query", "key", "value"))
        scores = tf.matmul(query, key, transpose_b=True) + (1.0 - tf.cast(mask, tf.float32))[:, None, :] * -10000.0
        return dense(tf.matmul(tf.nn.softmax(scores), value), 8, "output", tf.nn.relu)
