"""A failure that no feed mends is refused with the node to cut the graph at; of others a feed may be asked for."""

from __future__ import annotations

import pytest

from serialization.errors import UserError
from serialization.graph.graph_index import GraphIndex
from serialization.graph.signature import Signature, Tensor
from serialization.run.failures import may_be_mended, require_mendable
from serialization.tensorflow import tf, tf1

NOTHING = GraphIndex(tf1.GraphDef()), Signature((), ())


def test_a_missing_value_or_kernel_is_refused() -> None:
    iterator = "GetNext() failed because the iterator has not been initialized.\n\t [[{{node input/IteratorGetNext}}]]"
    kernel = "No OpKernel was registered to support Op 'CudnnRNN' used by {{node rnn}} with these attrs: []"
    for error, node in (
        (tf.errors.FailedPreconditionError(None, None, iterator), "node input/IteratorGetNext"),
        (tf.errors.InvalidArgumentError(None, None, kernel), "node rnn"),
        (tf.errors.FailedPreconditionError(None, None, "Table not initialized."), "it"),
    ):
        with pytest.raises(UserError) as caught:
            require_mendable(error, *NOTHING)
        line = str(caught.value)
        assert line.startswith("the model cannot be run here, whatever it is fed: ")
        assert line.endswith(
            f"; cut the graph around {node}: name the tensors behind it with --inputs, or tensors in front of it with "
            "--outputs"
        )


def test_another_feed_may_mend_a_wrong_value_and_no_want_of_memory() -> None:
    for kind, helps in (
        (tf.errors.InvalidArgumentError, True),
        (tf.errors.OutOfRangeError, True),
        (tf.errors.ResourceExhaustedError, False),
        (tf.errors.UnimplementedError, False),
        (tf.errors.PermissionDeniedError, False),
    ):
        error = kind(None, None, "indices[0] = 7 is not in [0, 5)")
        require_mendable(error, *NOTHING)
        assert may_be_mended(error) is helps


def test_what_no_input_leads_to_is_refused() -> None:
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        tf.gather(x, 7, axis=1, name="of_x")
        tf.gather([1.0], tf1.random_uniform([], 0, 9, tf.int32), name="of_chance")
        tf.gather([1.0], 7, name="fixed")
    known = GraphIndex(graph.as_graph_def()), Signature((Tensor("x", "x:0", "float32", (None, 4)),), ())
    for node in ("of_x", "of_chance", "inside_a_function"):
        require_mendable(failure_at(node), *known)
    with pytest.raises(
        UserError, match=r"whatever it is fed: indices = 7 is not in .*; cut the graph around node fixed"
    ):
        require_mendable(failure_at("fixed"), *known)


def failure_at(node: str) -> tf.errors.OpError:
    return tf.errors.InvalidArgumentError(None, None, f"indices = 7 is not in [0, 1)\n\t [[{{{{node {node}}}}}]]")
