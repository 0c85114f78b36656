"""A version of a model that is loaded: its engine, and all that its signature decides, from bodies to answers.

A request keeps the version that it began with to its end, so no answer is made of two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Protocol

from werkzeug.http import parse_options_header

from serialization.console import make_printable
from serialization.formats.image_files import is_image
from serialization.serving.http.content_encoding import name_encoding, unpack_body
from serialization.serving.limits import Settings
from serialization.serving.model.engine import Engine
from serialization.serving.requests import RequestError, decode_path
from serialization.serving.wire import image_format, npy_format
from serialization.serving.wire.image_format import ImageFormat
from serialization.serving.wire.json_format import JsonFormat, make_example_body
from serialization.serving.wire.npy_format import NpyFormat
from serialization.serving.wire.protocol import HttpProtocol, ServedModel
from serialization.serving.wire.protocols import make_protocols

if TYPE_CHECKING:
    from serialization.serving.http.predict_route import Request
    from serialization.serving.http.slot import Slot

JSON, NPY = "application/json", "application/x-npy"

Decoder = Callable[[bytes], Mapping[str, Any]]


class Queue(Protocol):
    """Runs requests together. `close` ends what it has started, once nothing waits in it."""

    def put(self, request: Request, came: float) -> None: ...

    def close(self) -> None: ...


class Version:
    """A loaded model. People are shown its `path`, URLs have what `served` says; `example` is a body that works.

    `queue` takes requests of fewer than `most_rows` rows, if they may be run together.
    """

    def __init__(self, path: str, served: ServedModel, engine: Engine, settings: Settings) -> None:
        signature = engine.signature
        self.path = path
        self.slot: Slot | None = None  # once it is loaded
        self.served = served = replace(
            served,
            list_others=lambda: {} if self.slot is None else self.slot.list_versions(),
            list_models=lambda: () if self.slot is None else self.slot.names,
        )
        self.engine = engine
        self.settings = settings
        self.predict = engine.predict
        self.example = make_example_body(signature, engine.example)
        self.json = JsonFormat(signature, settings.max_rows, settings.nonfinite, settings.nonfinite_inputs)
        self.npy = NpyFormat(signature, settings.max_rows, settings.nonfinite_inputs)
        self._images = ImageFormat(signature, settings.max_rows, engine.decoder)
        self._image_types = image_format.list_content_types(signature)
        if self._images.takes_pixels:
            self.json.read_images = self._images.read_json_rows
        self._limit = settings.max_body_mb * 1_000_000
        # Few different headers and paths are in use.
        self.find_decoder = lru_cache(64)(self._choose_decoder)
        self.find_protocol = lru_cache(64)(self._choose_protocol)
        self.protocols = make_protocols(served, signature, settings)  # beside that of /api/predict
        self.services: Any = None  # those of gRPC, once a call comes
        self.queue: Queue | None = None
        self.most_rows = 0

    def _choose_protocol(self, path: str) -> HttpProtocol | None:
        """The protocol that this path belongs to, if it is not that of /api/predict."""
        for protocol in self.protocols:
            if f"{path}/".startswith(protocol.prefix):
                return protocol
        return None

    def close(self) -> None:
        """Give back what it takes, once no request has it."""
        if self.queue is not None:
            self.queue.close()
        self.engine.close()

    def _choose_decoder(self, path: str, method: str, encoding: str | None, content_type: str, query: str) -> Decoder:
        """The function that decodes a body. Raises RequestError if the headers alone are wrong."""
        if method != "POST":
            shown = make_printable(decode_path(path))
            raise RequestError(405, f"{shown} takes POST, not {make_printable(method)}", Allow="POST")
        return self.unpack(self._choose_format(content_type, query), encoding)

    def unpack(self, decode: Callable[[bytes], Any], encoding: str | None) -> Callable[[bytes], Any]:
        """The decoder, for bodies in this Content-Encoding."""
        packed = name_encoding(encoding)
        if packed is None:
            return decode
        return lambda body: decode(unpack_body(body, packed, self._limit))

    def _choose_format(self, content_type: str, query: str) -> Decoder:
        name, _, parameters = content_type.partition(";")
        name, parameters = name.strip().lower(), parameters.replace(" ", "").replace('"', "").lower()
        if name == JSON and parameters in ("", "charset=utf-8"):
            return self.json.decode
        decode_image = partial(self._images.decode_file, query=query)
        if name == npy_format.ANY_BYTES and self._image_types:
            return lambda body: (decode_image if is_image(body) else self.npy.decode)(body)
        if name in npy_format.CONTENT_TYPES:
            return self.npy.decode
        if name in image_format.CONTENT_TYPES:
            return decode_image
        if name == image_format.FORM:
            boundary = parse_options_header(content_type)[1].get("boundary", "")
            return lambda body: self._images.decode_form(body, boundary, query)
        shown = repr(content_type[:100]) if content_type else "none"
        *taken, last = f"{JSON} (in UTF-8)", NPY, *self._image_types
        raise RequestError(415, f"Content-Type: expected {', '.join(taken)} or {last}, got {shown}")
