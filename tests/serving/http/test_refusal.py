"""An error of the runtime becomes the status that tells a client whether to change its request, or to try again."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from serialization.runtimes.runtime import LateError, MemoryShortError, UnclearError, ValuesError
from serialization.serving.http.refusal import make_refusal

INTERNAL = "internal error; the server's log tells more under this request id"


def make_request(*, runs: bool) -> Any:
    """A request to a model that runs on its example, or fails on that too."""

    def predict(_: object) -> bool:
        if not runs:
            raise UnclearError("broken")
        return True

    engine = SimpleNamespace(runs=True, example={})
    return SimpleNamespace(id="7", protocol=None, version=SimpleNamespace(engine=engine, predict=predict))


@pytest.mark.parametrize(
    ("error", "runs", "status", "message"),
    [
        (LateError(), True, 504, "the model took longer than 2.5 s"),
        (ValuesError("index 9\nat node x"), False, 422, "the model refuses the values: index 9"),
        (UnclearError("index 9"), True, 422, "the model refuses the values: index 9"),
        (UnclearError("index 9"), False, 500, INTERNAL),
        (MemoryShortError(), True, 503, "not enough memory for this request now"),
        (MemoryError(), True, 503, "not enough memory for this request now"),
        (ZeroDivisionError(), True, 500, INTERNAL),
    ],
)
def test_the_status_tells_whose_fault_it_is(error: Exception, runs: bool, status: int, message: str) -> None:
    try:
        raise error
    except Exception as raised:
        got, headers, body = make_refusal(make_request(runs=runs), raised, 2.5)
    assert (got, json.loads(body)) == (status, {"error": message, "request_id": "7"})
    assert [value for name, value in headers if name == "Retry-After"] == ["1"] * (status == 503)
