"""What kind of thing is at this path? Checkpoint prefixes, their shards, and what else a user may have named."""

from __future__ import annotations

import re
from pathlib import Path

from serialization import cli, publish

_CHECKPOINT_FILE = re.compile(r"(?P<prefix>.+?)\.(index|meta|meta\.json|data-\d{5}-of-\d{5})")
_DATA_FILE = re.compile(r".*\.data-(?P<shard>\d{5})-of-(?P<shards>\d{5})")


def find_checkpoint(path: Path) -> Path:
    """The prefix of the checkpoint at `path`: a prefix, any of the checkpoint's files, or its folder.

    A prefix is no file: `results/graph.ckpt` stands for `results/graph.ckpt.index`, `.data-00000-of-00001` and `.meta`.
    Raises cli.Error where there is no checkpoint, or where one of its data files is missing.
    """
    if path.is_dir():
        path = _latest_in_folder(path)
    elif path.name == "checkpoint" and path.is_file():
        path = _latest_in_folder(path.parent)
    elif (match := _CHECKPOINT_FILE.fullmatch(path.name)) is not None:
        path = path.with_name(match["prefix"])
    publish.finish_checkpoint(path)
    if not path.with_name(f"{path.name}.index").is_file():
        raise cli.Error(f"no checkpoint at {cli.show(path)}; found no {path.name}.index; {_advice(path)}")
    _require_all_shards(path)
    return path


def find_file(path: Path, what: str, script: str) -> Path:
    """`path`, if it is a file; else cli.Error that names the `script` which makes `what`."""
    if path.is_dir():
        raise cli.Error(f"{cli.show(path)} is a folder, not {what}; name the file itself")
    if not path.is_file():
        raise cli.Error(f"no {what} at {cli.show(path)}; make one with `{cli.command(script)}`")
    return path


def find_saved_model(path: Path, script: str) -> Path:
    """The folder of the SavedModel at `path`: the folder itself, or its saved_model.pb or .pbtxt."""
    folder = path.parent if path.name in SAVED_MODEL_FILES else path
    if any((folder / name).is_file() for name in SAVED_MODEL_FILES):
        return folder
    raise cli.Error(
        f"no SavedModel at {cli.show(path)}; found no saved_model.pb; make one with `{cli.command(script)}`"
    )


SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")


def _latest_in_folder(folder: Path) -> Path:
    """The checkpoint that the folder's `checkpoint` file names, looked for in this folder wherever that points."""
    state = folder / "checkpoint"
    if state.is_file():
        # The text form of tensorflow/python/training/checkpoint_state.proto.
        named = re.search(r'^model_checkpoint_path: "(.*)"', state.read_text(errors="replace"), re.MULTILINE)
        if named is not None:
            return folder / Path(named[1]).name
    indexes = sorted(folder.glob("*.index"), key=lambda file: file.stat().st_mtime)
    if not indexes:
        raise cli.Error(f"no checkpoint in {cli.show(folder)}; found no *.index; {_advice(folder / 'graph.ckpt')}")
    return indexes[-1].with_suffix("")


def _advice(prefix: Path) -> str:
    if prefix.parent.resolve() == cli.RESULTS.resolve():
        return f"make one with `{cli.command('checkpoint_save.py')}`"
    return "name its prefix, one of its files, or its folder"


def _require_all_shards(prefix: Path) -> None:
    found = [match for file in publish.checkpoint_files(prefix) if (match := _DATA_FILE.fullmatch(file.name))]
    shards = int(found[0]["shards"]) if found else 1
    missing = sorted(set(range(shards)) - {int(match["shard"]) for match in found})
    if missing:
        name = f"{prefix.name}.data-{missing[0]:05}-of-{shards:05}"
        raise cli.Error(
            f"the checkpoint {cli.show(prefix)} is incomplete; its data file {name} is missing; copy it here too"
        )
