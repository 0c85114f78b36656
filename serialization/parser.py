"""The argument parser of all scripts: their flags, their help, and what is said of a word that no flag takes.

Nothing here imports TensorFlow, numpy or rich before it is needed, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import difflib
import itertools
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from serialization import __version__
from serialization.console import show_path
from serialization.flags import FLAG_GROUPS, FLAGS
from serialization.tensorflow import find_tensorflow_version

_FLAG_OF_SUFFIX = {
    **dict.fromkeys((".npy", ".npz"), "--feed"),
    **dict.fromkeys((".png", ".jpg", ".jpeg"), "--image"),
    ".so": "--op-library",
}


class Given:
    """What the script of this process was given: the values of its flags, and the words of each as they were typed."""

    values = argparse.Namespace()
    words: ClassVar[dict[str, list[str]]] = {}
    requirements = ""  # the file that lists what the script needs with these flags; empty for the usual ones


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; `python {show_path(Path(sys.argv[0]))} --help` lists the flags\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Write the help or an error. argparse's own function says nothing of a file that cannot be written."""
        (file or sys.stderr).write(message)
        sys.stdout.flush()

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
        Given.values, Given.words = known, self._split(list(sys.argv[1:] if args is None else args))
        Given.requirements = ""
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
