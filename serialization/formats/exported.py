"""What a file of another runtime, ONNX or LiteRT, says about itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from serialization.console import make_printable
from serialization.project import resolve_below


@dataclass(frozen=True)
class ExportedTensor:
    """An input or output: its key in a signature, its name, its dtype by TensorFlow's name, and its shape.

    In the shape None is any size; it is None for an unknown rank.
    """

    key: str
    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class ExportedSignature:
    """Inputs and outputs by a key, which is empty where the format has no keys."""

    key: str
    inputs: tuple[ExportedTensor, ...]
    outputs: tuple[ExportedTensor, ...]


@dataclass(frozen=True)
class ExportedModel:
    """The content of an ONNX or a LiteRT file.

    `versions` are those of the ops, by their domains. `ops` are counted, and so are `constants` and the `parameters`,
    the numbers in them. `defaults` are the names of the inputs that have a value without being fed. `beside` are the
    names of the files beside it that hold constants.
    """

    producer: str
    versions: Mapping[str, int]
    signatures: tuple[ExportedSignature, ...]
    ops: Mapping[str, int]
    metadata: Mapping[str, str]
    constants: int
    parameters: int
    defaults: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


def list_misplaced_files(path: Path, beside: Iterable[str]) -> Iterator[str]:
    """The faults of the files beside a model at `path` that hold its constants; a runtime refuses it for them."""
    for name in beside:
        if Path(name).is_absolute() or resolve_below(path.parent / name, path.resolve().parent) is None:
            yield f"it reads constants from {make_printable(name)}, outside of its folder"
        elif not (path.parent / name).is_file():
            yield f"it lacks {make_printable(name)}, which holds constants; copy it here too"
