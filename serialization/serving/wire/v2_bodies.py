"""Decodes and encodes the bodies of the Open Inference Protocol (KServe V2): tensors by name, in JSON or behind it.

    {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}], "outputs": [{"name": "y"}]}

v2_tensors.py has the single tensors. A body that msgspec decodes and that fits is read at once; all others go through
the rules of run/json_values.py, which find the fault and its place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from serialization.console import format_count, make_printable
from serialization.graph.signature import Signature
from serialization.run.given_feeds import make_default
from serialization.run.json_values import make_object
from serialization.serving.limits import Settings
from serialization.serving.requests import RequestError
from serialization.serving.wire.json_format import may_hold_nonfinite
from serialization.serving.wire.protocol import JSON_HEADERS, Encode, Headers, Results, ServedModel
from serialization.serving.wire.tensor_rules import (
    list_repeated_inputs,
    replace_nonfinite,
    require_equal,
    require_known,
    take_defaults,
)
from serialization.serving.wire.v2_fields import Output, QuickBody, read_by_rules, read_flag, read_size
from serialization.serving.wire.v2_known_bodies import KnownBodies
from serialization.serving.wire.v2_tensors import TensorReader, TensorWriter
from serialization.tensorflow import np

LENGTH_HEADER = "Inference-Header-Content-Length"  # of the JSON, before tensors as bytes
_SHORT = 2000  # bytes of a JSON before binary tensors that is kept decoded: clients send the same one again


class _Cut(NamedTuple):
    """The place of an input's bytes behind the JSON."""

    reader: TensorReader
    shape: tuple[int, ...]
    start: int
    end: int


class _Plan(NamedTuple):
    """What a body's JSON says: the values in it, the places of those behind it, and the encoder of the answer."""

    values: Mapping[str, Any]
    cuts: Sequence[_Cut]
    length: int  # of all bytes behind the JSON
    encode: Encode


