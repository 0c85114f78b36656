"""simdjson, msgspec and the rules of run/json_values.py take the same bodies and make the same bits of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serialization.graph.signature import Signature, Tensor
from serialization.serving.requests import RequestError
from serialization.serving.wire import flat_json
from serialization.serving.wire.json_format import JsonFormat
from serialization.tensorflow import np

MAX_ROWS = 5
INTS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
FLOATS = ["float8_e5m2", "float16", "float32", "float64"]
SHAPES: list[tuple[int | None, ...]] = [
    (None,),
    (None, 1),
    (None, 3),
    (2, 2),
    (None, 2, 1),
    (None, 1, 2),
    (3, 2, 2),
    (None, 1, 1, 1),
    (None, 2, 3, 2),
    (None, *[1] * 12, 2),
]
SMALL = ["0", "1", "7", "42", "127", "-0"]
REAL = [*SMALL, "-0.0", "0.1", "1.0", "1e2", "1E+2", "-2.5e-3", "1e-400", "5e-324", "6e-8", "65504", "1.00390625"]
REAL += ["0.30000001192092896", "2.0000000000000004", "2049", "2051.0"]
WIDE = [*SMALL, "32768", "4294967295", "16777217", "9007199254740993", "9223372036854775807", "18446744073709551615"]
ODD = ["-1", "-129", "256", "-9223372036854775808", "18446744073709551616", "123456789012345678901234567890", "65505"]
ODD += [
    "65520",
    "3.4e38",
    "3.5e38",
    "1.7976931348623157e308",
    "1e309",
    "01",
    "1.",
    ".5",
    "+1",
    "-",
    "1e",
    "NaN",
    "true",
]
SIGNS = [*'[]{},:"x0123456789-+.eE \t\r\n\0\x0b', "],[", "[]", "1 2", "\ufeff"]


@pytest.fixture(scope="module", autouse=True)
def _short_bodies_too() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flat_json, "LONG", 0)
        yield


@lru_cache(None)
def formats(dtype: str, shape: tuple[int | None, ...]) -> tuple[JsonFormat, JsonFormat]:
    """As it is, and one that knows nested lists only."""
    signature = Signature((Tensor("x", "x:0", dtype, shape),), (Tensor("y", "y:0", "float32", (None,)),))
    both, nested = JsonFormat(signature, MAX_ROWS), JsonFormat(signature, MAX_ROWS)
    assert both._flat
    nested._flat = None
    return both, nested


def outcome(decoder: JsonFormat, body: bytes, *, by_rules: bool = False) -> Any:
    try:
        decode = decoder._decode_by_rules if by_rules else decoder.decode
        (array,) = decoder.stack([decode(body)]).values()
    except RequestError as error:
        return error.status, str(error)
    return array.dtype, array.shape, array.tobytes(), array.flags.writeable, array.flags.c_contiguous


def write(sizes: tuple[int, ...], numbers: Iterator[str], comma: str) -> str:
    if not sizes:
        return next(numbers)
    return "[" + comma.join(write(sizes[1:], numbers, comma) for _ in range(sizes[0])) + "]"


@st.composite
def nearly_right(draw: st.DrawFn) -> tuple[str, tuple[int | None, ...], bytes]:
    """A body for an input of this dtype and shape, with up to three faults."""
    dtype, shape = draw(st.sampled_from(INTS + FLOATS)), draw(st.sampled_from(SHAPES))
    sizes = (draw(st.integers(1, MAX_ROWS + 1)) if shape[0] is None else shape[0], *(size or 0 for size in shape[1:]))
    pool = draw(st.sampled_from([SMALL, REAL, WIDE]))
    numbers = draw(st.lists(st.sampled_from(pool), min_size=72, max_size=72))
    if draw(st.booleans()):
        numbers[draw(st.integers(0, 5))] = draw(st.sampled_from(ODD))
    comma, colon = draw(st.sampled_from([(",", ":"), (", ", ": "), (",\n  ", " :\t"), (" ,", ":")]))
    text = f'{{"x"{colon}{write(sizes, iter(numbers), comma)}}}'
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.integers(0, 2))
        cut, text = text[start:end], text[:start] + text[end:]
        # The removed text may come back near by: in the next list, or on the wrong side of a bracket.
        to = max(0, start + draw(st.integers(-2, 2)))
        text = text[:to] + draw(st.one_of(st.just(cut), st.just(""), st.sampled_from(SIGNS))) + text[to:]
    return dtype, shape, text.encode()


@settings(max_examples=1500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(nearly_right())
def test_agrees_with_nested_lists_and_with_the_rules(case: tuple[str, tuple[int | None, ...], bytes]) -> None:
    dtype, shape, body = case
    both, nested = formats(dtype, shape)
    assert outcome(both, body) == outcome(nested, body) == outcome(nested, body, by_rules=True)


@pytest.mark.parametrize(
    "body",
    [
        '{"x": [[1[2],[3]]]}',
        '{"x": [[1[],[3]]]}',
        '{"x": [[1 [ ],[3]]]}',
        '{"x": [[[1]2,[3]]]}',
        '{"x": [[[]1,[3]]]}',
        '{"x": [[[ ] 1,[3]]]}',
        '{"x": [[[1],3[]]]}',
        '{"x": [[[1],[]3]]}',
        '{"x": [[[1],[]]3]}',
        '{"x": [[[1],[]]]3}',
        '{"x": [[[1],[3]]]}3',
        '{"x": [[[1],[]]]}3',
        '{"x": 1[[[],[3]]]}',
        '{"x"1: [[[],[3]]]}',
        '{"x1": [[[],[3]]]}',
        '{"x1": [[[1],[3]]]}',
        '{1"x": [[[],[3]]]}',
        '1{"x": [[[],[3]]]}',
        '{" x": [[[1],[3]]]}',
        '{"x ": [[[1],[3]]]}',
        '{"x": [[[1 2],[3]]]}',
        '{"x": [[[1,2],[3]]]}',
        '{"x": [[[1],[2],[3]]]}',
        '{"x": [[[1]],[[2]]]}',
        '{"x": [[1],[2]]}',
        '{"x": [[[1],[2]]], "x": [[[1],[2]]]}',
        '{"x": [[[1],[3]]]}}',
        '{"x": [[[1],["3"]]]}',
        '{"x": [[[1],[:3]]]}',
        '{"x": [[[1],[x3]]]}',
        '\ufeff{"x": [[[1],[3]]]}',
        '{"x": [[[1],[3]]]}\0',
    ],
)
def test_a_misplaced_sign_is_refused(body: str) -> None:
    both, nested = formats("int32", (None, 2, 1))
    status, *error = outcome(both, body.encode())
    assert status == 400
    assert [status, *error] == [*outcome(nested, body.encode())]


@pytest.mark.parametrize("dtype", INTS + FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_regular_body_is_decoded_without_nested_lists(dtype: str, shape: tuple[int | None, ...]) -> None:
    both, nested = formats(dtype, shape)
    sizes = [size or MAX_ROWS for size in shape]
    values = np.random.default_rng(1).integers(0, 100, sizes)
    body = json.dumps({"x": (values if dtype in INTS else values / 128).tolist()}).encode()
    for text in (body, body.replace(b" ", b""), b"\n" + body.replace(b"[", b"[ ") + b"\t \r\n"):
        decoded = flat_json_alone(both, text)
        assert np.array_equal(decoded, values if dtype in INTS else (values / 128).astype(decoded.dtype))
        assert outcome(both, text) == outcome(nested, text)


def flat_json_alone(decoder: JsonFormat, body: bytes) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder, "_decode", None)
        return decoder.decode(body)["x"]


@pytest.mark.parametrize("shape", [None, (), (None, None), (None, 2, None), (None, 0), (0, 2), (None, 2, 0)])
def test_an_input_with_open_sizes_is_left_to_nested_lists(shape: tuple[int | None, ...] | None) -> None:
    assert flat_json.make_decoder(Tensor("x", "x:0", "int32", shape), MAX_ROWS) is None


@pytest.mark.parametrize("dtype", ["string", "bool", "bfloat16"])
def test_a_dtype_that_simdjson_lacks_is_left_to_nested_lists(dtype: str) -> None:
    assert flat_json.make_decoder(Tensor("x", "x:0", dtype, (None, 2)), MAX_ROWS) is None
