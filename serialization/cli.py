"""One argument parser, one-line errors and exit codes.

Nothing here imports TensorFlow, numpy or rich before it is needed, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import io
import itertools
import os
import re
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from serialization import __version__, end_interrupted
from serialization.child import run_tidily, run_with_child
from serialization.console import show_path
from serialization.errors import UserError
from serialization.files.model_flags import EXPORTED_KINDS, require_something
from serialization.files.unpacking import remove_unpacked
from serialization.flag_types import NamedPath
from serialization.flags import CHECKPOINT_FLAGS, FLAG_GROUPS, FLAGS, KERAS_FLAGS, MODEL_FLAGS, SAVED_MODEL_FLAGS
from serialization.project import ROOT, real_path
from serialization.run.given_feeds import Feed
from serialization.tensorflow import find_tensorflow_version

_IN_A_FOLDER = ("saved_model.pb", "saved_model.pbtxt", "checkpoint")  # the folder's name tells one model from another
_ENDING = re.compile(r"\.(pb|pbtxt|ckpt|index|meta|keras|h5|hdf5|json|zip|tgz|tar(\.(gz|bz2|xz))?)$")
_FILES = (".pb", ".onnx", ".tflite")  # the endings of targets that are files
_FLAG_OF_SUFFIX = {
    **dict.fromkeys((".npy", ".npz"), "--feed"),
    **dict.fromkeys((".png", ".jpg", ".jpeg"), "--image"),
    ".so": "--op-library",
}
# Where packages are listed that requirements.txt has not.
_OTHER_FILES = {
    **dict.fromkeys(("tf2onnx", "onnx", "onnxruntime", "ai_edge_litert"), "requirements-export.txt"),
    "grpc": "requirements-grpc.txt",
}


_parsed = argparse.Namespace()  # the flags of the script that this process runs
_typed: dict[str, list[str]] = {}  # the words of each of them


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; `python {show_path(Path(sys.argv[0]))} --help` lists the flags\n")

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """The flags' values. Ends with status 2 at a word that is neither a flag nor a flag's value."""
        known, others = self.parse_known_args(args, namespace)
        if others:
            takes_path = any(not action.option_strings for action in self._actions)
            self.error(_explain_word(others[0], list(self._option_string_actions), takes_path=takes_path))
        if contradiction := _find_contradiction(known):
            self.error(contradiction)
        global _parsed, _typed
        _parsed, _typed = known, self._split(list(sys.argv[1:] if args is None else args))
        return known

    def _split(self, words: list[str]) -> dict[str, list[str]]:
        """The words of each flag, as they were typed."""
        found: dict[str, list[str]] = {}
        flag = ""
        for word in words:
            name = word.partition("=")[0]
            flag = name if name in self._option_string_actions else flag
            found.setdefault(flag, []).append(word)
        return found


def _find_contradiction(args: argparse.Namespace) -> str:
    """The message for flags that give an input two shapes, or two batch sizes; empty if none do."""
    batch, known = getattr(args, "batch_size", None), set[str]()
    for name, shape in getattr(args, "input_shape", None) or ():
        if name in known:
            return f"--input-shape {name} is given twice; give each input one shape"
        if shape and batch not in (None, "any" if shape[0] is None else shape[0]):
            return f"--input-shape {name}={list(shape)} and --batch-size {batch} disagree; leave one of them out"
        known.add(name)
    return ""


class _ShowVersion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from serialization.checks.confinement import describe_confinement

        installed = find_tensorflow_version()
        print(f"serialization {__version__}, TensorFlow {installed or 'is not installed'}")
        print(describe_confinement())
        parser.exit()


class _Help(argparse.HelpFormatter):
    """Fills paragraphs, keeps indented lines, and shows defaults as a user would type them."""

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
        default = show_path(action.default) if isinstance(action.default, Path) else action.default
        default = f"{default:g}" if isinstance(default, float) else default
        return f"{text} (default: {default})".replace("%", "%%")


def make_parser(docstring: str | None, *flags: str, repeatable: Any = (), **defaults: Any) -> argparse.ArgumentParser:
    """A parser whose `--help` is the script's docstring and whose flags are taken from FLAG_GROUPS.

    `flags` are names without `--`; those that are `repeatable` here alone give a list. `defaults` gives defaults by
    attribute name, and adds their flags: `make_parser(__doc__, "overwrite", frozen_model=RESULTS / "frozen_model.pb")`.
    """
    result = _Parser(description=(docstring or "").strip(), formatter_class=_Help, allow_abbrev=False)
    result.add_argument("--version", action=_ShowVersion, nargs=0, help="show the project's version and TensorFlow's")
    used = {name.replace("_", "-") for name in (*defaults, *flags)}
    unknown = used - FLAGS.keys()
    assert not unknown, f"add {', '.join(sorted(unknown))} to FLAG_GROUPS in serialization/flags.py"
    for title, group in FLAG_GROUPS.items():
        if names := [name for name in group if name in used]:
            section = result.add_argument_group(title)
        for name in names:
            options = group[name] | ({"type": check_type(group[name]["type"])} if "type" in group[name] else {})
            options |= {"action": "append"} if name in repeatable else {}
            section.add_argument(f"--{name}", default=defaults.get(name.replace("-", "_")), **options)
    return result


def _explain_word(word: str, flags: Sequence[str], *, takes_path: bool) -> str:
    """The message for a word that no flag takes, with the flag that the user probably meant."""
    if word.startswith("-"):
        wrong = word.partition("=")[0]
        name, names = wrong.strip("-"), [flag.removeprefix("--") for flag in flags]
        near = [other for other in names if name and (other.startswith(name) or other.endswith(name))]
        near = near or difflib.get_close_matches(name, names, 1)
        nearest = f"; the nearest {'are' if near[1:] else 'is'} --{', --'.join(near)}" if near else ""
        return f"unknown flag {wrong}{nearest}"
    if takes_path:
        return f"{word} is one path too many; give one"
    kind, flag = _find_flag(Path(word))
    if flag in flags:
        at = "@" if flag == "--feed" and "=" not in word else ""
        return f"{word} stands without a flag; it is {kind}; use {flag} {at}{word}"
    taken = ", which no flag of this script takes" if flag else ""
    return f"{word} stands without a flag; it is {kind}{taken}"


def _find_flag(path: Path) -> tuple[str, str]:
    """The kind of model or file at the path, and the flag that takes it; the flag is empty if there is none."""
    from serialization.files.model_names import find_saved_model_file, list_versions
    from serialization.files.publish import list_checkpoint_files
    from serialization.formats.file_kind import Kind, detect_kind
    from serialization.formats.foreign_files import Foreign

    if path.is_dir():
        if find_saved_model_file(path) or list_versions(path):
            return Kind.SAVED_MODEL.value, "--saved-model"
        return ("the folder of a checkpoint", "--checkpoint") if any(path.glob("*.index")) else ("a folder", "")
    if list_checkpoint_files(path):
        return "a checkpoint", "--checkpoint"
    if path.suffix in _FLAG_OF_SUFFIX:
        return f"a {path.suffix} file", _FLAG_OF_SUFFIX[path.suffix]
    if not path.is_file():
        return "no file", ""
    kind = detect_kind(path)
    flags: dict[Kind | Foreign, str] = {
        Kind.GRAPH: "--frozen-model",
        Kind.SAVED_MODEL: "--saved-model",
        Kind.META_GRAPH: "--checkpoint" if path.suffix == ".meta" else "--graph",
        **dict.fromkeys((Kind.TABLE, Kind.DATA, Kind.STATE), "--checkpoint"),
        **dict.fromkeys((Kind.KERAS, Kind.KERAS_LAYERS), "--keras"),
        Kind.KERAS_WEIGHTS: "--weights",
        Foreign.ONNX: "--onnx",
        Foreign.TFLITE: "--tflite",
    }
    return kind.value, flags.get(kind, "")


def check_type(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """The same type for argparse, which then shows the message of its ValueError, not only the function's name."""

    def convert(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def refuse_flags(parser: argparse.ArgumentParser, args: argparse.Namespace, flags: Sequence[str], why: str) -> None:
    """End with status 2 and `--FLAG WHY` if one of these flags is given, since it would change nothing."""
    # Not parse_args, which says what this process was given: only that may be read by a confined one.
    unset = select_values(parser.parse_known_args([])[0], *flags)
    for flag, value in zip(flags, select_values(args, *flags).values(), strict=True):
        if value != unset[flag.replace("-", "_")]:
            parser.error(f"--{flag} {why}")


def name_target(parser: argparse.ArgumentParser, args: argparse.Namespace, target: str, *sources: str) -> None:
    """Name what is written after a model of the user's own, where no flag names it: the default is the toy model's.

    It lies beside the default, which may be replaced: my/model.ckpt becomes results/model.pb, models/house/1
    results/house.pb. `target` and `sources` are the attributes of the flags that name what is written, and read.

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
    given = [name for name in kinds if getattr(args, name) != parser.get_default(name)] or [kinds[0]]
    if len(given) > 1:
        parser.error(f"one model at a time; found {', '.join('--' + name.replace('_', '-') for name in given)}")
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


def run(main: Callable[[Sequence[str] | None], int], *, loads_model: bool = True) -> NoReturn:
    """Run a script's `main` as the process: exit 0 done, 1 failed, 2 wrong flags, 130 interrupted.

    A script that `loads_model` goes on in a child process, confined, once something imports numpy or TensorFlow.
    """
    _open_standard_streams()
    work = partial(call_main, main)
    sys.exit(run_with_child(work, _list_readable_if_confined) if loads_model else run_tidily(work))


def _list_readable_if_confined() -> list[Path] | None:
    """The files and folders that the flags let this process read; None in a script that is not confined."""
    return None if getattr(_parsed, "unconfined", True) else list_readable(_parsed)


def list_readable(args: argparse.Namespace) -> list[Path]:
    """The files and folders that the flags let a confined process read."""
    from serialization.checks.readable_files import list_readable_files

    opened = args.allow_read or []
    for path in opened:
        if not path.exists():
            raise UserError(f"--allow-read {path}: nothing is there; name the file or folder that the model reads")
    values = [value for name, value in vars(args).items() if name != "allow_read"]
    values += [inner for value in values if isinstance(value, list) for inner in value]
    values += [value.path for value in values if isinstance(value, NamedPath)]
    paths = [value.file if isinstance(value, Feed) else value for value in values]
    return [*opened, *list_readable_files(path for path in paths if isinstance(path, Path))]


def _open_standard_streams() -> None:
    """Open descriptors 0, 1 and 2 if they are closed, for child processes too: `>&-` does not fail the script.

    Otherwise the next file that is opened gets one of these numbers.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # open takes the lowest free number
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def call_main(main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """Run `main(argv)` and return its status. A UserError becomes one line on stderr; a bug keeps its traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a character that its encoding lacks does not fail the script
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        if signal.getsignal(signal.SIGINT) is end_interrupted:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = main(argv)
        sys.stdout.flush()
        return status
    except (UserError, OSError) as error:
        from serialization.checks.confinement import explain_error

        if isinstance(error, BrokenPipeError):  # `script.py | head`: the reader has left, and needs no message
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + signal.SIGPIPE
        if isinstance(error, UserError):
            error = UserError(error.advise(Path(inspect.getfile(main)).stem))
        print(f"error: {explain_error(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except ModuleNotFoundError as error:
        if not _is_third_party(error.name or ""):
            raise
        print(f"error: {_explain_missing_module(error.name or '')}", file=sys.stderr)
        return 1
    except Exception:
        from serialization import tensorflow

        traceback.print_exc()
        sys.stderr.write(tensorflow.get_held_back())  # TensorFlow's log may hold the reason
        return 1
    finally:
        remove_unpacked()


def require_installed(*modules: str) -> None:
    """Raise ModuleNotFoundError, which `call_main` explains, for the first of these modules that is not there."""
    for name in modules:
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _is_third_party(module: str) -> bool:
    top = module.partition(".")[0]
    return bool(top) and not any((ROOT / name).exists() for name in (top, f"{top}.py"))


def _explain_missing_module(module: str) -> str:
    environment = ROOT / ".venv"
    is_elsewhere = environment.is_dir() and Path(sys.prefix).resolve() != environment.resolve()
    top = module.partition(".")[0]
    file = _OTHER_FILES.get(top, "requirements.txt")
    advice = (
        f"use {show_path(environment / 'bin' / 'python')}"
        if is_elsewhere
        else f"`pip install -r {file}` installs all it needs"
    )
    return f"{sys.executable} has no module {top}; {advice}"


def repeat_flags(parser: argparse.ArgumentParser, args: argparse.Namespace, *flags: str) -> list[str | Path]:
    """These flags, as far as they are given, as words for `format_command`: the next step takes them too.

    A path that differs from the default is repeated even if no flag gave it.
    """
    words: list[str | Path] = []
    for flag, value in zip(flags, select_values(args, *flags).values(), strict=True):
        option = f"--{flag.replace('_', '-')}"
        if not isinstance(value, Path):
            words += _typed.get(option, ())
        elif value != parser.get_default(flag.replace("-", "_")):
            words += [option, value]
    return words
