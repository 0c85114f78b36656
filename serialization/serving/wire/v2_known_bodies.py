"""Decodes bodies of the Open Inference Protocol that differ from an earlier one in their data alone.

A client repeats the JSON around the data in each request. It is decoded once, and then the data alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from serialization.serving.wire.protocol import Encode
from serialization.serving.wire.v2_tensors import TensorReader

_KEY = b'"data":'
_MARK = b"[0.20261130]"  # takes the place of the data, to see where that is
_MOST = 64  # texts around data that are kept
_LONGEST = 2000  # bytes of such a text


class _Known(NamedTuple):
    """What the JSON around the data says; `behind` is the part after the data."""

    behind: bytes
    reader: TensorReader
    shape: Sequence[int]
    encode: Encode


class KnownBodies:
    """Bodies with one input. `find_data` gives the text of the data in a body, or None if it is no body of JSON."""

    def __init__(self, find_data: Callable[[bytes], bytes | None]) -> None:
        self._find_data = find_data
        self._known: dict[bytes, _Known] = {}  # by the JSON before the data

    def decode(self, body: bytes) -> tuple[dict[str, Any], Encode] | None:
        """The values of a body, by input key, and the encoder of its answer; None for a body that is not known.

        Any list that is valid JSON may stand where another one stood, so the rest need not be decoded again.
        """
        start = body.find(_KEY) + len(_KEY)
        known = self._known.get(body[:start])
        if known is None:
            return None
        behind, reader, shape, encode = known
        if not body.endswith(behind):
            return None
        try:
            value = reader.read_quickly(body[start : len(body) - len(behind)], shape)
        except (msgspec.DecodeError, ValueError, OverflowError, RecursionError):
            return None
        return None if value is None else ({reader.tensor.key: value}, encode)

    def learn(self, body: bytes, data: bytes, reader: TensorReader, shape: Sequence[int], encode: Encode) -> None:
        """Know the JSON around the data of a body that fits."""
        start = body.find(_KEY) + len(_KEY)
        before, behind = body[:start], body[body.find(data, start) + len(data) :]
        around = before + _MARK + behind
        # A key may end with "data": the mark has to be found where the data was, and nowhere else.
        if len(around) > _LONGEST or around.count(_MARK) > 1 or self._find_data(around) != _MARK:
            return
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[before] = _Known(behind, reader, shape, encode)
