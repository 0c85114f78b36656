"""A slot has one version that answers, and tells of all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from serialization.serving.http.slot import Slot


def version(number: str) -> Any:
    return SimpleNamespace(served=SimpleNamespace(name="house", version=number))


def test_the_first_version_answers_and_all_are_told() -> None:
    one, two = version("1"), version("2")
    slot = Slot(two, one)
    assert (slot.name, slot.current, slot.swaps) == ("house", two, 0)
    assert not slot.update([two], {"3": "broken"})
    assert two.slot.list_versions() == {"2": "", "3": "broken"}
    assert slot.update([one], {})
    assert (slot.current, slot.swaps, slot.count().version) == (one, 1, "1")
    assert one.slot.list_versions() == {"1": ""}
