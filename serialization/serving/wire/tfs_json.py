"""Decodes and encodes predictions as TensorFlow Serving's REST API does: by rows, or by columns.

    {"instances": [1, 2]}                       is answered with  {"predictions": [2.5, 3.0]}
    {"inputs": {"x": [1, 2]}}                   is answered with  {"outputs": [2.5, 3.0]}

Source: tensorflow_serving/util/json_tensor.cc. As for /api/predict, msgspec and simdjson decode the bodies that fit.
All others go through the rules of run/json_values.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from serialization.graph.signature import Signature, Tensor
from serialization.run.given_feeds import make_default
from serialization.run.json_values import MisfitError, convert_json, make_object
from serialization.serving.requests import RequestError, require_row_count
from serialization.serving.wire import flat_json
from serialization.serving.wire.body_types import choose_array_maker, is_regular, make_object_type, make_tensor_type
from serialization.serving.wire.json_format import may_hold_nonfinite
from serialization.serving.wire.protocol import JSON_HEADERS, Encode, Headers, Results
from serialization.serving.wire.tensor_rules import list_repeated_inputs, replace_nonfinite, require_equal
from serialization.serving.wire.tfs_faults import find_fault, split_columns, split_rows

ROWS, COLUMNS = "instances", "inputs"  # the key of a body: its values by rows, or by columns


class PredictForm:
    """Decodes bodies and encodes answers. Raises RequestError for a body that does not fit."""

    def __init__(self, signature: Signature, max_rows: int, nonfinite: str) -> None:
        self._inputs = {tensor.key: tensor for tensor in signature.inputs}
        self._outputs = signature.outputs
        self._name = signature.key
        self._max_rows = max_rows
        self._nonfinite = nonfinite
        self._may_be_null = may_hold_nonfinite(signature, nonfinite)
        self._only_input = signature.inputs[0].key if len(signature.inputs) == 1 else None
        self._only_output = signature.outputs[0].key if len(signature.outputs) == 1 else None
        self._makers = {t.key: choose_array_maker(t) for t in signature.inputs if not is_regular(t)}
        self._repeated = list_repeated_inputs(signature.inputs)
        self._defaults = {t.key: make_default(t.default) for t in signature.inputs if t.default is not None}
        self._strings = any(tensor.dtype == "string" for tensor in signature.inputs)
        self._fields = [(f"field{i}", tensor.key) for i, tensor in enumerate(signature.inputs)]
        self._decoder = _make_decoder(signature.inputs, max_rows)
        self._flat = {}
        if self._only_input is not None:
            self._flat = {key: flat_json.make_decoder(signature.inputs[0], max_rows, key) for key in (ROWS, COLUMNS)}
        self._encode = msgspec.json.Encoder().encode

    def decode_quickly(self, body: bytes) -> tuple[dict[str, Any], Encode] | None:
        """The values of a body that fits, by input key, and the encoder; None for a body that is left to `decode`."""
        if len(body) > flat_json.LONG and self._only_input is not None:
            key = ROWS if b'"instances"' in body[:20] else COLUMNS
            if (flat := self._flat[key]) and (array := flat(body)) is not None:
                return {self._only_input: array}, self.encode_rows if key == ROWS else self.encode_columns
        if self._decoder is None:
            return None
        try:
            found = self._decoder.decode(body)
            if (found.instances is None) == (found.inputs is None) or found.signature_name not in ("", self._name):
                return None
            if self._only_input is not None:
                values = {self._only_input: found.inputs if found.instances is None else found.instances}
                quotes = 0
            elif found.instances is not None:
                values, quotes = self._take_rows(found.instances)
            else:
                values, quotes = self._take_columns(found.inputs)
            quotes += 6 if found.signature_name else 2  # a name has no quotes itself
            if self._strings or body.count(b'"') != quotes:
                json.loads(body, object_pairs_hook=make_object)  # msgspec would keep the last of a repeated key
            for key, make in self._makers.items():
                values[key] = make(values[key])
        except (msgspec.DecodeError, ValueError, OverflowError, RecursionError):
            return None
        if self._repeated:
            require_equal(values, self._repeated, str)
        return values, self.encode_columns if found.instances is None else self.encode_rows

    def _take_rows(self, rows: Any) -> tuple[dict[str, Any], int]:
        """The values by input key, and the number of quotes around their keys."""
        values = {key: [getattr(row, field) for row in rows] for field, key in self._fields}
        return values, 2 * len(rows) * len(self._fields)

    def _take_columns(self, columns: Any) -> tuple[dict[str, Any], int]:
        return {key: getattr(columns, field) for field, key in self._fields}, 2 * len(self._fields)

    def decode(self, document: Mapping[str, Any]) -> tuple[dict[str, Any], Encode]:
        """The same for any body, from its JSON; a fault is told as TensorFlow Serving tells it, if it knows it."""
        if ROWS in document and COLUMNS in document:
            raise RequestError(
                400, f"Not formatted correctly expecting only one of '{COLUMNS}' or '{ROWS}' keys to exist"
            )
        if ROWS not in document and COLUMNS not in document:
            raise RequestError(400, f"Missing '{COLUMNS}' or '{ROWS}' key")
        by_rows = ROWS in document
        place = ROWS if by_rows else COLUMNS
        split = split_rows if by_rows else split_columns
        given = split(document[place], list(self._inputs), self._defaults)
        values = {}
        for key, tensor in self._inputs.items():
            if key not in given:
                values[key] = self._defaults[key]
                continue
            where = place if self._only_input is not None else f"{place}.{key}"
            values[key] = self._convert(tensor, given[key], where, by_rows=by_rows)
        require_equal(values, self._repeated, str)
        return values, self.encode_rows if by_rows else self.encode_columns

    def _convert(self, tensor: Tensor, value: Any, place: str, *, by_rows: bool) -> Any:
        if isinstance(value, list) and (tensor.shape is None or tensor.shape[:1] == (None,)):
            require_row_count(len(value), self._max_rows, place)
        try:
            return convert_json(tensor, value, place)
        except MisfitError as misfit:
            raise RequestError(400, find_fault(tensor.dtype, value, by_rows=by_rows) or str(misfit)) from None

    def encode_rows(self, results: Results, part: slice | None) -> tuple[Headers, bytes]:
        """`{"predictions": [...]}`: a value for each row, or an object by output key if there are several outputs."""
        lists = results.list_rows(part)
        if part is None:
            _require_rows(lists)
        return self._write("predictions", lists, _join_rows)

    def encode_columns(self, results: Results, part: slice | None) -> tuple[Headers, bytes]:
        """`{"outputs": ...}`: the value of the only output, or an object by output key."""
        return self._write("outputs", results.list_rows(part), dict)

    def _write(
        self, key: str, lists: Mapping[str, Any], join: Callable[[Mapping[str, Any]], Any]
    ) -> tuple[Headers, bytes]:
        """The body, whose only key is `key`; `join` makes one value of several outputs."""
        only = self._only_output
        body = self._encode({key: join(lists) if only is None else lists[only]})
        if self._may_be_null and b"null" in body:
            name = f"{key}.{{}}".format if only is None else lambda _: key
            lists = replace_nonfinite(self._outputs, lists, self._nonfinite, name)
            body = self._encode({key: join(lists) if only is None else lists[only]})
        return JSON_HEADERS, body


def _require_rows(lists: Mapping[str, Any]) -> None:
    """Raise RequestError if an output has no rows, or another number of rows than the others."""
    for key, value in lists.items():
        if not isinstance(value, list):
            raise RequestError(400, f"Tensor name: {key} has no shape information; send '{COLUMNS}'")
    if len(set(map(len, lists.values()))) > 1:
        found = ", ".join(f"{key} has {len(value)}" for key, value in lists.items())
        raise RequestError(400, f"the outputs have different numbers of rows: {found}; send '{COLUMNS}'")


def _join_rows(lists: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An object by output key for each row."""
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _make_decoder(inputs: Sequence[Tensor], max_rows: int) -> msgspec.json.Decoder[Any] | None:
    """The decoder for bodies of both forms, None for inputs of unknown rank, or without rows.

    It returns an object with `signature_name`, and `instances` or `inputs` as make_body_decoder describes its values.
    """
    shapes = [tensor.shape for tensor in inputs]
    if not all(shapes):
        return None
    types = [make_tensor_type(t, s or (), max_rows) for t, s in zip(inputs, shapes, strict=True)]
    rows: Any = types[0]
    columns = types[0]
    if len(inputs) > 1:
        keys = [tensor.key for tensor in inputs]
        columns = make_object_type(keys, types)
        row = [make_tensor_type(t, (s or ())[1:], None) for t, s in zip(inputs, shapes, strict=True)]
        rows = make_object_type(keys, row)
        rows = Annotated[list[rows], msgspec.Meta(min_length=1, max_length=max_rows)]
    fields = [("signature_name", str, ""), (ROWS, rows | None, None), (COLUMNS, columns | None, None)]
    return msgspec.json.Decoder(msgspec.defstruct("Body", fields, forbid_unknown_fields=True, gc=False))
