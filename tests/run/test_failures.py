"""A failure that no feed mends is refused with the node to cut the graph at; of others a feed may be asked for."""

from __future__ import annotations

import pytest

from serialization.errors import UserError
from serialization.run.failures import may_be_mended, require_mendable
from serialization.tensorflow import tf


def test_a_missing_value_or_kernel_is_refused() -> None:
    iterator = "GetNext() failed because the iterator has not been initialized.\n\t [[{{node input/IteratorGetNext}}]]"
    kernel = "No OpKernel was registered to support Op 'CudnnRNN' used by {{node rnn}} with these attrs: []"
    for error, node in (
        (tf.errors.FailedPreconditionError(None, None, iterator), "node input/IteratorGetNext"),
        (tf.errors.InvalidArgumentError(None, None, kernel), "node rnn"),
        (tf.errors.FailedPreconditionError(None, None, "Table not initialized."), "it"),
    ):
        with pytest.raises(UserError) as caught:
            require_mendable(error)
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
    ):
        error = kind(None, None, "indices[0] = 7 is not in [0, 5)")
        require_mendable(error)
        assert may_be_mended(error) is helps
