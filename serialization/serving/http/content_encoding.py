"""Unpacks bodies that a client has packed (Content-Encoding), up to a limit: a few bytes may unpack to gigabytes."""

from __future__ import annotations

import zlib

from serialization.serving.requests import RequestError

ENCODINGS = ("gzip", "deflate")
_ALSO = {"x-gzip": "gzip"}  # RFC 9110, section 8.4.1.3
_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's numbers of the forms


def name_encoding(header: str | None) -> str | None:
    """`gzip` or `deflate`, or None for a body as it is. Raises RequestError for any other encoding."""
    name = (header or "identity").strip().lower()
    name = _ALSO.get(name, name)
    if name == "identity":
        return None
    if name not in ENCODINGS:
        found = repr((header or "")[:100])
        raise RequestError(
            415,
            f"Content-Encoding: expected gzip, deflate or none, got {found}; send the body as it is",
            Accept_Encoding=", ".join(ENCODINGS),
        )
    return name


def unpack_body(body: bytes, encoding: str, limit: int) -> bytes:
    """The bytes that were packed. Raises RequestError if there are more than `limit`, or if the body is damaged.

    `deflate` is zlib's form (RFC 9110, section 8.4.1.2); some clients send the bare one. A gzip file may have several
    parts, one after the other.
    """
    form = _GZIP if encoding == "gzip" else _ZLIB if _is_zlib(body) else _RAW
    parts: list[bytes] = []
    left = limit + 1  # the byte beyond the limit shows that there are too many
    rest = body
    try:
        while left > 0:
            unpacker = zlib.decompressobj(form)
            part = unpacker.decompress(rest, left)
            parts.append(part)
            left -= len(part)
            if left > 0 and not unpacker.eof:
                raise zlib.error("it ends too early")
            rest = unpacker.unused_data
            if left <= 0 or not rest:
                break
            if form != _GZIP:
                raise RequestError(400, f"the body goes on after its {encoding} data")
    except zlib.error as error:
        raise RequestError(400, f"the body is not whole {encoding} data, as Content-Encoding says: {error}") from None
    if left <= 0:
        raise RequestError(413, f"the body unpacks to more than {limit:,} bytes")
    return b"".join(parts)


def _is_zlib(body: bytes) -> bool:
    """Whether the body begins as zlib's form does (RFC 1950): method 8, and two bytes that are a multiple of 31."""
    return len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
