"""The layers of TensorFlow 1, as its scripts call them: tf.layers and tf.nn.rnn_cell themselves, slim's by their names.

TensorFlow has no tf.layers beside Keras 3; tf_keras still holds their code, which builds the nodes that they built.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from serialization.tensorflow import tf, tf1


def old(build: Callable[[], Any]) -> Callable[[], Any]:
    """Build with variables that are references, the default of TensorFlow 1, and without warnings of old functions."""

    @functools.wraps(build)
    def with_references() -> Any:
        with warnings.catch_warnings(), tf1.variable_scope(tf1.get_variable_scope(), use_resource=False):
            warnings.simplefilter("ignore")
            return build()

    return with_references


def layers(name: str) -> Any:
    """The function of tf.layers of that name."""
    from tf_keras.src.legacy_tf_layers import convolutional, core, normalization, pooling

    return next(getattr(m, name) for m in (core, convolutional, normalization, pooling) if hasattr(m, name))


def dense(x: Any, units: int, activation: Any = None, name: str | None = None, **more: Any) -> Any:
    return layers("dense")(x, units, activation, name=name, **more)


def conv2d(x: Any, filters: int, size: Any, strides: Any = 1, padding: str = "valid", **more: Any) -> Any:
    return layers("conv2d")(x, filters, size, strides, padding, **more)


def deconv2d(x: Any, filters: int, size: Any, strides: Any = 1, padding: str = "valid", **more: Any) -> Any:
    return layers("conv2d_transpose")(x, filters, size, strides, padding, **more)


def max_pool(x: Any, name: str | None = None) -> Any:
    return layers("max_pooling2d")(x, 2, 2, "same", name=name)


def batch_norm(x: Any, training: Any, **more: Any) -> Any:
    return layers("batch_normalization")(x, training=training, **more)


def dropout(x: Any, rate: Any, training: Any) -> Any:
    return layers("dropout")(x, rate, training=training)


def flatten(x: Any) -> Any:
    return layers("flatten")(x)


def cell(kind: str, units: int, **more: Any) -> Any:
    """A cell of tf.nn.rnn_cell, such as BasicLSTMCell."""
    from tf_keras.src.layers.rnn import legacy_cells

    return getattr(legacy_cells, kind)(units, **more)


def stack(cells: list[Any]) -> Any:
    from tf_keras.src.layers.rnn import legacy_cells

    return legacy_cells.MultiRNNCell(cells)


def drop(inner: Any, **keep: Any) -> Any:
    from tf_keras.src.layers.rnn import legacy_cell_wrappers

    return legacy_cell_wrappers.DropoutWrapper(inner, **keep)


def _slim(x: Any, scope: str | None, default: str, combine: Callable[..., Any], shape: list[int], **more: Any) -> Any:
    with tf1.variable_scope(scope, default, [x], reuse=more.get("reuse")):
        y = combine(x, tf1.get_variable("weights", shape, initializer=tf1.glorot_uniform_initializer()))
        if more.get("norm") is not None:
            y = batch_norm(y, more["norm"], name="BatchNorm")
        elif more.get("biases", True):
            axes = shape[-2] if combine is not tf.matmul and "ranspose" in default else shape[-1]
            y = tf.nn.bias_add(y, tf1.get_variable("biases", [axes], initializer=tf1.zeros_initializer()))
        activation = more.get("activation", tf.nn.relu)
        return activation(y) if activation else y


def slim_dense(x: Any, units: int, scope: str | None = None, **more: Any) -> Any:
    """slim.fully_connected, with a ReLU unless `activation` is another or None."""
    return _slim(x, scope, "fully_connected", tf.matmul, [int(x.shape[-1]), units], **more)


def slim_conv(x: Any, filters: int, size: int, scope: str | None = None, stride: int = 1, **more: Any) -> Any:
    """slim.conv2d; `norm` is the switch of its batch normalization."""

    def combine(y: Any, weights: Any) -> Any:
        return tf1.nn.conv2d(y, weights, [1, stride, stride, 1], more.get("padding", "SAME"))

    return _slim(x, scope, "Conv", combine, [size, size, int(x.shape[-1]), filters], **more)
