"""One argument parser, the shared flags, one-line errors, exit codes and what the scripts print.

Nothing here imports TensorFlow, numpy or rich before it is needed, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

Step = TypeVar("Step")

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = PROJECT / "results"
PRETRAINED = PROJECT / "pretrainedresnet"


class Error(Exception):
    """Something the user can mend: `what is wrong; what was found; what to do`, on one line."""


def whole_number(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """The type of a flag that takes a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} to {most}, got {text!r}")
        return int(text)

    return parse


def path(text: str) -> Path:
    """The type of a flag that takes a path; a `~` that the shell has left is the home folder all the same."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got an empty word")
    return Path(text).expanduser()


def prefix(text: str) -> Path:
    """The type of a flag that takes a checkpoint prefix, or a folder that is there."""
    if text.endswith("/") and not path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder, and a prefix has no slash at its end")
    return path(text)


def number(least: float) -> Callable[[str], float]:
    """The type of a flag that takes a time, from `least` to a day's seconds."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= 86_400:
            raise argparse.ArgumentTypeError(f"expected a number from {least:g} to 86400, got {text!r}")
        return value

    return parse


# One vocabulary for all scripts: a flag that is spelt the same means the same. `parser` takes its flags from here.
FLAGS: dict[str, dict[str, Any]] = {
    "checkpoint": {
        "type": prefix,
        "metavar": "PREFIX",
        "help": "a checkpoint: its prefix, any of its files, or its folder",
    },
    "graph": {
        "type": path,
        "metavar": "FILE",
        "help": "where the graph is, if not PREFIX.meta: a MetaGraphDef or GraphDef, binary or text",
    },
    "rename": {
        "action": "append",
        "metavar": "OLD=NEW",
        "help": "the graph's variable or scope NEW is OLD in the checkpoint; repeatable",
    },
    "partial": {
        "action": "store_true",
        "help": "go on where the checkpoint lacks variables that no output needs",
    },
    "ema": {"action": "store_true", "help": "take the moving averages of the variables in place of their raw values"},
    "op-library": {"type": path, "metavar": "FILE.so", "help": "a library that registers ops which TensorFlow lacks"},
    "frozen-model": {"type": path, "metavar": "FILE", "help": "a frozen GraphDef, binary or text"},
    "saved-model": {"type": path, "metavar": "DIR", "help": "a SavedModel to read"},
    "export-dir": {"type": path, "metavar": "DIR", "help": "a SavedModel to write"},
    "tag-set": {
        "metavar": "TAGS",
        "help": "the MetaGraphDef to take from the SavedModel, by its tags, comma separated",
    },
    "signature": {"metavar": "KEY", "help": "the SignatureDef to take from the SavedModel"},
    "inputs": {"metavar": "TENSORS", "help": "tensors to feed: NAME or KEY=NAME, comma separated"},
    "outputs": {"metavar": "TENSORS", "help": "tensors to fetch: NAME or KEY=NAME, comma separated"},
    "feed": {
        "action": "append",
        "metavar": "KEY=VALUE",
        "help": "a value to run with: JSON, or @file.npy, @file.json; repeatable",
    },
    "overwrite": {
        "action": "store_true",
        "help": "replace what is there (defaults under results/ are always replaced)",
    },
    "trust-model": {"action": "store_true", "help": "load the model although the safety scan refuses it"},
    "no-verify": {"action": "store_true", "help": "publish without comparing the result with its source"},
    "json": {"action": "store_true", "help": "print one JSON object instead (docs/model_inspect.md is its schema)"},
    "strict": {"action": "store_true", "help": "exit with status 1 if there are faults, unknown ops or unsafe ops"},
    "tensorboard": {"type": Path, "metavar": "DIR", "help": "write the graph into this folder as an event file"},
    "dot": {"type": Path, "metavar": "FILE", "help": "write a Graphviz picture of the graph, folded by scope"},
    "epochs": {"type": whole_number(1), "metavar": "N", "help": "train until N epochs are done"},
    "seed": {"type": whole_number(0), "metavar": "N", "help": "seed of the initial weights and of the training data"},
    "resume": {"action": "store_true", "help": "go on from the checkpoint instead of from new weights"},
    "shards": {
        "type": whole_number(1),
        "metavar": "N",
        "help": "spread the variables over N devices, so over N data files",
    },
    "tensor": {"metavar": "NAME", "help": "print this variable of the checkpoint, whole"},
    "image": {"type": path, "nargs": "+", "metavar": "FILE", "help": "PNG or JPEG files to classify"},
    "labels": {"type": path, "metavar": "FILE", "help": "the names of the classes, one a line"},
    "mean": {"metavar": "NUMBERS", "help": "subtracted from the pixels: one number, or one a channel"},
    "std": {"metavar": "NUMBERS", "help": "divides the pixels after --mean: one number, or one a channel"},
    "top": {"type": whole_number(1), "metavar": "N", "help": "how many labels to show for each image"},
    "samples": {"action": "store_true", "help": "write the sample images and the labels, and train nothing"},
    "data": {"type": path, "metavar": "DIR", "help": "the folder of the data set"},
    "host": {"metavar": "ADDRESS", "help": "the address to listen on"},
    "port": {"type": whole_number(0, 65535), "metavar": "PORT", "help": "the port to listen on; 0 takes a free one"},
    "workers": {"type": whole_number(1), "metavar": "N", "help": "answer from N processes, each with the model loaded"},
    "max-body-mb": {"type": whole_number(1), "metavar": "N", "help": "the longest body taken, in megabytes"},
    "max-rows": {"type": whole_number(1), "metavar": "N", "help": "the most rows taken in one request"},
    "max-in-flight": {
        "type": whole_number(1),
        "metavar": "N",
        "help": "requests answered at once by a worker; more get 503",
    },
    "timeout": {"type": number(0.01), "metavar": "SECONDS", "help": "a run that takes longer is cancelled"},
    "body-timeout": {
        "type": number(0.01),
        "metavar": "SECONDS",
        "help": "how long a client may take to send its request",
    },
    "grace": {"type": number(0.01), "metavar": "SECONDS", "help": "at the end, how long requests in flight may take"},
    "nonfinite": {"choices": ("error", "null", "string"), "help": "what NaN and Infinity become in an answer"},
    "max-batch-size": {
        "type": whole_number(1),
        "metavar": "N",
        "help": "run rows of several requests at once, up to N; 1 never (by default where it is measured to gain)",
    },
    "batch-timeout-ms": {"type": number(0), "metavar": "MS", "help": "how long a batch waits for more rows"},
    "log-format": {"choices": ("none", "text", "json"), "help": "a line on stdout for each request"},
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; `{self.prog} --help` lists the flags\n")


class _Help(argparse.RawDescriptionHelpFormatter):
    """Shows defaults as a user would type them, and none where there is none."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if action.default is None or action.default is False or action.default is argparse.SUPPRESS:
            return text
        default = show(action.default) if isinstance(action.default, Path) else action.default
        return f"{text} (default: {default})".replace("%", "%%")


def parser(docstring: str | None, *flags: str, **defaults: Any) -> argparse.ArgumentParser:
    """A parser whose `--help` is the script's docstring and whose flags are taken from FLAGS.

    `flags` are names without `--`; `defaults` are by attribute name and add their flag:
    `parser(__doc__, "overwrite", frozen_model=RESULTS / "frozen_model.pb")`.
    """
    result = _Parser(description=(docstring or "").strip(), formatter_class=_Help, allow_abbrev=False)
    wanted = dict.fromkeys(name.replace("_", "-") for name in (*defaults, *flags))
    for name in wanted:
        result.add_argument(f"--{name}", default=defaults.get(name.replace("-", "_")), **FLAGS[name])
    return result


def run(main: Callable[[Sequence[str] | None], int]) -> NoReturn:
    """Run a script's `main` as the process: exit 0 done, 1 failed, 2 wrong flags, 130 interrupted."""
    sys.exit(call(main))


def call(main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """`main(argv)`, where an Error becomes one line on stderr and status 1. A bug keeps its traceback."""
    # A closed stdout, `>&-`, is no reason to fail.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
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
        return 130
    except Exception:
        from serialization import tensorflow

        traceback.print_exc()
        sys.stderr.write(tensorflow.held_back())  # what TensorFlow said before may tell why
        return 1


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

    console = Console()
    # Off a terminal rich would wrap at 80 columns; a file or a pipe has no width.
    console = console if console.is_terminal else Console(width=10_000)
    drawn = Table(*headings, box=box.ROUNDED if console.is_terminal else None, pad_edge=console.is_terminal)
    for row in rows:
        drawn.add_row(*(Text(str(cell)) for cell in row))
    with console.capture() as captured:
        console.print(drawn)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def progress(steps: Iterable[Step], what: str, total: int) -> Iterator[Step]:
    """Yield the steps behind a progress bar, which only a terminal is shown."""
    from rich.progress import track

    yield from track(steps, what, total, disable=not sys.stdout.isatty())
