"""Finds the models that the flags of the server name, and freezes a Keras model for it."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from serialization import project
from serialization.cli import list_readable, require_installed
from serialization.console import show_path
from serialization.errors import UserError
from serialization.files.model_flags import (
    EXPORTED_KINDS,
    MODEL_KINDS,
    detect_model_kind,
    find_model,
    find_newest_model,
)
from serialization.files.stamps import get_watched_folder
from serialization.files.unpacking import list_unpacked
from serialization.flags import KERAS_FLAGS, LOAD_FLAGS, SAVED_MODEL_FLAGS
from serialization.given_flags import choose_model, refuse_flags, repeat_flags, select_values
from serialization.serving.served_models import Opener, ServedModels, make_source

_KINDS = (*MODEL_KINDS, "keras", *EXPORTED_KINDS)
_MODULES = {"onnx": "onnxruntime", "tflite": "ai_edge_litert"}  # what the others need is TensorFlow

Places = dict[str, tuple[str, Path]]
"""The kind and the path of each model, by its name in URLs; the name is empty if no flag gives one."""


@contextmanager
def find_given_models(
    parser: argparse.ArgumentParser, args: argparse.Namespace, openers: Mapping[str, Opener]
) -> Iterator[tuple[ServedModels, list[Path] | None]]:
    """The models that the flags name, and what a confined worker may read; None with --unconfined.

    A Keras model is frozen, into a folder that is removed at the end. Ends with status 2 if the flags do not go
    together. Raises UserError if there is no such model.
    """
    with ExitStack() as stack:
        places, how = _choose_several(parser, args) if args.model else _choose_one(parser, args, stack)
        versions = args.watch or args.keep_versions > 1
        find = find_newest_model if versions else find_model
        found = {name: find(*place) for name, place in places.items()}  # before any worker looks for them
        sources = [
            make_source(*place, found[name], name, versions=versions, shown=args.keras)
            for name, place in places.items()
        ]
        readable = None if args.unconfined else list_readable(args)
        if readable is not None and args.watch:
            readable += [get_watched_folder(*place) for place in places.values()]
        del found  # until here, so that a file is read once
        which = select_values(args, "op-library", "watch", "keep-versions")
        yield ServedModels(sources, openers, how, unpacked=list_unpacked(), **which), readable


def _choose_one(
    parser: argparse.ArgumentParser, args: argparse.Namespace, stack: ExitStack
) -> tuple[Places, dict[str, Any]]:
    """The place of the model, and the arguments of the function that opens it."""
    kind, how = choose_model(parser, args, _KINDS)
    _require_runtimes(kind)
    path = getattr(args, kind)
    if kind == "keras":
        own = ("watch", "keep-versions")
        refuse_flags(parser, args, own, "does not go with --keras; freeze the model, and serve that")
        folder = stack.enter_context(TemporaryDirectory(prefix="frozen-"))
        words = repeat_flags(parser, args, *KERAS_FLAGS, *LOAD_FLAGS)
        kind, path = "frozen_model", _freeze_keras(args.keras, Path(folder), words)
        args.frozen_model = path  # the workers may read it
        how |= {"inputs": None, "outputs": None}  # the frozen model records them
    how.pop("op_library", None)
    return {args.model_name or "": (kind, path)}, how


def _choose_several(parser: argparse.ArgumentParser, args: argparse.Namespace) -> tuple[Places, dict[str, Any]]:
    by_kind = [kind.replace("_", "-") for kind in _KINDS]
    refuse_flags(parser, args, by_kind, "does not go with --model, which takes any kind but Keras")
    of_one = (*SAVED_MODEL_FLAGS, *KERAS_FLAGS, "inputs", "outputs", "model-name")
    refuse_flags(parser, args, of_one, "is of one model; it does not go with --model")
    paths: dict[str, Path] = dict(args.model)
    if len(paths) < len(args.model):
        parser.error(f"several models have one name; found --model {', '.join(name for name, _ in args.model)}")
    places = {name: (detect_model_kind(path), path) for name, path in paths.items()}
    _require_runtimes(*(kind for kind, _ in places.values()))
    return places, select_values(args, "trust-model")


def _require_runtimes(*kinds: str) -> None:
    """Raise ModuleNotFoundError if the program that runs models of one of these kinds is not installed."""
    require_installed(*["tensorflow" for kind in kinds if kind not in _MODULES])
    if exported := [_MODULES[kind] for kind in kinds if kind in _MODULES]:
        require_installed(*exported, requirements="requirements-serve.txt")


def _freeze_keras(keras: Path, folder: Path, words: Sequence[str | Path]) -> Path:
    """Freeze a Keras model into the folder by freezemodel_save.py, in a confined process that ends with Keras in it."""
    frozen = folder / "frozen_model.pb"
    command = [sys.executable, project.ROOT / "freezemodel_save.py", "--keras", keras, "--frozen-model", frozen, *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(done.stderr.strip().removeprefix("error: "))
    if "\nproved: " not in done.stdout:
        print(f"{show_path(keras)}: {done.stdout.splitlines()[-2]}")  # why nothing was proved
    return frozen
