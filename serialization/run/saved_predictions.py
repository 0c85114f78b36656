"""Keeps the predictions of a run in a file, `--save`: whole, where the screen shows long arrays as `...`.

`--feed @FILE` reads all three forms. JSON has an object of nested lists by output key. Texts that are not UTF-8 are
`{"b64": …}` there; numbers that are none are "NaN", "Infinity" and "-Infinity".
"""

from __future__ import annotations

import argparse
import base64
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serialization.console import list_some, show_path
from serialization.errors import UserError
from serialization.files.publish import stage_output
from serialization.graph.signature import Signature, Tensor
from serialization.run.json_values import find_rule
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@contextmanager
def stage_predictions(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Iterator[Path | None]:
    """Yield a path to save predictions to, published on leaving; None without `--save`. Begin before a model loads."""
    if args.save is None:
        if args.overwrite:
            parser.error("--overwrite goes with --save")
        yield None
        return
    with stage_output(args.save, overwrite=args.overwrite) as path:
        yield path
    print(f"wrote {show_path(args.save)}")


def save_predictions(path: Path, wanted: Signature, results: Mapping[str, NDArray[Any]]) -> None:
    """Write the outputs' arrays, by key, in the form of the path's suffix: .npz, .npy (of one output) or .json.

    Raises UserError for values that the form does not hold.
    """
    if path.suffix == ".json":
        lists = {tensor.key: _to_lists(tensor, results[tensor.key]) for tensor in wanted.outputs}
        path.write_text(f"{json.dumps(lists, ensure_ascii=False, allow_nan=False)}\n", "utf-8")
        return
    arrays = {tensor.key: _to_plain(tensor, results[tensor.key]) for tensor in wanted.outputs}
    if path.suffix == ".npy":
        if len(arrays) != 1:
            raise UserError(f"a .npy file holds one array; found {list_some(list(arrays))}; --save a .npz file")
        np.save(path, next(iter(arrays.values())), allow_pickle=False)
        return
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:  # numpy.savez takes no array called "file"
        for key, array in arrays.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _to_plain(tensor: Tensor, value: NDArray[Any]) -> NDArray[Any]:
    """The array in a dtype of numpy's own: texts as bytes of one length, which numpy fills up with NUL.

    A bfloat16 has its number in float32, an int4 in int8.
    """
    if tensor.dtype != "string":
        array, rule = np.asarray(value), find_rule(tensor.dtype)
        if array.dtype.kind != "V" or array.dtype.names or rule is None:
            return array
        return array.astype(np.float32 if rule.kind == "float" else np.int8)
    plain = np.asarray(value).astype(np.bytes_)
    if any(text.endswith(b"\0") for text in np.asarray(value).ravel().tolist()):
        raise UserError(f"{tensor.key} has texts that end with NUL, which numpy drops; --save a .json file")
    return plain


def _to_lists(tensor: Tensor, value: NDArray[Any]) -> Any:
    rule = find_rule(tensor.dtype)
    if rule is None:
        raise UserError(f"{tensor.key}: JSON has no values of {tensor.dtype}; --save a .npz file")
    array = np.asarray(value)
    if rule.kind == "string":
        convert = np.frompyfunc(_to_text, 1, 1)
        return np.asarray(convert(array), object).tolist()
    if rule.kind != "float":
        return array.tolist()
    numbers = array.astype(np.float64)  # which has all numbers of shorter dtypes
    words = numbers.astype(object)
    for bad, word in ((np.isnan(numbers), "NaN"), (numbers == np.inf, "Infinity"), (numbers == -np.inf, "-Infinity")):
        words[bad] = word
    return words.tolist()


def _to_text(text: bytes) -> Any:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(text).decode()}
