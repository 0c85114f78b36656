"""Unpacks bodies that a client has packed (Content-Encoding), up to a limit: a few bytes may unpack to gigabytes."""

from __future__ import annotations

import zlib

from serialization.serving.requests import RequestError

ENCODINGS = ("gzip", "deflate")
_ALSO = {"x-gzip": "gzip"}  # RFC 9110, section 8.4.1.3
_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's numbers of the forms
_PIECE = 1 << 16  # bytes
_MOST_MEMBERS = 10_000  # of a gzip file; each takes 10 microseconds at least


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
    members, one after the other (RFC 1952, section 2.2).
    """
    form = _GZIP if encoding == "gzip" else _ZLIB if _is_zlib(body) else _RAW
    parts: list[bytes] = []
    left = limit + 1  # the byte beyond the limit shows that there are too many
    at = 0
    try:
        for _ in range(_MOST_MEMBERS):
            unpacker = zlib.decompressobj(form)
            while left > 0 and not unpacker.eof:
                piece = body[at : at + _PIECE]  # not all that is left: zlib copies what follows a member
                if not piece:
                    raise zlib.error  # it ends too early
                parts.append(unpacker.decompress(piece, left))
                left -= len(parts[-1])
                at += len(piece) - len(unpacker.unused_data)
            if left <= 0:
                raise RequestError(413, f"the body unpacks to more than {limit:,} bytes")
            if at == len(body):
                return b"".join(parts)
            if form != _GZIP:
                raise RequestError(400, f"the body goes on after its {encoding} data")
    except zlib.error:
        raise RequestError(400, f"the body is damaged, cut off, or not {encoding} as Content-Encoding says") from None
    raise RequestError(400, f"the body has more than {_MOST_MEMBERS:,} members of gzip")


def _is_zlib(body: bytes) -> bool:
    """Whether the body begins as zlib's form does (RFC 1950): method 8, and two bytes that are a multiple of 31."""
    return len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
