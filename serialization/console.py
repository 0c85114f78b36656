"""Formats and prints for the scripts: paths, sizes, tables, progress, and errors on one line.

rich is imported when a table or a bar is drawn, so that `--help` answers at once.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from serialization.project import ROOT

Step = TypeVar("Step")
_LISTED = 10  # keys that are listed, all of them
# The line of TensorFlow's log that says why it aborts: `F0000 00:00:1700000000.000000 123 file.cc:1] Check failed: …`.
_FATAL = r"(?m)^(?:F\d{4} |\S+ \S+: F ).*?\] (.*)$"
_LONGEST_WORD = 1_000  # characters; paths may be as long


_names: dict[Path, Path] = {}  # of folders that stand for something else


def show_as(folder: Path, name: Path | None) -> None:
    """From now on show this folder, and all below it, by another name: an archive's, which it was unpacked from."""
    _names.pop(folder, None)
    _names.update({} if name is None else {folder: Path(os.path.abspath(name))})


def shorten_path(path: Path) -> str:
    """The path relative to the current directory where it lies below it, else the absolute path."""
    path = Path(os.path.abspath(path))
    for folder, name in _names.items():
        path = name / path.relative_to(folder) if path.is_relative_to(folder) else path
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def show_path(path: Path) -> str:
    r"""The path for a line of text: as `shorten_path` gives it, a line end or the like in it written as `\n`."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shorten_path(path))


def make_printable(text: str, most: int = 120) -> str:
    """A name from an untrusted file, made safe for a terminal: no control characters, at most `most` characters."""
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown if len(shown) <= most else f"{shown[:most]}…"


def shorten_words(text: str) -> str:
    """The text with its longest words cut: a model's names may have any length, and one alone would fill the screen."""
    return re.sub(rf"\S{{{_LONGEST_WORD},}}", lambda word: f"{word[0][:100]}…{word[0][-100:]}", text)


def format_error(error: BaseException) -> str:
    """The error's message on one line; an OSError as `path: reason`."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{show_path(Path(os.fsdecode(error.filename)))}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return " ".join(str(error).split())


def format_command(script: str, *arguments: str | Path) -> str:
    """The line that runs a script of this project, for the user to copy."""
    words = [shorten_path(ROOT / script), *(shorten_path(a) if isinstance(a, Path) else a for a in arguments)]
    return shlex.join(["python", *words])


def format_size(count: int) -> str:
    """A number of bytes as people read it: `815 bytes`, `27.1 kB`, `1.07 GB` (decimal units)."""
    if count < 1000:
        return format_count(count, "byte")
    power = min((len(str(count)) - 1) // 3, 4)
    return f"{count / 1000**power:.3g} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def list_some(names: Sequence[str], most: int = 5) -> str:
    """The first of some names, and how many more there are: `a, b and 3 more`."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def list_known(key: str, known: Iterable[str]) -> str:
    """The keys that a wrong key may be meant for: all of them, of many the nearest, and how many more there are."""
    keys = list(known)
    near = difflib.get_close_matches(key, keys, n=3, cutoff=0.4) if len(keys) > _LISTED else []
    most = len(near) or _LISTED
    return make_printable(list_some([*near, *(other for other in keys if other not in near)], most), 400) or "none"


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table: drawn by rich on a terminal, aligned columns elsewhere."""
    cells = [tuple(headings), *(tuple(map(str, row)) for row in rows)]
    lines = _draw_table(cells) if sys.stdout.isatty() else _align_columns(cells)
    print("\n".join(line.rstrip() for line in lines))


def _align_columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table in a file or a pipe; rich would wrap them, and draw boxes if FORCE_COLOR is set."""
    from rich.cells import cell_len  # a fortieth of what the whole of rich takes to be imported

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))


def _draw_table(rows: Sequence[Sequence[str]]) -> list[str]:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    drawn = Table(box=box.ROUNDED if console.is_terminal else None, pad_edge=console.is_terminal)
    for heading in rows[0]:
        drawn.add_column(Text(heading))
    for row in rows[1:]:
        drawn.add_row(*map(Text, row))
    with console.capture() as captured:
        console.print(drawn)
    return captured.get().splitlines()


def show_progress(
    steps: Iterable[Step], title: str, total: int, weigh: Callable[[Step], int] | None = None
) -> Iterator[Step]:
    """Yield the steps and, on a terminal, show a progress bar. `total` counts steps, or adds up `weigh` of each."""
    if not sys.stdout.isatty():
        yield from steps
        return
    from rich.progress import Progress

    with Progress() as bar:
        task = bar.add_task(title, total=total)
        for step in steps:
            yield step
            bar.advance(task, weigh(step) if weigh is not None else 1)


def print_notes(notes: Iterable[str]) -> None:
    """Print the notes on choices, omissions and repairs, a line each."""
    for note in notes:
        print(shorten_words(make_printable(note, len(note))))


def list_export(folder: Path, target: Path) -> list[tuple[str, str]]:
    """The files of an export that is still in `folder`, by their places below `target`, and their sizes."""
    rows = []
    for path in sorted(folder.rglob("*")):
        shown = show_path(target / path.relative_to(folder))
        if path.is_file():
            rows.append((shown, format_size(path.stat().st_size)))
        elif not any(path.iterdir()):
            rows.append((f"{shown}/", "empty"))
    return rows


def print_export(target: Path, files: Iterable[tuple[str, str]], proof: str) -> None:
    """The end of a script that exports a SavedModel: what it wrote, the proof, what to try next."""
    print_table(("file", "size"), files)
    print(proof)
    print(f"next: {format_show(target)}")


def format_show(folder: Path) -> str:
    """The command that shows a SavedModel with TensorFlow's own tool, without the tool's log on stderr.

    That tool opens no archive.
    """
    if any(folder.is_relative_to(unpacked) for unpacked in _names):
        return format_command("model_inspect.py", folder)
    return f"{shlex.join(['saved_model_cli', 'show', '--dir', shorten_path(folder), '--all'])} 2>/dev/null"


def format_count(count: int, noun: str, plural: str = "") -> str:
    """A count and its noun, singular or plural: `1 image`, `10,000 images`; `plural` is one without -s."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def explain_death(number: int, said: str) -> str:
    """One line that names the signal that ended a process with a loaded model, and the reason.

    `said` is what the process wrote to stderr: the reason is found in it.
    """
    name = signal.Signals(number).name
    if number == signal.SIGKILL:
        return f"the process was killed; found {name}, as where the memory runs out; use a larger machine"
    fatal = re.findall(_FATAL, said) or said.split("\n\n")[:1]
    why = " ".join(fatal[0].split())[:300] or "no message"
    return f"the model made TensorFlow crash; found {name}: {why}; it may be damaged, or made for another TensorFlow"
