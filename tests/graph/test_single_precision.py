"""What computes in float64 computes in float32, with inputs and outputs as they were."""

from __future__ import annotations

from serialization.graph.single_precision import narrow_to_float32
from serialization.tensorflow import np, tf, tf1


def test_all_but_inputs_and_outputs_becomes_float32() -> None:
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float64, [None], name="x")
        large = tf.constant([1e300, -np.inf, np.nan, 1.5], tf.float64, name="large")
        tf.add(x, tf.cast(tf.cond(x[0] > 0, lambda: large, lambda: -large), tf.float64), name="y")
    graph_def = graph.as_graph_def()
    assert graph_def.library.function
    names = narrow_to_float32(graph_def, ["x"], ["y:0", "x:0", "y:0"])
    assert list(names) == ["y:0", "x:0"]
    with tf1.Graph().as_default() as graph, tf1.Session(graph=graph) as session:
        tf1.import_graph_def(graph_def, name="")
        wide = {op.name for op in graph.get_operations() for tensor in op.outputs if tensor.dtype == tf.float64}
        assert wide == {"x", *(name.removesuffix(":0") for name in names.values())}
        y, same = session.run(list(names.values()), {"x:0": np.array([1, 1, 1, 0.1])})
    assert (y.dtype, same.dtype) == (np.float64, np.float64)
    np.testing.assert_array_equal(y, [np.finfo(np.float32).max, -np.inf, np.nan, np.float32(0.1) + np.float32(1.5)])
    np.testing.assert_array_equal(same, np.array([1, 1, 1, np.float32(0.1)]))


def test_the_types_in_lists_of_attributes_change_too() -> None:
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float64, [2], name="x")
        (y,) = tf.raw_ops.IdentityN(input=[x * 2])
        tf.identity(y, name="y")
    graph_def = graph.as_graph_def()
    names = narrow_to_float32(graph_def, ["x"], ["y:0"])
    with tf1.Graph().as_default() as graph, tf1.Session(graph=graph) as session:
        tf1.import_graph_def(graph_def, name="")
        assert session.run(names["y:0"], {"x:0": [1.0, 2.0]}).tolist() == [2, 4]
