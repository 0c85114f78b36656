"""Reads the values of `--feed` as arrays for a model's inputs. An error names the place of a wrong value."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from serialization.checks.memory import COPIES, find_available_memory
from serialization.console import format_error, format_size, list_known, show_path
from serialization.errors import UserError
from serialization.formats import protos
from serialization.formats.file_kind import require_plain_file
from serialization.formats.numpy_dtypes import get_numpy_dtype
from serialization.graph.signature import Signature, Tensor, show_shape
from serialization.project import parse_path
from serialization.run.json_values import MisfitError, convert_json, format_place, read_json
from serialization.tensorflow import np, tf

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Feed(NamedTuple):
    """One `--feed`: the name of the input, if given; the value, or the file that holds it."""

    name: str | None
    value: Any
    file: Path | None


class ArchivedArray(NamedTuple):
    """An array of a .npz file of which nothing but the header was read: a small file may unpack to any size."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self) -> NDArray[Any]:
        with _explain_damage(self.file), zipfile.ZipFile(self.file) as archive, archive.open(self.name) as opened:
            return np.asarray(np.lib.format.read_array(opened, allow_pickle=False))


def parse_feed(text: str) -> Feed:
    """The type of `--feed`: KEY=VALUE, or VALUE alone; VALUE is JSON or @FILE. Raises ValueError."""
    if text.startswith("@"):
        return Feed(None, None, _file(text[1:]))
    name, equals, value = text.partition("=")
    if text[:1] in '[{"' or not equals:  # no key begins like this; a string may contain an equals sign
        return Feed(None, _read_value(text), None)
    if not name:
        raise ValueError(f"expected KEY=VALUE, got {_short(text)}")
    return Feed(name, None, _file(value[1:])) if value.startswith("@") else Feed(name, _read_value(value), None)


def parse_pin(text: str) -> Feed:
    """The type of `--pin`: the same, with a name. Raises ValueError."""
    feed = parse_feed(text)
    if feed.name is None:
        raise ValueError(f"expected NAME=VALUE, got {_short(text)}")
    return feed


def _read_value(text: str) -> Any:
    try:
        return read_json(text)
    except ValueError as error:
        if Path(text).suffix in (".npy", ".npz", ".json"):
            raise ValueError(f"expected JSON or @FILE, got {_short(text)}; a file is named as @{text}") from None
        hint = f"; a string needs quotes: '\"{text}\"'" if text[:1].isalpha() else ""
        raise ValueError(f"expected JSON or @FILE, got {_short(text)}: {error}{hint}") from None


def _short(text: str, most: int = 60) -> str:
    return repr(text if len(text) <= most else f"{text[:most]}…")


def _file(text: str) -> Path:
    if not text:
        raise ValueError("expected a path after @, got an empty word")
    return parse_path(text)


def share_feeds(given: Sequence[Feed], signatures: Sequence[Signature]) -> list[list[Feed]]:
    """The feeds of each of several signatures: those without a name, and those that name an input of it.

    A feed that names an input of none goes to all, where reading it is an error.
    """
    names = [{n for t in one.inputs for n in (t.key, t.name, t.name.removesuffix(":0"))} for one in signatures]
    known = set().union(*names)
    return [[f for f in given if f.name is None or f.name in own or f.name not in known] for own in names]


def read_feeds(signature: Signature, given: Sequence[Feed]) -> dict[str, NDArray[Any]]:
    """The arrays that `--feed` gives, one for each input, by key.

    An input is named by its key or its tensor; a single input needs no name, and one with a default value no value.
    Raises UserError with the value that does not fit or is missing.
    """
    found = read_some_feeds(signature, given)
    for tensor in signature.inputs:
        if tensor.default is not None and tensor.key not in found:
            found[tensor.key] = make_default(tensor.default)
    missing = [str(tensor) for tensor in signature.inputs if tensor.key not in found]
    if missing:
        raise UserError(f"--feed gives no value for {', '.join(missing)}")
    return found


def read_some_feeds(signature: Signature, given: Sequence[Feed], flag: str = "--feed") -> dict[str, NDArray[Any]]:
    """The same for some of the inputs. Raises UserError, which names the flag, for a value that does not fit."""
    by_name = {n: t for t in signature.inputs for n in (t.name.removesuffix(":0"), t.name, f"{t.key}:0")}
    by_name |= {tensor.key: tensor for tensor in signature.inputs}
    found: dict[str, NDArray[Any]] = {}
    for feed in given:
        for name, value in _by_name(feed, signature.inputs):
            if name not in by_name:
                raise UserError(f"{flag} {name}: no such input; the inputs are {_list(signature.inputs, name)}")
            tensor = by_name[name]
            if tensor.key in found:
                raise UserError(f"{flag} {name}: given twice; give each input one value")
            try:
                found[tensor.key] = convert_value(tensor, value)
            except MisfitError as misfit:
                raise UserError(f"{flag} {misfit}") from None
    return found


def read_rows(signature: Signature, given: Sequence[Feed], flag: str = "--feed") -> dict[str, NDArray[Any]]:
    """The same, where the values are to show something. Raises UserError, which names the flag, if there are none."""
    try:
        found = read_feeds(signature, given)
    except UserError as error:
        raise UserError(str(error).replace("--feed", flag)) from None
    if empty := next((key for key, value in found.items() if not value.size), None):
        raise UserError(f"{flag} {empty}: an array without a value, which shows nothing; give it at least one row")
    return found


def make_default(default: bytes) -> NDArray[Any]:
    """The default value of an input, from its serialized TensorProto, which `remove_wrong_defaults` has looked at.

    An exported file records it as a .npy file.
    """
    if default.startswith(np.lib.format.MAGIC_PREFIX):  # no protobuf begins so
        value: NDArray[Any] = np.load(io.BytesIO(default), allow_pickle=False)
        return value.astype(object) if value.dtype.kind == "S" else value
    return np.asarray(tf.make_ndarray(protos.TensorProto.FromString(default)))


