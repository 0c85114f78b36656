"""One argument parser, one-line errors, exit codes and what the scripts print.

Nothing here imports TensorFlow, numpy or rich before it is needed, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import shlex
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from serialization.flags import FLAGS

Step = TypeVar("Step")

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = PROJECT / "results"
PRETRAINED = PROJECT / "pretrainedresnet"


class Error(Exception):
    """Something the user can mend: `what is wrong; what was found; what to do`, on one line."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; `python {show(Path(sys.argv[0]))} --help` lists the flags\n")


class _Help(argparse.HelpFormatter):
    """Fills paragraphs, leaves what is indented, and shows defaults as a user would type them."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts = itertools.groupby(text.splitlines(), lambda line: bool(line) and not line.startswith(" "))
        filled = (
            textwrap.fill(" ".join(lines), width, break_on_hyphens=False) if prose else "\n".join(lines)
            for prose, lines in parts
        )
        return "\n".join(filled)

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if action.default is None or action.default is False or action.default is argparse.SUPPRESS:
            return text
        default = show(action.default) if isinstance(action.default, Path) else action.default
        default = f"{default:g}" if isinstance(default, float) else default
        return f"{text} (default: {default})".replace("%", "%%")


def parser(docstring: str | None, *flags: str, **defaults: Any) -> argparse.ArgumentParser:
    """A parser whose `--help` is the script's docstring and whose flags are taken from FLAGS.

    `flags` are names without `--`; `defaults` are by attribute name and add their flag:
    `parser(__doc__, "overwrite", frozen_model=RESULTS / "frozen_model.pb")`.
    """
    result = _Parser(description=(docstring or "").strip(), formatter_class=_Help, allow_abbrev=False)
    wanted = {name.replace("_", "-") for name in (*defaults, *flags)}
    for name in sorted(wanted, key=list(FLAGS).index):  # in the same order everywhere
        result.add_argument(f"--{name}", default=defaults.get(name.replace("-", "_")), **FLAGS[name])
    return result


def refuse(parser: argparse.ArgumentParser, args: argparse.Namespace, flags: Sequence[str], why: str) -> None:
    """End with status 2 if one of these flags is there, which would change nothing: `--FLAG WHY`."""
    unset = values(parser.parse_args([]), *flags)
    for flag, value in zip(flags, values(args, *flags).values(), strict=True):
        if value != unset[flag.replace("-", "_")]:
            parser.error(f"--{flag} {why}")


def values(args: argparse.Namespace, *flags: str) -> dict[str, Any]:
    """The values of these flags by attribute name, for a function that takes them by name."""
    return {name: getattr(args, name) for name in (flag.replace("-", "_") for flag in flags)}


def run(main: Callable[[Sequence[str] | None], int]) -> NoReturn:
    """Run a script's `main` as the process: exit 0 done, 1 failed, 2 wrong flags, 130 interrupted."""
    sys.exit(call(main))


def _open_what_is_closed() -> None:
    """Have descriptors 0, 1 and 2, also in processes to be started: else the next file to be opened is one of them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def call(main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """`main(argv)`, where an Error becomes one line on stderr and status 1. A bug keeps its traceback."""
    # A closed stdout, `>&-`, is no reason to fail, nor is a character that it has no bytes for.
    _open_what_is_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = main(argv)
        sys.stdout.flush()
        return status
    except (Error, OSError) as error:
        if isinstance(error, BrokenPipeError):  # `script.py | head`: the reader has left, so nobody needs a message
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + signal.SIGPIPE
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except ModuleNotFoundError as error:
        if not _is_of_others(error.name or ""):
            raise
        print(f"error: {_lacks(error.name or '')}", file=sys.stderr)
        return 1
    except Exception:
        from serialization import tensorflow

        traceback.print_exc()
        sys.stderr.write(tensorflow.held_back())  # what TensorFlow said before may tell why
        return 1


def _is_of_others(module: str) -> bool:
    top = module.partition(".")[0]
    return bool(top) and not any((PROJECT / name).exists() for name in (top, f"{top}.py"))


def _lacks(module: str) -> str:
    ours = PROJECT / ".venv"
    other = ours.is_dir() and Path(sys.prefix).resolve() != ours.resolve()
    advice = (
        f"use {show(ours / 'bin' / 'python')}" if other else "`pip install -r requirements.txt` installs all it needs"
    )
    return f"{sys.executable} has no module {module.partition('.')[0]}; {advice}"


def one_line(error: BaseException) -> str:
    """The error's message on one line; an OSError as `path: reason`."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{show(Path(os.fsdecode(error.filename)))}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return " ".join(str(error).split())


def show(path: Path) -> str:
    """The path as the user would type it: relative where it lies below the current directory."""
    path = Path(os.path.abspath(path))
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def printable(text: str, most: int = 120) -> str:
    """A name out of a file that anybody may have written, fit for a terminal: no control characters, not endless."""
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown if len(shown) <= most else f"{shown[:most]}…"


def command(script: str, *arguments: str | Path) -> str:
    """The line that runs a script of this project, for the user to copy."""
    words = [show(PROJECT / script), *(show(a) if isinstance(a, Path) else a for a in arguments)]
    return shlex.join(["python", *words])


def report_export(folder: Path, proof: str) -> None:
    """The end of a script that exports a SavedModel: what it wrote, the proof, what to try next."""
    rows = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            rows.append((show(path), size(path.stat().st_size)))
        elif not any(path.iterdir()):
            rows.append((f"{show(path)}/", "empty"))
    table(("file", "size"), rows)
    print(proof)
    print(f"next: {shlex.join(['saved_model_cli', 'show', '--dir', show(folder), '--all'])}")


def real(path: Path) -> Path:
    """Where a path leads, links followed. Path.resolve raises for links in a circle, before Python 3.13."""
    return Path(os.path.realpath(path))


def report(notes: Iterable[str]) -> None:
    """What was chosen, left out and repaired on the way, a line each."""
    for note in notes:
        print(note)


def unless_default(parser: argparse.ArgumentParser, args: argparse.Namespace, *names: str) -> list[str | Path]:
    """The flags that `command` needs to repeat: those whose value is not the default."""
    words: list[str | Path] = []
    for name in names:
        value = getattr(args, name)
        if value != parser.get_default(name):
            words += [f"--{name.replace('_', '-')}", value]
    return words


def size(count: int) -> str:
    """A number of bytes as people read it: `815 bytes`, `27.1 kB`, `1.07 GB` (decimal units)."""
    if count < 1000:
        return f"{count} bytes"
    power = min((len(str(count)) - 1) // 3, 4)
    return f"{count / 1000**power:.3g} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table: drawn by rich on a terminal, aligned columns elsewhere."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Off a terminal rich would wrap at 80 columns, or for FORCE_COLOR draw; a file or a pipe has no width.
    console = Console() if sys.stdout.isatty() else Console(width=10_000, force_terminal=False)
    drawn = Table(*headings, box=box.ROUNDED if console.is_terminal else None, pad_edge=console.is_terminal)
    for row in rows:
        drawn.add_row(*(Text(str(cell)) for cell in row))
    with console.capture() as captured:
        console.print(drawn)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def progress(
    steps: Iterable[Step], what: str, total: int, weigh: Callable[[Step], int] | None = None
) -> Iterator[Step]:
    """Yield the steps behind a progress bar, which only a terminal is shown; `weigh` says how much a step is."""
    if not sys.stdout.isatty():
        yield from steps
        return
    from rich.progress import Progress

    with Progress() as bar:
        task = bar.add_task(what, total=total)
        for step in steps:
            yield step
            bar.advance(task, weigh(step) if weigh is not None else 1)
