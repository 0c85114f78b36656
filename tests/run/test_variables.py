"""run/variables.py: variables of any size are read in slices, and compared bit for bit."""

from __future__ import annotations

from typing import Any

import pytest

from serialization.run import variables
from serialization.run.variables import holds_values, read_slices
from serialization.tensorflow import np, tf, tf1


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variables, "_SLICE", 16)


@pytest.mark.usefixtures("small_slices")
def test_slices_are_the_whole_value() -> None:
    value = np.arange(30, dtype="f").reshape(5, 6)
    value[2, 2] = np.nan
    with tf1.Graph().as_default(), tf1.Session() as session:
        variable = tf1.get_variable("v", initializer=value, use_resource=True)
        session.run(variable.initializer)
        parts = list(read_slices(session, variable))
        assert [part.size for part in parts] == [4] * 7 + [2]
        assert np.concatenate(parts).tobytes() == value.tobytes()

        def read(first: int, count: int) -> Any:
            return value.reshape(-1)[first : first + count]

        assert holds_values(session, variable, read)
        assert not holds_values(session, variable, lambda first, count: read(first, count).astype("d"))
        value[4, 5] += 1
        assert not holds_values(session, variable, read)


def test_a_scalar_and_an_empty_one() -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        scalar = tf1.get_variable("s", initializer=np.int64(7), use_resource=True)
        empty = tf1.get_variable("e", initializer=tf.zeros([0, 3]), use_resource=True)
        session.run(tf1.global_variables_initializer())
        assert holds_values(session, scalar, lambda *_: np.array([7], np.int64))
        assert holds_values(session, empty, lambda *_: np.zeros(0, "f"))