class InferForm:
    """Decodes bodies and encodes answers. Raises RequestError for a body that does not fit."""

    def __init__(self, served: ServedModel, signature: Signature, settings: Settings) -> None:
        model = {"model_name": served.name, "model_version": served.version}
        self._head = msgspec.json.encode(model).removesuffix(b"}")
        self._readers = {
            tensor.key: TensorReader(tensor, settings.max_rows, nonfinite=settings.nonfinite_inputs == "allow")
            for tensor in signature.inputs
        }
        self._writers = {tensor.key: TensorWriter(tensor) for tensor in signature.outputs}
        self._defaults = {t.key: make_default(t.default) for t in signature.inputs if t.default is not None}
        self._repeated = list_repeated_inputs(signature.inputs)
        self._outputs = signature.outputs
        self._nonfinite = settings.nonfinite
        self._may_be_null = may_hold_nonfinite(signature, settings.nonfinite)
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(QuickBody)
        self._known_plan = lru_cache(64)(self._make_plan)
        self._known_bodies = KnownBodies(self._find_data)
        self._encode_all = self._choose_encoder(None, None, None)

    def decode(self, head_length: int | None, body: bytes) -> tuple[dict[str, Any], Encode]:
        """The values of a body, by input key, and the encoder of its answer.

        `head_length` is the length of the JSON, if tensors as bytes follow it.
        """
        if head_length is None:
            found = self._known_bodies.decode(body) or self._decode_quickly(body)
            return found or self._fill(self._make_plan(_require_text(body)), memoryview(b""))
        if head_length > len(body):
            raise RequestError(400, f"{LENGTH_HEADER}: {head_length:,}, but the body has {len(body):,} bytes")
        plan = (self._known_plan if head_length <= _SHORT else self._make_plan)(body[:head_length])
        return self._fill(plan, memoryview(body)[head_length:])

    def _decode_quickly(self, body: bytes) -> tuple[dict[str, Any], Encode] | None:
        """The same for a body of JSON that fits; None for others."""
        values = {}
        try:
            found = self._decoder.decode(body)
            quotes = 2 if found.id is None else 6
            for given in found.inputs:
                reader = self._readers[given.name]
                if given.data is msgspec.UNSET or given.parameters or given.name in values:
                    return None
                text = bytes(given.data)
                reader.require_fits(given.datatype, tuple(given.shape))
                values[given.name] = value = reader.read_quickly(text, given.shape)
                if value is None:
                    return None
                quotes += 12 + (text.count(b'"') if reader.tensor.dtype == "string" else 0)
            if found.outputs is not None:
                quotes += 2 + sum([4 + _count_quotes(output.parameters) for output in found.outputs])
            quotes += _count_quotes(found.parameters)
            if body.count(b'"') != quotes:
                json.loads(body, object_pairs_hook=make_object)  # msgspec would keep the last of a repeated key
        except (msgspec.DecodeError, ValueError, KeyError, OverflowError, RecursionError):
            return None
        if len(values) != len(self._readers):
            return None
        if self._repeated:
            require_equal(values, self._repeated, str)
        plain = found.id is None and not found.outputs and not found.parameters
        encode = self._encode_all if plain else self._choose_encoder(found.id, found.outputs, found.parameters)
        if len(values) == 1 and found.id is None:  # each request may have an id of its own
            self._known_bodies.learn(body, text, reader, given.shape, encode)
        return values, encode

    def _find_data(self, body: bytes) -> bytes | None:
        """The text of the data of the first input; None for a body that does not fit, or that has none."""
        try:
            data = self._decoder.decode(body).inputs[0].data
        except (msgspec.DecodeError, IndexError):
            return None
        return None if data is msgspec.UNSET else bytes(data)

    def _make_plan(self, text: bytes) -> _Plan:
        """What the JSON says, by the rules."""
        body = read_by_rules(text)
        values: dict[str, Any] = {}
        cuts: list[_Cut] = []
        start = 0
        for given in body.inputs:
            name = make_printable(given.name)
            require_known(given.name, self._readers, "input")
            reader = self._readers[given.name]
            if given.name in values or any(cut.reader is reader for cut in cuts):
                raise RequestError(400, f"the input {name!r} is there twice")
            reader.require_fits(given.datatype, tuple(given.shape))
            size = read_size(given.parameters, name)
            if (size is None) == (given.data is msgspec.UNSET):
                found = "none" if size is None else "both"
                raise RequestError(400, f"{name}: expected data or the parameter binary_data_size, got {found}")
            if size is None:
                values[given.name] = reader.read(given.data, given.shape)
                continue
            cuts.append(_Cut(reader, tuple(given.shape), start, start + size))
            start += size
        given_keys = {*values, *(cut.reader.tensor.key for cut in cuts)}
        values |= take_defaults(given_keys, self._readers, self._defaults)
        return _Plan(values, cuts, start, self._choose_encoder(body.id, body.outputs, body.parameters))

    def _fill(self, plan: _Plan, rest: memoryview) -> tuple[dict[str, Any], Encode]:
        """The values of a body, from its plan and the bytes behind the JSON."""
        values = dict(plan.values)
        for reader, shape, start, end in plan.cuts:
            key = reader.tensor.key
            if end > len(rest):
                found = (
                    f"binary_data_size is {end - start:,}, but {max(0, len(rest) - start):,} bytes are left in the body"
                )
                raise RequestError(400, f"{key}: {found}")
            values[key] = reader.read_bytes(rest[start:end], shape)
        if plan.length != len(rest):
            raise RequestError(
                400, f"the body goes on for {format_count(len(rest) - plan.length, 'byte')} after its tensors"
            )
        if self._repeated:
            require_equal(values, self._repeated, str)
        return values, plan.encode

    def _choose_encoder(
        self, request_id: str | None, outputs: Sequence[Output] | None, parameters: dict[str, Any] | None
    ) -> Encode:
        """The encoder of the outputs that a body asks for: all if it names none."""
        binary = read_flag(parameters, "binary_data_output", "parameters", default=False)
        wanted: dict[str, tuple[TensorWriter, bool]] = {}  # and whether as bytes
        for output in outputs or [Output(key) for key in self._writers]:
            name = make_printable(output.name)
            require_known(output.name, self._writers, "output")
            if output.name in wanted:
                raise RequestError(400, f"the output {name!r} is there twice")
            own = read_flag(output.parameters, "binary_data", name, default=binary)
            writer = self._writers[output.name]
            wanted[output.name] = writer, own
        head = self._head if request_id is None else self._head + b',"id":' + msgspec.json.encode(request_id)
        return partial(self._encode, head + b',"outputs":[', list(wanted.values()))

    def _encode(
        self, head: bytes, wanted: Sequence[tuple[TensorWriter, bool]], results: Results, part: slice | None
    ) -> tuple[Headers, bytes]:
        pieces = [head]
        blobs = []
        for writer, binary in wanted:
            key = writer.tensor.key
            array = np.asarray(results[key]) if part is None else results[key][part]
            if binary:
                blob = writer.write_bytes(array)
                blobs.append(blob)
                pieces += (writer.write_head(array.shape, len(blob)), b"},")
                continue
            values = writer.list_values(array) if part is None else _flatten(results.lists[key][part])
            data = self._encoder.encode(values)
            if self._may_be_null and b"null" in data:
                data = self._encoder.encode(self._name_nonfinite(writer, array))
            pieces += (writer.write_head(array.shape), data, b"},")
        pieces[-1] = b"}]}"
        text = b"".join(pieces)
        if not blobs:
            return JSON_HEADERS, text
        return [("Content-Type", "application/octet-stream"), (LENGTH_HEADER, str(len(text)))], b"".join([text, *blobs])

    def _name_nonfinite(self, writer: TensorWriter, array: Any) -> Any:
        key = writer.tensor.key
        values = {key: writer.list_values(array)}
        return replace_nonfinite(self._outputs, values, self._nonfinite, "{}.data".format)[key]


def _require_text(body: bytes) -> bytes:
    """The body, if it does not seem to have tensors as bytes behind its JSON. Raises RequestError."""
    if b'"binary_data_size"' in body and not body.rstrip().endswith(b"}"):
        raise RequestError(400, f"tensors as bytes need the header {LENGTH_HEADER}: the length of the JSON before them")
    return body


def _flatten(rows: list[Any]) -> list[Any]:
    """The values of nested lists, all of one depth, in row-major order."""
    while rows and isinstance(rows[0], list):
        rows = rows[0] if len(rows) == 1 else list(chain.from_iterable(rows))
    return rows


def read_length(header: str) -> int:
    """The length of the JSON that the header names. Raises RequestError."""
    if not (header.isascii() and header.isdigit() and len(header) < 20):
        raise RequestError(400, f"{LENGTH_HEADER}: expected a whole number, got {header[:100]!r}")
    return int(header)


def _count_quotes(parameters: dict[str, Any] | None) -> int:
    """The number of quotes that parameters have in a body, with their own key."""
    if parameters is None:
        return 0
    return 2 + sum([2 + 2 * isinstance(value, str) for value in parameters.values()])
