"""Row independence is proved op by op; an op without a rule ends the proof."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from serialization.graph.row_independence import RowIndependence
from serialization.graph.signature import make_signature
from serialization.tensorflow import np, tf, tf1


def look(
    build: Callable[[Any], Any], dtype: str = "float32", shape: tuple[int | None, ...] = (None, 4)
) -> RowIndependence:
    """The RowIndependence of the graph that computes y from x."""
    with tf1.Graph().as_default() as graph:
        tf.identity(build(tf1.placeholder(dtype, shape, name="x")), name="y")
    return RowIndependence(graph.as_graph_def(), make_signature(graph, "x", "y"))


def weights(*shape: int) -> Any:
    return tf.constant(np.ones(shape, np.float32))


def variable(*shape: int, resource: bool = True) -> Any:
    return tf1.get_variable("v", shape, use_resource=resource)


PICTURES: dict[str, Any] = {"shape": (None, 8, 8, 3)}
TEXTS: dict[str, Any] = {"dtype": "string", "shape": (None,)}
NUMBERS: dict[str, Any] = {"dtype": "int64", "shape": (None,)}


@pytest.mark.parametrize(
    ("build", "given"),
    [
        (lambda x: tf.nn.relu(x @ variable(4, 2) + weights(2)), {}),
        (lambda x: x @ variable(4, 2, resource=False), {}),
        (lambda x: tf.nn.softmax(tf.nn.bias_add(x, weights(4))), {}),
        (lambda x: tf.cast(tf.reduce_sum(x, axis=-1, keepdims=True) > 45, tf.float32), {}),
        (lambda x: tf.argmax(x, axis=1), {}),
        (lambda x: tf.concat([x, x * weights(1, 4)], axis=1)[:, 1:3], {}),
        (lambda x: x[..., 0], {}),
        (lambda x: tf.stack([x, x], axis=1), {}),
        (lambda x: tf.split(x, 2, axis=1)[0], {}),
        (lambda x: tf.split(x, [1, 3], axis=1)[1], {}),
        (lambda x: tf.transpose(tf.reshape(x, [-1, 2, 2]), [0, 2, 1]), {}),
        (lambda x: tf.einsum("ab,bc->ac", x, weights(4, 2)), {}),
        (lambda x: tf.concat([x, tf.zeros([tf.shape(x)[0], 3])], axis=1), {}),
        (lambda x: tf1.where(x > 0, x, -x), {}),
        (lambda x: tf.linalg.matmul(x[:, :, None], x[:, None, :]), {}),
        (lambda x: tf.reshape(tf.nn.conv2d(x, weights(3, 3, 3, 2), 1, "SAME"), [-1, 128]), PICTURES),
        (lambda x: tf.nn.max_pool2d(x, 2, 2, "VALID"), PICTURES),
        (lambda x: tf.reshape(x, tf.stack([tf.shape(x)[0], 192])), PICTURES),
        (
            lambda x: tf1.nn.fused_batch_norm(x, weights(3), weights(3), weights(3), weights(3), is_training=False)[0],
            PICTURES,
        ),
        (lambda x: tf.reduce_mean(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), axis=[1, 2]), PICTURES),
        (lambda x: tf.gather(variable(9, 4), x), NUMBERS),
        (lambda x: tf.one_hot(x, 3), NUMBERS),
        (lambda x: tf.strings.lower(x) + "!", TEXTS),
        (tf.function(lambda x: x * 2), {}),
        (lambda x: tf.identity_n([tf.constant(2.0), x])[1], {}),
        (lambda x: tf.concat([x, tf.fill(tf.concat([tf.shape(x)[:1], [3]], axis=0), 0.0)], axis=1), {}),
    ],
)
def test_independent_rows_are_proved(build: Callable[[Any], Any], given: dict[str, Any]) -> None:
    assert look(build, **given).has_independent_rows()


@pytest.mark.parametrize(
    ("build", "given"),
    [
        (lambda x: x - tf.reduce_mean(x, axis=0), {}),
        (lambda x: x / tf.cast(tf.shape(x)[0], tf.float32), {}),
        (lambda x: tf.reverse(x, [0]), {}),
        (lambda x: tf.cumsum(x), {}),
        (lambda x: x[::-1], {}),
        (lambda x: x[1:], {}),
        (lambda x: tf.transpose(x), {}),
        (lambda x: tf.reshape(x, [-1, 8]), {}),
        (lambda x: tf.reshape(x, [-1]), {}),
        (lambda x: tf.linalg.matmul(x, x, transpose_b=True), {}),
        (lambda x: tf.einsum("ab,ac->bc", x, x), {}),
        (lambda x: tf.nn.softmax(x, axis=0), {}),
        (lambda x: tf.concat([x, x], axis=0), {}),
        (lambda x: tf.boolean_mask(x, x[:, 0] > 0), {}),
        (lambda x: tf.where(tf.shape(x)[0] > 16, x + 1, x), {}),
        (lambda x: tf.cond(tf.reduce_any(x > 100), lambda: x * 0, lambda: x), {}),
        (lambda x: tf.clip_by_global_norm([x], 1000.0)[0], {}),
        (lambda x: x + x[:, 0], {"shape": (None, None)}),
        (lambda x: x + tf.random.uniform([4]), {}),
        (lambda x: x + tf1.assign_add(variable(4, resource=False), weights(4)), {}),
        (lambda x: tf.pad(x, [[1, 0], [0, 0]]), {}),
        (lambda x: tf.tile(x, [2, 1]), {}),
        (lambda x: tf.gather(x, [0], axis=0), {}),
        (lambda x: tf.math.top_k(x, 1)[0], {"shape": (None,)}),
        (lambda x: x, {"shape": (3, 4)}),
        (
            lambda x: tf1.nn.fused_batch_norm(x, weights(3), weights(3), is_training=True)[0],
            PICTURES,
        ),
        (lambda x: tf.strings.split(x).to_tensor(), TEXTS),
        (lambda x: tf.reverse(x, [0]), TEXTS),
        (lambda x: tf.unique(x)[1], NUMBERS),
        (lambda x: tf.map_fn(lambda row: row * 2, x), {}),
        (lambda x: weights(5, 4), {}),
        (lambda x: x + tf.cond(tf.shape(x)[0] > 1, lambda: 10.0, lambda: 1.0), {}),
        (lambda x: x + tf.reduce_sum(tf.ones([tf.shape(x)[0], tf.shape(x)[0]]), axis=1, keepdims=True), {}),
        (lambda x: tf.concat([x, tf.ones([2 * tf.shape(x)[0], 1])], axis=1), {}),
        (lambda x: tf.concat([x, tf.ones([tf.shape(x)[1], 1])], axis=1), {}),
        (lambda x: tf.identity_n([tf.constant(2.0), tf.reverse(x, [0])])[1], {}),
        (lambda x: tf.raw_ops.ClipByValue(t=3.0, clip_value_min=x, clip_value_max=x), {}),
        (
            lambda x: tf.raw_ops.GatherV2(params=x, indices=tf.cast(x[:, 0], tf.int32), axis=1, batch_dims=-1),
            {},
        ),
    ],
)
def test_rows_that_may_depend_on_each_other_are_not_proved(build: Callable[[Any], Any], given: dict[str, Any]) -> None:
    assert not look(build, **given).has_independent_rows()


def test_a_condition_on_all_rows_ends_the_proof() -> None:
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 2], name="x")
        with tf1.control_dependencies([tf1.assert_greater(tf.reduce_sum(x), 1000.0)]):
            tf.identity(x, name="y")
    assert not RowIndependence(graph.as_graph_def(), make_signature(graph, "x", "y")).has_independent_rows()


def test_only_the_ops_between_inputs_and_outputs_count() -> None:
    """If a tensor is fed that is no placeholder, the ops that compute it do not matter."""
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 2], name="x")
        inner = tf.reverse(x, [0], name="inner")
        tf.add(inner, 1.0, name="y")
    assert RowIndependence(graph.as_graph_def(), make_signature(graph, "inner", "y")).has_independent_rows()
    assert not RowIndependence(graph.as_graph_def(), make_signature(graph, "x", "y")).has_independent_rows()


FIXED: dict[str, Any] = {"shape": (2, 4)}


@pytest.mark.parametrize(
    ("build", "given", "fixed"),
    [
        (lambda x: x @ weights(4, 2), FIXED, True),
        (lambda x: tf.reduce_mean(x), FIXED, True),
        (lambda x: x @ weights(4, 2), {}, False),
        (lambda x: tf.zeros([tf.cast(x[0, 0], tf.int32)]), FIXED, False),
        (lambda x: tf.boolean_mask(x, x[:, 0] > 0), FIXED, False),
        (lambda x: tf.cond(x[0, 0] > 1e6, lambda: x @ weights(4, 4), lambda: x), FIXED, False),
        (lambda x: tf.math.polygamma(1.0, x), FIXED, False),
        (
            lambda x: tf.strings.length(tf.strings.regex_replace(x, "a", "aa")),
            {"dtype": "string", "shape": (1,)},
            False,
        ),
        (
            lambda x: tf.raw_ops.TensorListLength(
                input_handle=tf.raw_ops.TensorListReserve(element_shape=[3], num_elements=x, element_dtype=tf.float32)
            ),
            {"dtype": "int32", "shape": ()},
            False,
        ),
        (
            lambda x: tf.data.Dataset.range(tf.cast(x[0, 0], tf.int64)).reduce(
                tf.constant(0, tf.int64), lambda a, b: a + b
            ),
            FIXED,
            False,
        ),
        (lambda x: tf.io.decode_raw(x, tf.uint8), {"dtype": "string", "shape": (1,)}, False),
        (lambda x: tf.strings.split(x).to_tensor(), {"dtype": "string", "shape": (1,)}, False),
    ],
)
def test_fixed_sizes_are_recognised(build: Callable[[Any], Any], given: dict[str, Any], fixed: bool) -> None:
    assert look(build, **given).has_fixed_sizes() == fixed
