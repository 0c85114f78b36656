"""A wire protocol beside that of /api/predict: it tells its URLs apart, decodes bodies, encodes answers and errors.

The predict route does the rest for every protocol: ids, limits, batches, metrics and the log.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from serialization.files.model_names import read_version
from serialization.serving.limits import Settings

Headers = list[tuple[str, str]]


class Results(dict[str, Any]):
    """What a run of the model gave, by output key."""

    def __init__(self, arrays: Mapping[str, Any], make_lists: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
        super().__init__(arrays)
        self._make_lists = make_lists

    @cached_property
    def lists(self) -> dict[str, Any]:
        """The same as nested lists, which are made once for all requests of the run."""
        return self._make_lists(self)

    def list_rows(self, part: slice | None) -> dict[str, Any]:
        """Nested lists of these rows, or of all."""
        return self.lists if part is None else {key: value[part] for key, value in self.lists.items()}


Encode = Callable[[Results, "slice | None"], tuple[Headers, bytes]]
"""Headers and body of an answer with these rows of the results, or all."""
Decode = Callable[[bytes], tuple[Mapping[str, Any], Encode]]
"""The values of a body by input key, as JsonFormat.stack takes them, and the encoder of its answer."""

MESSAGE = "serialization.message"  # the key in the environ of a gRPC call of its message: the body of the request
JSON_HEADERS: Headers = [("Content-Type", "application/json")]


class Call(NamedTuple):
    """A prediction that a request asks for; `route` is its name in the metrics, and never a client's text."""

    route: str
    decode: Decode


class Document(NamedTuple):
    """An answer for which the model does not run: JSON, or a message of gRPC."""

    route: str
    body: bytes
    status: int = 200


class WireProtocol(Protocol):
    """Answers all paths that begin with `prefix`; in the metrics, that is the route of those that it does not know."""

    prefix: str

    def find_call(self, environ: dict[str, Any], *, ready: bool) -> Call | Document:
        """The call, or the document, for a request line and its headers. `ready` is false when the server is ending.

        Raises RequestError if there is none.
        """

    def refuse(self, status: int, message: str) -> tuple[int, bytes]:
        """The protocol's own status, and the body of an error."""


class HttpProtocol(WireProtocol, Protocol):
    """One over HTTP, whose answers and errors are JSON."""

    def describe_paths(self) -> dict[str, Any]:
        """The paths for the OpenAPI document, with all that is answered."""


@dataclass(frozen=True)
class ServedModel:
    """A model as clients name it in URLs. `platform` is the name that the Open Inference Protocol has for its kind.

    `list_others` gives its other versions: "" for one that is loaded, or the reason for which one is not. `list_models`
    gives the names of the models beside it.
    """

    name: str
    version: str
    label: str | None
    platform: str
    list_others: Callable[[], Mapping[str, str]] = field(default=dict, compare=False)
    list_models: Callable[[], Sequence[str]] = field(default=tuple, compare=False)

    def name_models(self) -> str:
        """What models there are, for an error."""
        names = self.list_models()
        return f"the models here are {', '.join(names)}" if len(names) > 1 else f"the model here is {self.name}"


def name_served_model(path: Path, settings: Settings, platform: str = "") -> ServedModel:
    """The model by --model-name, or by its path: `export/7` is `export` of version 7, `my/model.pb` is `model`.

    Without a `platform`, it is TensorFlow's for what the path is.
    """
    path = Path(os.path.abspath(path))
    number = read_version(path)
    version, named = ("1", path) if number is None else (str(number), path.parent)
    is_folder = path.is_dir()
    name = settings.model_name or re.sub(r"[^\w.-]", "_", named.name if is_folder else named.stem) or "model"
    platform = platform or ("tensorflow_savedmodel" if is_folder else "tensorflow_graphdef")
    return ServedModel(name, version, settings.model_label, platform)
