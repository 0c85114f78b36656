"""Chooses the names that the variables of a checkpoint have in an edited copy of it.

A copy is by names: the variables of an object-based checkpoint of TensorFlow 2 are called by their own names, or where
these are unknown or not unique, by their paths.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serialization.console import format_count, list_some, make_printable, show_path
from serialization.errors import UserError
from serialization.formats.checkpoint_index import Checkpoint, Variable
from serialization.formats.object_graph import find_copies, find_variable_keys, read_object_graph
from serialization.sources.variable_mapping import AVERAGE, move_name, name_nearest

_VALUE, _CONFIG = "/.ATTRIBUTES/VARIABLE_VALUE", "/.ATTRIBUTES/OBJECT_CONFIG_JSON"
_POWER = re.compile(r"(?:.*/)?beta[12]_power(?:_\d+)?", re.DOTALL)
# What the optimizers of TensorFlow 1 and of Keras call their slots; some have other shapes than their variables.
_SLOT = re.compile(
    r"(?:Adam|AdamW|AdaMax|Nadam|Momentum|Adagrad|AdagradDA|Adadelta|RMSProp|Ftrl|LARSOptimizer|LAMB|adam_[mv]|[mv]|vhat|"
    r"v[rc]|momentum|velocity|rms|accumulator|linear|accum_(?:grad|var)|mg)(?:_\d+)?"
)


@dataclass(frozen=True)
class EditedNames:
    """The variables of a copy: `kept` has the source's variable for each new name, in the order of these.

    `new` has the new name for each name that the graph of the source has for a variable of the copy. `notes` report
    what was taken, and what was left out.
    """

    kept: Mapping[str, Variable]
    new: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def renamed(self) -> dict[str, str]:
        """The new names that differ, by the old ones."""
        return {old: new for old, new in self.new.items() if old != new}


def choose_edited_names(
    held: Checkpoint, rename: Sequence[tuple[str, str]] = (), *, ema: bool = False, slots: bool = True
) -> EditedNames:
    """The variables of a copy of the checkpoint, as `--rename` and `--ema` ask; without `slots`, as `--no-slots` does.

    Raises UserError for a flag that fits no variable, and for two variables of one name.
    """
    where = show_path(held.prefix)
    keys, notes = _name_variables(held)
    known = {variable.name: variable for variable in held.variables}
    if not slots:
        dropped = _find_slots(held, {name: known[key] for name, key in keys.items()})
        if not dropped:
            raise UserError(f"--no-slots: {where} holds no slots of an optimizer; leave the flag out")
        keys = {name: key for name, key in keys.items() if name not in dropped}
        notes.append(f"left out {format_count(len(dropped), 'variable')} of an optimizer: {list_some(dropped)}")
    if ema:
        averages = [name for name in keys if name.endswith(AVERAGE) and name != AVERAGE]
        if not averages:
            raise UserError(
                f"--ema: {where} holds no moving averages; found no name that ends in {AVERAGE}; leave the flag out"
            )
        keys |= {name.removesuffix(AVERAGE): keys[name] for name in averages}
        keys = {name: key for name, key in keys.items() if name not in averages}
        notes.append(f"took {format_count(len(averages), 'moving average')} in place of raw values")
    new = _rename(list(keys), rename, where)
    if not new:
        raise UserError(f"{where} holds no variables to be copied")
    if moved := sum(old != name for old, name in new.items()):
        notes.append(f"renamed {format_count(moved, 'variable')}")
    kept = {name: known[keys[old]] for old, name in sorted(new.items(), key=lambda pair: pair[1])}
    return EditedNames(kept, new, tuple(make_printable(note, len(note)) for note in notes))


def _name_variables(held: Checkpoint) -> tuple[dict[str, str], list[str]]:
    """The key of each variable by its name, and notes on what a checkpoint of names has no use for."""
    named = find_variable_keys(held)
    if not held.object_graph:
        return named, []
    copies = find_copies(held, read_object_graph(held))
    configs = [key for key in named.values() if key.endswith(_CONFIG)]
    kept = {name: key for name, key in named.items() if key not in copies and key not in configs}
    paths = {name: name.removesuffix(_VALUE) for name in kept}
    times = Counter(paths.values())
    notes = ["object-based: the variables are called by their own names, or by their paths"]
    if copies:
        notes.append(f"left out {format_count(len(copies), 'copy', 'copies')} of variables")
    if configs:
        notes.append(f"left out the configuration of {format_count(len(configs), 'object')}")
    return {path if times[path] == 1 else name: kept[name] for name, path in paths.items()}, notes


def _find_slots(held: Checkpoint, known: Mapping[str, Variable]) -> list[str]:
    """The names of the variables that only an optimizer needs, as the object graph or their names tell."""
    roles = {key: one.role for key, one in read_object_graph(held).items()}
    return [
        name
        for name, variable in known.items()
        if roles.get(variable.name, "variable") != "variable" or _POWER.fullmatch(name) or _is_slot(name, known)
    ]


def _is_slot(name: str, known: Mapping[str, Variable]) -> bool:
    """Whether the name is that of a slot: below another variable, or below an optimizer's scope and its name."""
    of, _, last = name.rpartition("/")
    if f"/{last}" == AVERAGE or not of:
        return False
    if of in known:
        return known[of].shape == known[name].shape or _SLOT.fullmatch(last) is not None
    scopes = [of[place + 1 :] for place, character in enumerate(of) if character == "/"]
    return _SLOT.fullmatch(last) is not None and any(scope in known for scope in scopes)


def _rename(names: Sequence[str], renames: Sequence[tuple[str, str]], where: str) -> dict[str, str]:
    """The new name of each variable: the longest OLD that fits decides. Raises UserError."""
    found: dict[str, str] = {}
    used = set()
    for name in names:
        fitting = [(pair, new) for pair in renames if (new := move_name(name, *pair)) is not None]
        pair, found[name] = max(fitting, key=lambda one: len(one[0][0]), default=(None, name))
        used.add(pair)
    for old, new in renames:
        if (old, new) not in used:
            raise UserError(f"--rename {old}={new}: {where} holds no variable or scope {old}{name_nearest(old, names)}")
    times = Counter(found.values())
    if twice := [name for name in names if times[found[name]] > 1]:
        both = [name for name in names if found[name] == found[twice[0]]]
        raise UserError(
            f"{make_printable(' and '.join(both[:2]))} would both be called {make_printable(found[twice[0]])}; "
            "give each a name of its own with --rename OLD=NEW"
        )
    return found
