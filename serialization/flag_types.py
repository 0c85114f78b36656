"""The types of flags: each makes the value of a flag's text, and raises ValueError for a text that it does not take."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from serialization.graph.signature import split_tensors
from serialization.project import no_folder, parse_path

_ANY_SIZE = ("None", "null", "-1", "?")


def parse_whole_number(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """The type of a flag that takes a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise ValueError(f"expected a whole number from {least} to {most}, got {text!r}")
        return int(text)

    return parse


def parse_predictions_file(text: str) -> Path:
    """The type of `--save`: a path whose suffix tells the form."""
    path = parse_new_file(text)
    if path.suffix not in (".npz", ".npy", ".json"):
        raise ValueError(f"expected a file called .npz, .npy or .json, got {text!r}")
    return path


def parse_new_file(text: str) -> Path:
    """The type of a flag that names a file to write."""
    path = parse_file(text)
    if path.is_dir():
        raise ValueError(f"{text} is a folder; name a file in it")
    return path


def parse_file(text: str) -> Path:
    """The type of a flag that takes a file, a prefix or an existing folder: another path has no slash at its end."""
    path = parse_path(text)
    if text.endswith(("/", "/.")) and not path.is_dir():
        raise ValueError(no_folder(text))
    return path


def parse_number(least: float) -> Callable[[str], float]:
    """The type of a flag that takes a time, from `least` to 86,400 (the seconds of a day)."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= 86_400:
            raise ValueError(f"expected a number from {least:g} to 86400, got {text!r}")
        return value

    return parse


def parse_numbers(*, nonzero: bool = False) -> Callable[[str], tuple[float, ...]]:
    """The type of a flag that takes numbers, comma separated."""

    def parse(text: str) -> tuple[float, ...]:
        try:
            values = tuple(float(word) for word in text.split(","))
        except ValueError:
            values = (math.nan,)
        if not all(map(math.isfinite, values)) or (nonzero and 0 in values):
            other = " other than 0" if nonzero else ""
            raise ValueError(f"expected a number{other}, or several, comma separated, got {text!r}")
        return values

    return parse


def parse_word(text: str) -> str:
    """The type of a flag that takes a name."""
    if not text.strip():
        raise ValueError("expected a name, got an empty word")
    return text


def parse_model_name(text: str) -> str:
    """The type of a flag that takes a part of a URL."""
    if not text or not text.isprintable() or set("/: ") & set(text):
        raise ValueError(f"expected a name without slash, colon and blank, got {text!r}")
    return text


class NamedPath(NamedTuple):
    """The value of `--model`: the name in URLs, and where the model is."""

    name: str
    path: Path


def parse_named_path(text: str) -> NamedPath:
    """The type of `--model`."""
    name, equals, path = text.partition("=")
    if not equals or not path:
        raise ValueError(f"expected NAME=PATH, got {text!r}")
    return NamedPath(parse_model_name(name), parse_path(path))


def parse_tags(text: str) -> str:
    """The type of `--tag-set`: names, comma separated, as saved_model_cli takes them; or none, which is a set too."""
    if text and not all(tag.strip() for tag in text.split(",")):
        raise ValueError(f"expected tags, comma separated, got {text!r}")
    return ",".join(tag.strip() for tag in text.split(","))


def parse_renaming(text: str) -> tuple[str, str]:
    """The type of `--rename`: the name in the checkpoint, and the new one. One of them may be empty: all, or none."""
    old, _, new = text.partition("=")
    if old == new or "=" not in text:
        raise ValueError(f"expected OLD=NEW, the checkpoint's name and then another one, got {text!r}")
    return old, new


def parse_key_renaming(text: str) -> tuple[str, str]:
    """The type of a flag that renames keys of a SavedModel: the old key and the new one."""
    old, _, new = text.partition("=")
    if not (old and new) or old == new:
        raise ValueError(f"expected OLD=NEW, a key and another one, got {text!r}")
    return old, new


def parse_tensors(text: str) -> str:
    """The type of `--inputs` and `--outputs`: text that `split_tensors` can read."""
    split_tensors(text)
    return text


def parse_path_prefix(text: str) -> str:
    """The type of `--path-prefix`: the path without a slash at its end; empty for none."""
    prefix = text.rstrip("/")
    if text and not re.fullmatch(r"(/[\w.~%-]+)+", prefix, re.ASCII):
        raise ValueError(f"expected a path such as /models/toy, got {text!r}")
    return prefix


def parse_origins(text: str) -> str:
    """The type of `--cors-origin`: origins as browsers send them, comma separated."""
    origins = [origin.strip() for origin in text.split(",")]
    if text not in ("", "*") and not all(re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s*]+", o) for o in origins):
        raise ValueError(f"expected *, or origins such as https://example.org, comma separated, got {text!r}")
    return ",".join(origins)


def parse_input_shape(text: str) -> tuple[str, tuple[int | None, ...]]:
    """The type of `--input-shape`: the input's name, and its sizes; None, -1 and ? are any size."""
    name, _, shape = text.rpartition("=")
    words = [word.strip() for word in shape.strip()[1:-1].split(",")] if shape.strip()[1:-1].strip() else []
    whole = shape.strip()[:1] + shape.strip()[-1:] == "[]" and all(w.isdecimal() or w in _ANY_SIZE for w in words)
    if not name or not whole or any(word.isdecimal() and not 0 < int(word) < 2**31 for word in words):
        raise ValueError(f"expected NAME=[SIZE, ...], a whole number or None for each size, got {text!r}")
    return name, tuple(None if word in _ANY_SIZE else int(word) for word in words)


def parse_batch_size(text: str) -> int | str:
    """The type of `--batch-size`: a whole number, or the word any."""
    return text if text == "any" else parse_whole_number(1)(text)
