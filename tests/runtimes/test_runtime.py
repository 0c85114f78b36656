"""An exported model is opened for its proof: errors are TensorFlow's, and the model is closed at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from serialization.errors import UserError
from serialization.graph.signature import Signature, Tensor
from serialization.runtimes.runtime import RunError, open_for_proof
from serialization.tensorflow import tf


class Half:
    """Takes even numbers."""

    signature = Signature((Tensor("x", "x", "int32", ()),), (Tensor("y", "y", "int32", ()),))
    closed = False

    def __call__(self, values: Mapping[str, Any]) -> dict[str, Any]:
        assert values.keys() == {"x"}
        if values["x"] % 2:
            raise RunError("odd")
        return {"y": values["x"] // 2}

    def close(self) -> None:
        self.closed = True


def test_it_is_fed_what_it_takes_and_raises_what_tensorflow_raises() -> None:
    half: Any = Half()
    with open_for_proof(lambda: half) as run:
        assert run({"x": 4, "unused": 1}) == {"y": 2}
        with pytest.raises(tf.errors.OpError, match="odd"):
            run({"x": 3})
        assert not half.closed
    assert half.closed


def test_what_cannot_be_opened_was_not_written() -> None:
    def refuse() -> Any:
        raise UserError("it cannot run")

    with pytest.raises(UserError, match=r"^it cannot run; nothing was written$"), open_for_proof(refuse):
        pass
