"""Requests that name another model, version or label than the one that is served."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from serialization.serving.requests import RequestError
from serialization.serving.wire.protocol import ServedModel
from serialization.serving.wire.tfs_models import list_states, require_served

SERVED = ServedModel("half", "3", "stable", "tensorflow_graphdef")


def refused(status: int, message: str) -> Any:
    return pytest.raises(RequestError, match=f"^{message}$") if status else nullcontext()


@pytest.mark.parametrize(
    ("name", "version", "label", "status", "message"),
    [
        ("half", None, None, 0, ""),
        ("half", 3, None, 0, ""),
        ("half", None, "stable", 0, ""),
        ("half", 4, None, 404, r"Servable not found for request: Specific\(half, 4\)"),
        ("half", -1, None, 404, r"Servable not found for request: Specific\(half, -1\)"),
        ("half", None, "new", 400, "Unrecognized servable version label: new"),
        ("third", None, None, 404, r"Servable not found for request: Latest\(third\)"),
        ("third", 3, None, 404, r"Servable not found for request: Specific\(third, 3\)"),
        ("third", None, "new", 404, r"Servable not found for request: Latest\(third\)"),
        ("a\nb", None, None, 404, r"Servable not found for request: Latest\(a\?b\)"),
    ],
)
def test_predictions(name: str, version: int | None, label: str | None, status: int, message: str) -> None:
    with refused(status, message) as error:
        require_served(SERVED, name, version, label)
    assert not status or error.value.status == status


@pytest.mark.parametrize(
    ("name", "version", "status", "message"),
    [
        ("half", None, 0, ""),
        ("half", 3, 0, ""),
        ("half", 4, 404, "Could not find version 4 of model half"),
        ("third", 3, 404, "Could not find any versions of model third"),
    ],
)
def test_states(name: str, version: int | None, status: int, message: str) -> None:
    with refused(status, message) as error:
        assert list_states(SERVED, name, version) == {"3": ""}
    assert not status or error.value.status == status
