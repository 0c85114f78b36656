"""Publishes a file, a folder or a checkpoint whole or not at all.

Everything is written into a staging folder beside its target and renamed when it is complete. So a reader never sees
half a model, a run that fails or is killed changes nothing, and the old result stays until the new one is ready. A run
locks its staging folder (flock). The kernel releases the lock however the run ends, so the next run recognises a folder
that was left behind.

A process that is confined may write the staging folder and nothing else; its parent does the rest for it, see
serialization/files/publisher.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from serialization.console import format_size, show_path
from serialization.errors import UserError
from serialization.files.locked_folders import hold_new_folder
from serialization.files.moves import hold_folder, move_into_place, put_back_replaced, refuse_existing, sync_to_disk
from serialization.files.publisher import name_target, staged_by_parent

_STAGED = "staged"  # the prefix of a staged checkpoint: writers add to names, and a name has at most 255 bytes


@staged_by_parent
@contextmanager
def stage_output(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a path to write a file or a folder to; on leaving without an exception it becomes `target`.

    A link is followed, and its target replaced. Raises UserError, before anything is written, if `target` exists and
    `overwrite` is false, or if it is something else than an earlier result.
    """
    target = _follow(Path(os.path.abspath(target)))  # `.` has no name of its own
    _refuse_other_things(target)
    refuse_existing(target, [target], overwrite)
    with _staging_folder(target) as folder:
        new = folder / target.name
        yield new
        sync_to_disk(new)
        move_into_place(new, target, overwrite)


