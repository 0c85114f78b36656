"""Reads from the given flags which model to read and where to write, and repeats them for the next command."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serialization.console import show_path
from serialization.files.model_flags import EXPORTED_KINDS, require_something
from serialization.flags import CHECKPOINT_FLAGS, KERAS_FLAGS, MODEL_FLAGS, SAVED_MODEL_FLAGS
from serialization.parser import Given
from serialization.project import real_path

_IN_A_FOLDER = ("saved_model.pb", "saved_model.pbtxt", "checkpoint")  # the folder's name tells one model from another
_ENDING = re.compile(r"\.(pb|pbtxt|ckpt|index|meta|keras|h5|hdf5|json|zip|tgz|tar(\.(gz|bz2|xz))?)$")
_FILES = (".pb", ".onnx", ".tflite")  # the endings of targets that are files


def refuse_flags(parser: argparse.ArgumentParser, args: argparse.Namespace, flags: Sequence[str], why: str) -> None:
    """End with status 2 and `--FLAG WHY` if one of these flags is given, since it would change nothing."""
    # Not parse_args, which says what this process was given: only that may be read by a confined one.
    unset = select_values(parser.parse_known_args([])[0], *flags)
    for flag, value in zip(flags, select_values(args, *flags).values(), strict=True):
        if value != unset[flag.replace("-", "_")]:
            parser.error(f"--{flag} {why}")


def name_target(parser: argparse.ArgumentParser, args: argparse.Namespace, target: str, *sources: str) -> None:
    """Name the file that is written after the model that is read, if the user gave a model and no name for the result.

    So a user's model does not replace the toy's result. It goes into the default's folder: my/model.ckpt is written to
    results/model.pb, models/house/1 to results/house.pb. `target` is the attribute of the flag that names the result,
    `sources` are those of the flags that name a model.

    Raises UserError if nothing is at the path that is read.
    """
    default, toys = parser.get_default(target), [parser.get_default(name) for name in sources]
    given = [path for name, toy in zip(sources, toys, strict=True) if (path := getattr(args, name)) != toy]
    own = [path for path in map(real_path, given) if path not in [real_path(toy) for toy in toys if toy]]
    if own and getattr(args, target) == default:
        names = [part for part in own[0].parts if not part.isdecimal() and part not in _IN_A_FOLDER]
        setattr(args, target, default.with_name(_ENDING.sub("", names[-1]) + default.suffix))
    written = real_path(getattr(args, target))
    if default.suffix in _FILES and written.is_dir():
        parser.error(f"--{target.replace('_', '-')} names the folder {show_path(written)}; name a file in it")
    for name in sources:
        if (path := getattr(args, name)) and real_path(path) == written and written.exists():  # a prefix is no file
            reads, writes = (f"--{one.replace('_', '-')}" for one in (name, target))
            parser.error(f"{writes} names the model that {reads} reads; name another place")
    used = [name for name, toy in zip(sources, toys, strict=True) if getattr(args, name) != toy] or sources[:1]
    for name in used:  # before the target: that this one exists already tells little where the source is missing
        require_something(name, getattr(args, name))


def choose_model(
    parser: argparse.ArgumentParser, args: argparse.Namespace, kinds: Sequence[str]
) -> tuple[str, dict[str, Any]]:
    """The flag that names the model, the first of `kinds` if none does, and the values of the flags that go with it.

    Flags are by attribute name. Ends with status 2 if several models are given, or a flag of another kind of model.
    With a file of another runtime go no flags that name tensors, ops or trust.
    """
    options = {name: f"--{name.replace('_', '-')}" for name in kinds}
    # A default may be typed too.
    given = [name for name in kinds if options[name] in Given.words or getattr(args, name) != parser.get_default(name)]
    given = given or [kinds[0]]
    if len(given) > 1:
        parser.error(f"one model at a time; found {', '.join(options[name] for name in given)}")
    kind = given[0]
    own_flags = {"checkpoint": CHECKPOINT_FLAGS, "saved_model": SAVED_MODEL_FLAGS, "keras": KERAS_FLAGS}
    for own, flags in own_flags.items():
        if kind != own:
            others = [flag for flag in flags if flag.replace("-", "_") in args]
            refuse_flags(parser, args, others, f"goes with --{own.replace('_', '-')}")
    if kind in EXPORTED_KINDS and kind in kinds:
        flag = f"--{kind.replace('_', '-')}"
        refuse_flags(
            parser, args, MODEL_FLAGS, f"goes with a model of TensorFlow; {flag} has inputs and outputs of its own"
        )
        return kind, {}
    return kind, select_values(args, *MODEL_FLAGS, *(SAVED_MODEL_FLAGS if kind == "saved_model" else ()))


def select_values(args: argparse.Namespace, *flags: str) -> dict[str, Any]:
    """The values of these flags by attribute name, for a function that takes them by name."""
    return {name: getattr(args, name) for name in (flag.replace("-", "_") for flag in flags)}


def repeat_flags(parser: argparse.ArgumentParser, args: argparse.Namespace, *flags: str) -> list[str | Path]:
    """These flags, as far as they are given, as words for `format_command`: the next step takes them too.

    A path that differs from the default is repeated even if no flag gave it.
    """
    words: list[str | Path] = []
    for flag, value in zip(flags, select_values(args, *flags).values(), strict=True):
        option = f"--{flag.replace('_', '-')}"
        if not isinstance(value, Path):
            words += Given.words.get(option, ())
        elif value != parser.get_default(flag.replace("-", "_")):
            words += [option, value]
    return words
