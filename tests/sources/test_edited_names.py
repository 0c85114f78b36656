"""The names of a checkpoint's variables in an edited copy. tests/test_checkpoint_edit.py makes the copies."""

from __future__ import annotations

from pathlib import Path

import pytest

from serialization.errors import UserError
from serialization.formats.checkpoint_index import Checkpoint, Variable
from serialization.sources.edited_names import choose_edited_names
from serialization.sources.variable_mapping import move_name


def hold(**shapes: tuple[int, ...]) -> Checkpoint:
    """A checkpoint by names; two underscores stand for a slash."""
    variables = tuple(Variable(name.replace("__", "/"), "float32", shape) for name, shape in shapes.items())
    return Checkpoint(Path("m"), "V2", (), variables, False)


@pytest.mark.parametrize(
    ("name", "old", "new", "moved"),
    [
        ("a", "a", "b", "b"),
        ("a/b", "a", "x/y", "x/y/b"),
        ("a/b", "a/", "x/", "x/b"),
        ("a/b", "a", "", "b"),
        ("a/b", "", "x", "x/a/b"),
        ("ab", "a", "x", None),
        ("a", "a", "", None),
        ("a/", "a", "", None),
    ],
)
def test_a_name_in_a_scope_is_moved(name: str, old: str, new: str, moved: str | None) -> None:
    assert move_name(name, old, new) == moved


def test_without_flags_all_stay() -> None:
    names = choose_edited_names(hold(b=(1,), a=(2,)))
    assert (list(names.kept), dict(names.renamed), names.notes) == (["a", "b"], {}, ())


@pytest.mark.parametrize("slot", ["Adam", "Adam_1", "Momentum", "adam_m", "whatever_of_the_same_shape"])
def test_slots_are_below_their_variable(slot: str) -> None:
    held = hold(s__w=(2, 3), **{f"s__w__{slot}": (2, 3)}, beta1_power=(), opt__beta2_power_1=(), global_step=())
    names = choose_edited_names(held, slots=False)
    assert list(names.kept) == ["global_step", "s/w"]
    assert names.notes == (f"left out 3 variables of an optimizer: s/w/{slot}, beta1_power, opt/beta2_power_1",)


def test_slots_may_be_below_an_optimizers_scope_or_of_another_shape() -> None:
    held = hold(s__w=(2, 3), training__s__w__Momentum=(2, 3), s__w__vr=(2,))
    assert list(choose_edited_names(held, slots=False).kept) == ["s/w"]


@pytest.mark.parametrize("other", ["w__ExponentialMovingAverage", "w__part", "x__Adam"])
def test_other_variables_are_no_slots(other: str) -> None:
    shape = (2,) if other.startswith("w__E") else (5,)
    held = hold(w=(2,), w__Adam=(2,), **{other: shape})
    assert list(choose_edited_names(held, slots=False).kept) == ["w", other.replace("__", "/")]


def test_averages_replace_raw_values_and_are_renamed_with_them() -> None:
    held = hold(w=(2,), w__ExponentialMovingAverage=(2,), v__ExponentialMovingAverage=(1,), b=(3,))
    names = choose_edited_names(held, [("w", "kernel")], ema=True)
    assert {name: variable.name for name, variable in names.kept.items()} == {
        "b": "b",
        "kernel": "w/ExponentialMovingAverage",
        "v": "v/ExponentialMovingAverage",
    }
    assert names.renamed == {"w": "kernel"}
    assert names.notes == ("took 2 moving averages in place of raw values", "renamed 1 variable")


def test_the_longest_rename_decides() -> None:
    renames = [("a", "x"), ("a/b", "y"), ("", "all")]
    names = choose_edited_names(hold(a__c=(1,), a__b__d=(1,), e=(1,)), renames)
    assert dict(names.new) == {"a/c": "x/c", "a/b/d": "y/d", "e": "all/e"}


def test_nothing_is_left() -> None:
    with pytest.raises(UserError, match="m holds no variables to be copied"):
        choose_edited_names(hold(beta1_power=()), slots=False)
