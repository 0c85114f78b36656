"""Packed bodies are unpacked up to a limit, and damaged ones refused."""

from __future__ import annotations

import gzip
import json
import random
import zlib

import pytest
from conftest import Clients
from serving_models import post

from serialization.serving.http.content_encoding import name_encoding, unpack_body
from serialization.serving.requests import RequestError

BODY = json.dumps({"x": [[1, 2, 3]] * 100}).encode()


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED = [
    ("gzip", gzip.compress(BODY)),
    ("gzip", gzip.compress(BODY[:50]) + gzip.compress(BODY[50:])),
    ("deflate", zlib.compress(BODY)),
    ("deflate", bare(BODY)),
]


@pytest.mark.parametrize(("encoding", "packed"), PACKED)
def test_all_forms_are_unpacked(encoding: str, packed: bytes) -> None:
    assert unpack_body(packed, encoding, len(BODY)) == BODY


@pytest.mark.parametrize(("encoding", "packed"), PACKED)
def test_no_more_than_the_limit_is_unpacked(encoding: str, packed: bytes) -> None:
    with pytest.raises(RequestError, match=f"the body unpacks to more than {len(BODY) - 1:,} bytes") as caught:
        unpack_body(packed, encoding, len(BODY) - 1)
    assert caught.value.status == 413


def test_a_bomb_takes_no_memory() -> None:
    bomb = gzip.compress(bytes(200_000_000))
    assert len(bomb) < 300_000
    with pytest.raises(RequestError, match="unpacks to more than 1,000 bytes"):
        unpack_body(bomb, "gzip", 1000)
    many = gzip.compress(b"") * 10_000
    assert unpack_body(many, "gzip", 1000) == b""


def test_a_bomb_takes_no_time() -> None:
    """A million members in 20 MB took hours: each copied all that follows it."""
    with pytest.raises(RequestError, match="the body has more than 10,000 members of gzip") as caught:
        unpack_body(gzip.compress(b"") * 1_000_000, "gzip", 1000)
    assert caught.value.status == 400


def test_long_bodies_are_unpacked_in_pieces() -> None:
    data = random.Random(0).randbytes(300_000)
    for encoding, packed in (("gzip", gzip.compress(data)), ("deflate", zlib.compress(data)), ("deflate", bare(data))):
        assert unpack_body(packed, encoding, 300_000) == data
    assert unpack_body(gzip.compress(data) + gzip.compress(data[::-1]), "gzip", 10**6) == data + data[::-1]


@pytest.mark.parametrize(("encoding", "packed"), PACKED)
def test_damaged_bodies_are_refused(encoding: str, packed: bytes) -> None:
    chance = random.Random(0)
    with pytest.raises(RequestError, match=f"the body is damaged, cut off, or not {encoding}"):
        unpack_body(packed[:-3], encoding, 10**6)
    statuses = set()
    for _ in range(300):
        damaged = bytearray(packed)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        statuses.add(status_of(bytes(damaged), encoding))
    assert 400 in statuses
    assert statuses <= {200, 400, 413}


def status_of(packed: bytes, encoding: str) -> int:
    try:
        unpack_body(packed, encoding, 10**6)
    except RequestError as error:
        return error.status
    return 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_not_packed_is_told(encoding: str) -> None:
    packed = gzip.compress(BODY) if encoding == "gzip" else zlib.compress(BODY)
    for body in (b'{"x": [[1, 2, 3]]}', b"", packed[:-5]):
        with pytest.raises(RequestError, match=f"the body is damaged, cut off, or not {encoding} as Content-Encoding"):
            unpack_body(body, encoding, 10**6)


def test_bytes_behind_the_packed_ones_are_refused() -> None:
    with pytest.raises(RequestError, match="the body goes on after its deflate data"):
        unpack_body(zlib.compress(BODY) + b"more", "deflate", 10**6)
    with pytest.raises(RequestError, match="the body is damaged, cut off, or not gzip"):
        unpack_body(gzip.compress(BODY) + b"more", "gzip", 10**6)


def test_the_encoding_is_named() -> None:
    assert [name_encoding(name) for name in (None, "identity", "GZIP", "x-gzip", " deflate ")] == [
        None,
        None,
        "gzip",
        "gzip",
        "deflate",
    ]
    for other in ("br", "gzip, gzip", "zstd", ""):
        if other:
            with pytest.raises(RequestError, match="Content-Encoding: expected gzip, deflate or none") as caught:
                name_encoding(other)
            assert caught.value.status == 415
            assert ("Accept-Encoding", "gzip, deflate") in caught.value.headers


def test_packed_requests_are_answered(clients: Clients) -> None:
    body = b'{"x": {"a": [[1, 2, 3]], "b": [1]}}'
    expected = (200, {"y": {"sum": [[2, 3, 4]], "positive": [True]}})
    client = clients("two", max_body_mb=1)
    assert post(client, gzip.compress(body), **{"Content-Encoding": "gzip"}) == expected
    assert post(client, zlib.compress(body), **{"Content-Encoding": "deflate"}) == expected
    status, answer = post(client, gzip.compress(body + b" " * 1_000_000), **{"Content-Encoding": "gzip"})
    assert (status, answer["error"]) == (413, "the body unpacks to more than 1,000,000 bytes")
    status, answer = post(client, body, **{"Content-Encoding": "gzip"})
    assert (status, answer["error"].partition(",")[0]) == (400, "the body is damaged")
