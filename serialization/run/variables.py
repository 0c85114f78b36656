"""Reads the variables of a session in slices, since one may hold gigabytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from serialization.run.differences import has_same_bits
from serialization.tensorflow import np, tf, tf1

if TYPE_CHECKING:
    from numpy.typing import NDArray

ReadValues = Callable[[int, int], "NDArray[Any]"]  # so many values, from a first one on, as an array of one axis
_SLICE = 1 << 26  # bytes


def read_slices(session: Any, variable: Any) -> Iterator[NDArray[Any]]:
    """The values of a tf.Variable as arrays of one axis and at most 64 MiB, one after the other."""
    count, most = variable.shape.num_elements(), _SLICE // max(1, variable.dtype.size)  # 0 for strings
    if count <= most:
        yield np.asarray(session.run(variable)).reshape(-1)
        return
    with session.graph.as_default():
        start = tf1.placeholder(tf.int64, [])
        part = tf.reshape(variable, [-1])[start : start + most]
    for first in range(0, count, most):
        yield session.run(part, {start: first})


def holds_values(session: Any, variable: Any, read: ReadValues) -> bool:
    """Whether a tf.Variable holds the same bits as what `read` returns, of the same dtype."""
    first = 0
    for part in read_slices(session, variable):
        wanted = read(first, part.size)
        if part.dtype != wanted.dtype or not has_same_bits(wanted, part):
            return False
        first += part.size
    return True
