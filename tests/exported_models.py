"""Small frozen models of the kinds that are exported to other runtimes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs

import tflite_from_frozen
from serialization.tensorflow import np, tf, tf1


def two_outputs() -> None:
    """A and b float32 [None, 3] -> sum float32 [None, 3], dot int32 [None]."""
    a, b = (tf1.placeholder(tf.float32, [None, 3], name=name) for name in "ab")
    tf.add(a, b, name="sum")
    tf.cast(tf.reduce_sum(a * b, 1) * 10, tf.int32, name="dot")


def double_precision() -> None:
    """X float64 [None, 3] -> y, a tangent, for which other runtimes have no kernel in float64."""
    x = tf1.placeholder(tf.float64, [None, 3], name="x")
    tf.tan(tf.sin(x) * tf.constant([0.5, 1e-300, -0.5], tf.float64), name="y")


def short_numbers() -> None:
    """X int16 [None, 3] -> y, the larger of x and 3, for which onnxruntime has no kernel in int16."""
    tf.maximum(tf1.placeholder(tf.int16, [None, 3], name="x"), 3, name="y")


def lacking_ops() -> None:
    """X float32 [None, 3] -> y, by ops that ONNX or LiteRT lacks, one of them in a loop."""
    tf1.disable_control_flow_v2()
    x = tf.tanh(tf1.placeholder(tf.float32, [None, 3], name="x"))
    raw = tf.raw_ops
    _, crossed = tf1.while_loop(lambda i, _: i < 2, lambda i, v: (i + 1, raw.Cross(a=v, b=x + 0.5)), [0, x])
    parts = [raw.Log1p(x=x), raw.Expm1(x=x), raw.Erfc(x=x), raw.Atan(x=x), raw.Inv(x=x + 2), crossed]
    diagonal = raw.DiagPart(input=raw.Diag(diagonal=tf.reduce_sum(x, 1)))
    tf.add(tf.add_n(parts), diagonal[:, None], name="y")
    tf1.enable_control_flow_v2()


def dynamic_rnn() -> None:
    """X float32 [2, 5, 4] -> y [2, 5, 3], by a loop over TensorArrays, as dynamic_rnn of TensorFlow 1 makes it."""
    tf1.disable_control_flow_v2()
    x = tf1.placeholder(tf.float32, [2, 5, 4], name="x")
    kernel = tf.constant(np.linspace(-1, 1, 21).reshape(7, 3), tf.float32)
    given = tf.TensorArray(tf.float32, 5).unstack(tf.transpose(x, [1, 0, 2]))

    def step(i: Any, state: Any, steps: Any) -> Any:
        state = tf.tanh(tf.concat([given.read(i), state], 1) @ kernel)
        return i + 1, state, steps.write(i, state)

    start = [0, tf.zeros([2, 3]), tf.TensorArray(tf.float32, 5, element_shape=[2, 3])]
    _, _, steps = tf1.while_loop(lambda i, *_: i < 5, step, start)
    tf.transpose(steps.stack(), [1, 0, 2], name="y")
    tf1.enable_control_flow_v2()


def loop() -> None:
    """X float32 [None, 3] -> y, by a loop of TensorFlow 1."""
    tf1.disable_control_flow_v2()
    x = tf1.placeholder(tf.float32, [None, 3], name="x")
    _, y = tf1.while_loop(lambda i, _: i < 3, lambda i, v: (i + 1, v * 2 + 1), [0, x])
    tf.identity(y, name="y")
    tf1.enable_control_flow_v2()


def with_default() -> None:
    """X float32 [None, 3] times k, which is 2 where it is not fed -> y."""
    x = tf1.placeholder(tf.float32, [None, 3], name="x")
    k = tf1.placeholder_with_default(tf.constant(2.0), [], name="k")
    tf.multiply(x, k, name="y")


def no_inputs() -> None:
    tf.add(tf.constant([1.0, 2.0]), tf.range(2.0), name="y")


def random() -> None:
    x = tf1.placeholder(tf.float32, [None, 3], name="x")
    tf.add(x, tf1.random_uniform([3]), name="y")


def special_numbers() -> None:
    """X float32 [None, 2] -> y, its logarithm: NaN below 0, infinite at 0."""
    tf1.log(tf1.placeholder(tf.float32, [None, 2], name="x"), name="y")


def decode_sound() -> None:
    """An op that no other runtime has."""
    tf.identity(tf.audio.decode_wav(tf1.placeholder(tf.string, [], name="x"))[0], name="y")


def images() -> None:
    """X float32 [None, 8, 8, 3] -> y [None, 4]: two convolutions, one of them by depth, and a matrix."""
    x = tf1.placeholder(tf.float32, [None, 8, 8, 3], name="x")
    values = tf1.random_normal_initializer(seed=1)
    hidden = tf.nn.relu(tf.nn.conv2d(x, tf1.get_variable("w1", [3, 3, 3, 8], initializer=values), 1, "SAME"))
    by_depth = tf1.get_variable("w2", [3, 3, 8, 1], initializer=values)
    hidden = tf.nn.depthwise_conv2d(hidden, by_depth, [1, 1, 1, 1], "SAME")
    flat = tf.reshape(hidden, [-1, 8 * 8 * 8])
    tf.nn.softmax(flat @ tf1.get_variable("w3", [8 * 8 * 8, 4], initializer=values), name="y")


def words_in_a_table() -> None:
    """Words [None, None] -> ids int64, words again: two tables, which the frozen graph fills itself."""
    words = tf1.placeholder(tf.string, [None, None], name="words")
    keys, ids = ["a", "b", "text"], tf.constant([1, 2, 3], tf.int64)
    to_ids = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, ids), -1)
    to_words = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(ids, keys), "?")
    found = tf.identity(to_ids.lookup(words), name="ids")
    tf.identity(to_words.lookup(found), name="again")
    tf1.get_variable("v", [1])  # a checkpoint has variables


def write(build: Callable[[], Any], file: Path, *outputs: str) -> Path:
    """Freeze what `build` makes into the file."""
    file.write_bytes(graphs.freeze(build, list(outputs or ("y",))).SerializeToString())
    return file


def write_lstm(file: Path) -> Path:
    """X float32 [None, 5, 4] -> y [None, 8], by an LSTM of Keras, its loop in TensorFlow 1's control flow."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    tf.keras.utils.set_random_seed(1)
    layer = tf.keras.layers.LSTM(8)
    layer.build([None, 5, 4])

    call = tf.function(lambda x: tf.identity(layer(x), name="y"))
    function = call.get_concrete_function(tf.TensorSpec([None, 5, 4], tf.float32, name="x"))
    graph_def = convert_variables_to_constants_v2(function).graph.as_graph_def()
    file.write_bytes(graph_def.SerializeToString())
    return file


def convert_to_litert(frozen: Path) -> bytes:
    """The .tflite file that tflite_from_frozen.py makes of a frozen model."""
    result = frozen.with_suffix(".tflite")
    tflite_from_frozen.main(["--frozen-model", str(frozen), "--tflite", str(result)])
    return result.read_bytes()


def rows(count: int, *shape: int) -> Any:
    return np.random.default_rng(0).normal(size=(count, *shape)).astype("f")