@staged_by_parent
@contextmanager
def stage_checkpoint(prefix: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a checkpoint prefix to save to; on leaving without an exception its files become those of `prefix`.

    Several files cannot be renamed in one step. So the complete staging folder is renamed to the commit folder, with a
    manifest in it: the names of its files. Once that is done, `finish_checkpoint` moves the files: in this run, or if
    it is killed, in the next run that reads the checkpoint. TensorFlow finds no checkpoint without its index, so the
    old index is removed first and the new one moved last.
    """
    finish_checkpoint(prefix)
    refuse_existing(prefix, list_checkpoint_files(prefix), overwrite)
    with _staging_folder(prefix) as folder:
        yield folder / _STAGED
        _give_name(folder, prefix.name)
        (folder / _MANIFEST).write_bytes(b"\0".join(os.fsencode(file.name) for file in folder.iterdir()))
        sync_to_disk(folder)
        with hold_folder(prefix.parent):
            _finish(prefix)  # another run may have renamed its folder meanwhile
            refuse_existing(prefix, list_checkpoint_files(prefix), overwrite)
            folder.rename(_commit_folder(prefix))
            _finish(prefix)


def finish_checkpoint(prefix: Path) -> None:
    """Move the files of a `stage_checkpoint` that was killed after its rename; without one this does nothing."""
    if _commit_folder(prefix).is_dir():
        with hold_folder(prefix.parent):
            _finish(prefix)


def _finish(prefix: Path) -> None:
    """`finish_checkpoint` under the lock of the folder."""
    commit = _commit_folder(prefix)
    if not commit.is_dir():  # another process has finished it meanwhile
        return
    manifest = commit / _MANIFEST
    # Without a manifest the run was killed while it removed the empty folder.
    listed = manifest.read_bytes() if manifest.is_file() else b""
    names = [os.fsdecode(name) for name in listed.split(b"\0") if name]
    unlisted = sorted({file.name for file in commit.iterdir()} - {_MANIFEST, *names})
    if unlisted:
        raise UserError(
            f"{show_path(commit)} was left by a run that was killed, and holds {unlisted[0]!r}, which its list of "
            "files does not name; move that file to another place"
        )
    if names:
        index = f"{prefix.name}.index"
        if (commit / index).exists():
            (prefix.parent / index).unlink(missing_ok=True)
        for stale in list_checkpoint_files(prefix):
            if stale.name not in names:
                stale.unlink()
        for name in sorted(names, key=lambda name: name == index):
            if (commit / name).exists():  # else it was moved before the run was killed
                (commit / name).replace(prefix.parent / name)
    manifest.unlink(missing_ok=True)
    commit.rmdir()  # which fails if the folder holds anything else


def _give_name(folder: Path, name: str) -> None:
    """Name the staged files as their target, also in the folder's `checkpoint` file, which says what is the latest."""
    from google.protobuf.text_encoding import CEscape

    for file in list_checkpoint_files(folder / _STAGED):
        file.rename(folder / f"{name}{file.name.removeprefix(_STAGED)}")
    state = folder / "checkpoint"
    if state.is_file():
        escaped = CEscape(os.fsencode(name), as_utf8=False)
        state.write_text(state.read_text("utf-8").replace(f'"{_STAGED}"', f'"{escaped}"'), "utf-8")


def list_checkpoint_files(prefix: Path) -> list[Path]:
    """The files of a checkpoint: PREFIX.index, PREFIX.data-00000-of-00001 and so on; none if there are none."""
    if not prefix.parent.is_dir():
        return []
    name = re.compile(re.escape(prefix.name) + _CHECKPOINT_FILE)
    return sorted(file for file in prefix.parent.iterdir() if name.fullmatch(file.name))


def list_staged(staged: Sequence[Path], prefixes: Sequence[Path]) -> list[tuple[str, str]]:
    """The files of checkpoints at their staged prefixes, by the names that they get, with their sizes."""
    return [
        (show_path(prefix.with_name(prefix.name + file.name.removeprefix(new.name))), format_size(file.stat().st_size))
        for new, prefix in zip(staged, prefixes, strict=True)
        for file in list_checkpoint_files(new)
    ]


_MANIFEST = "files"
_CHECKPOINT_FILE = r"(\.index|\.meta|\.meta\.json|\.data-\d{5}-of-\d{5})"
_OF_A_SAVED_MODEL = {
    *("saved_model.pb", "saved_model.pbtxt", "variables", "assets", "assets.extra"),
    *("fingerprint.pb", "keras_metadata.pb"),
}


def _commit_folder(prefix: Path) -> Path:
    return prefix.parent / f".commit-{_digest(prefix.name)}"


def _digest(name: str) -> str:
    """Stands for the name of a target in the names of the folders beside it, which would be too long with the name."""
    import hashlib  # here, since it loads OpenSSL, and only some scripts write

    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def _follow(target: Path) -> Path:
    """The path that a link points to, whether or not it exists."""
    if not target.is_symlink():
        return target
    try:
        return target.resolve()
    except (RuntimeError, OSError):  # the first up to Python 3.12, the second since
        raise UserError(f"{show_path(target)} is a link that leads back to itself; name another place") from None


def _refuse_other_things(target: Path) -> None:
    """Raise UserError if a folder holds other files than a SavedModel, or a file is part of a model."""
    if target.is_dir():
        others = sorted(path.name for path in target.iterdir() if path.name not in _OF_A_SAVED_MODEL)
        if others:
            there = f"{show_path(target)} is a folder with other files than those of a SavedModel, such as {others[0]}"
            raise UserError(f"{there}; name a new file or folder")
    elif target.exists() and not target.is_file():
        raise UserError(f"{show_path(target)} is neither a file nor a folder; name a new file")
    elif target.exists() and re.fullmatch(rf"(?s:.+){_CHECKPOINT_FILE}|checkpoint|saved_model\.pb(txt)?", target.name):
        raise UserError(f"{show_path(target)} is part of another model; name a new file")


@contextmanager
def _staging_folder(target: Path) -> Iterator[Path]:
    """A locked folder beside the target, removed on leaving. Staging folders of killed runs are removed first."""
    new_parents = [parent for parent in target.parents if not parent.exists()]
    _make_folder(target.parent)
    put_back = partial(put_back_replaced, target=target)
    with ExitStack() as stack:
        try:
            held = hold_new_folder(target.parent, f".partial-{_digest(target.name)}-", put_back)
            folder = stack.enter_context(held)
        except OSError as error:  # it names the new folder and not its parent
            why = f"{show_path(target.parent)}: {error.strerror}"
            raise UserError(f"cannot write {show_path(target)}; {why}; name another place") from None
        folder.chmod(0o777 & ~_umask())  # else an exported folder would keep mkdtemp's 0700
        try:
            yield folder
        except (OSError, UserError) as error:
            raise name_target(error, folder, (folder / _STAGED, folder / target.name), target) from None
        finally:
            stack.close()
            for parent in new_parents:  # the deepest first; those with a result stay
                with suppress(OSError):
                    parent.rmdir()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        raise UserError(f"{show_path(there)} is not a folder; name another place") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