def convert_value(tensor: Tensor, value: Any) -> NDArray[Any]:
    """A JSON value or an array, as an array of the tensor's dtype and shape; strings as objects. Raises MisfitError."""
    if isinstance(value, (np.ndarray, ArchivedArray)):
        _require_fits(tensor, value)
        return _from_array(tensor, value if isinstance(value, np.ndarray) else value.read())
    return convert_json(tensor, value, tensor.key)


def _by_name(feed: Feed, inputs: Sequence[Tensor]) -> Iterator[tuple[str, Any]]:
    """The names and values of inputs in one flag: of a named input, of the only input, or of several by name."""
    value = feed.value if feed.file is None else _read(feed.file)
    arrays = isinstance(value, dict) and all(isinstance(part, (np.ndarray, ArchivedArray)) for part in value.values())
    if feed.name is not None:
        if arrays:
            value = value[feed.name] if feed.name in value else _only(value, f"called {feed.name}", feed)
        yield feed.name, value
    elif arrays and len(inputs) == 1 and not value.keys() & {inputs[0].key, inputs[0].name}:
        yield inputs[0].key, _only(value, f"called {inputs[0].key}", feed)
    elif isinstance(value, dict) and value.keys() != {"b64"}:
        yield from value.items()
    elif len(inputs) == 1:
        yield inputs[0].key, value
    else:
        raise UserError(f"--feed: say which input this value is for, KEY=VALUE; the inputs are {_list(inputs)}")


def _only(arrays: Mapping[str, Any], called: str, feed: Feed) -> Any:
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    raise UserError(f"{show_path(feed.file or Path())} holds no array {called}; it has {', '.join(arrays) or 'none'}")


def _read(file: Path) -> Any:
    """The content of a .npy, .npz or JSON file, told apart by the first bytes; a .npz file gives a dict of arrays."""
    require_plain_file(file)
    with file.open("rb") as opened:
        magic = opened.read(6)
    with _explain_damage(file):
        if magic == b"\x93NUMPY":
            # allow_pickle would let the file run code. A mapped file takes no memory for a header that claims too much.
            return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
        if magic.startswith(b"PK"):
            with zipfile.ZipFile(file) as archive:
                return {name.removesuffix(".npy"): _read_header(archive, file, name) for name in archive.namelist()}
    size, most = file.stat().st_size, find_available_memory() // COPIES
    if size > most:
        raise UserError(f"{show_path(file)} has {format_size(size)}, too much here; save at most {format_size(most)}")
    try:
        return read_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        reason = f"JSON: {format_error(error)}" if file.suffix == ".json" else ".npy, .npz or JSON"
        raise UserError(f"{show_path(file)} is not {reason}; save the values as one of these") from None


@contextmanager
def _explain_damage(file: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise UserError(
                f"{show_path(file)} holds Python objects, which are not loaded; save numbers or strings"
            ) from None
        raise UserError(f"{show_path(file)} cannot be read; {format_error(error)}; save it again") from None


def _read_header(archive: zipfile.ZipFile, file: Path, name: str) -> ArchivedArray:
    with archive.open(name) as opened:
        version = np.lib.format.read_magic(opened)
        if version not in ((1, 0), (2, 0)):  # 3.0 is for records
            raise ValueError(f"{name} is of version {version[0]}.{version[1]} of the format")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(opened)
    return ArchivedArray(file, name, shape, dtype)


def _require_fits(tensor: Tensor, array: NDArray[Any] | ArchivedArray) -> None:
    """Raise MisfitError where an array has another shape, or is more than this machine can feed."""
    wanted = tensor.shape
    if wanted is not None and (
        len(wanted) != len(array.shape) or any(w not in (None, g) for w, g in zip(wanted, array.shape, strict=True))
    ):
        raise MisfitError(f"{tensor.key}: expected the shape {show_shape(wanted)}, got {list(array.shape)}")
    size, most = math.prod(array.shape) * array.dtype.itemsize, find_available_memory() // COPIES
    if size > most:
        raise MisfitError(f"{tensor.key}: {format_size(size)} are too much here; feed at most {format_size(most)}")


def _from_array(tensor: Tensor, array: NDArray[Any]) -> NDArray[Any]:
    if tensor.dtype == "string":
        if array.dtype.kind not in "SU":
            raise MisfitError(f"{tensor.key}: expected strings, got {array.dtype}")
        return (np.char.encode(array, "utf-8") if array.dtype.kind == "U" else array).astype(object)
    dtype = get_numpy_dtype(tensor.dtype)
    if array.dtype == dtype:
        return array
    if array.dtype.kind == "V" and dtype.kind == "V" and array.dtype.itemsize == dtype.itemsize:
        return array.view(dtype)  # .npy has no name for bfloat16 and other short numbers
    both_whole = array.dtype.kind in "iu" and dtype.kind in "iu"
    if array.dtype.kind not in "iufc" or not (both_whole or np.can_cast(array.dtype, dtype, "same_kind")):
        raise MisfitError(f"{tensor.key}: expected {tensor.dtype}, got {array.dtype}")
    with np.errstate(over="ignore"):
        result = array.astype(dtype)
    lost = result != array if both_whole else np.isfinite(array) & ~np.isfinite(result)
    if lost.any():
        position = int(lost.argmax())
        place = format_place(tensor.key, position, array.shape)
        raise MisfitError(f"{place}: {array.flat[position]} is beyond the range of {tensor.dtype}")
    return result


def _list(inputs: Sequence[Tensor], name: str = "") -> str:
    return list_known(name, (tensor.key for tensor in inputs))
