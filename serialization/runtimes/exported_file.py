"""Reads what a file of another runtime says of its model: by the exporter's record, or by its own signature."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from serialization.console import list_some, make_printable, show_path
from serialization.errors import UserError
from serialization.formats.exported import ExportedModel, ExportedSignature, ExportedTensor
from serialization.formats.file_kind import reopen_file
from serialization.formats.numpy_dtypes import get_limits, get_numpy_dtype
from serialization.formats.wire import DamagedError
from serialization.graph.export_record import RECORD, Record, read_record
from serialization.graph.row_facts import RowFacts
from serialization.graph.signature import SERVING_DEFAULT, Signature, Tensor

_UNKNOWN = RowFacts()


@dataclass(frozen=True)
class ExportedFile:
    """A file and its signature, whose tensors have the names by which the runtime takes and gives them.

    `key` is the signature's in the file, empty where it has none. `facts` are known of what an exporter here wrote, and
    `labels` too. `content` are its bytes, if they are to be kept.
    """

    path: Path
    signature: Signature
    key: str
    facts: RowFacts = _UNKNOWN
    labels: tuple[str, ...] = ()
    content: bytes = field(default=b"", repr=False)


def read_exported_file(
    path: Path,
    read: Callable[[bytes | mmap.mmap], ExportedModel],
    say: Callable[[str], object] = print,
    content: bytes = b"",
) -> ExportedFile:
    """What `read` finds in the file at the path, or in its `content`. Raises UserError for a damaged one.

    `say` is called with a line on a record that is ignored, and on a signature that is chosen.
    """
    data = content or reopen_file(path).data
    try:
        model = read(data)
    except DamagedError as error:
        raise UserError(f"{show_path(path)} is damaged; {error}; export it again") from None
    own = _choose_signature(path, model.signatures, say)
    text = model.metadata.get(RECORD)
    try:
        record = None if text is None else read_record(data, text)
        if record is not None:
            _require_fits(record, own)
            return ExportedFile(path, record.read_signature(), own.key, record.read_row_facts(), record.labels, content)
    except (ValueError, msgspec.MsgspecError) as error:
        say(
            f"ignored the exporter's record in {show_path(path)}: {make_printable(str(error))}; "
            "the rows of each request run by themselves"
        )
    finally:
        if isinstance(data, mmap.mmap):
            data.madvise(mmap.MADV_DONTNEED)  # all of it was read, and would count as memory of this process
    inputs = (tensor for tensor in own.inputs if tensor.name not in model.defaults)
    key = own.key or SERVING_DEFAULT
    signature = Signature(_take(inputs), _take(own.outputs), key=key)
    return ExportedFile(path, signature, own.key, content=content)


def require_numpy_dtypes(file: ExportedFile, runtime: str) -> None:
    """Raise UserError if the model has an input or output of a dtype that is not numpy's own, such as bfloat16.

    So does one that is no tensor, such as the list of maps that skl2onnx makes of a classifier's probabilities.
    """
    for tensor in (*file.signature.inputs, *file.signature.outputs):
        if tensor.dtype == "unknown":
            raise UserError(
                f"the model cannot be served: {make_printable(tensor.key)} is no tensor, or of an unknown dtype; "
                "export the model with tensors alone (skl2onnx: options={'zipmap': False})"
            )
        if get_limits(tensor.dtype)[0] in ("int", "float") and get_numpy_dtype(tensor.dtype).isbuiltin != 1:
            raise UserError(
                f"{runtime} cannot run the model: Python gives it no arrays of {tensor.dtype}, the dtype "
                f"of {make_printable(tensor.key)}; export the model with casts to another dtype"
            )


def _choose_signature(
    path: Path, known: Sequence[ExportedSignature], say: Callable[[str], object]
) -> ExportedSignature:
    """The only signature, else serving_default or the first."""
    chosen = next((one for one in known if one.key == SERVING_DEFAULT), known[0])
    if len(known) > 1:
        keys = [make_printable(one.key) for one in known]
        say(f"{show_path(path)} has the signatures {list_some(keys)}; taking {make_printable(chosen.key)}")
    return chosen


def _take(tensors: Iterable[ExportedTensor]) -> tuple[Tensor, ...]:
    """The tensors by the names that a run takes: their keys, which are the tensors' own names without a signature."""
    return tuple(Tensor(tensor.key, tensor.key, tensor.dtype, tensor.shape) for tensor in tensors)


def _require_fits(record: Record, own: ExportedSignature) -> None:
    """Raise ValueError if the record has other tensors than the file."""
    for listed, known in ((record.inputs, own.inputs), (record.outputs, own.outputs)):
        dtypes = {name: tensor.dtype for tensor in known for name in (tensor.key, tensor.name)}
        if any(dtypes.get(tensor.name) != tensor.dtype for tensor in listed):
            raise ValueError("it has other tensors than the file")
        if len({tensor.key for tensor in listed}) < len(listed):
            raise ValueError("it has a key twice")
