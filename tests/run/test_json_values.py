"""`--feed` and a request's body accept the same JSON values, make the same arrays, and give the same errors."""

from __future__ import annotations

import io
import json
from functools import lru_cache
from typing import Any

import ml_dtypes
import pytest
from flask.testing import FlaskClient
from serving_models import PREDICT, make_app

from serialization.errors import UserError
from serialization.graph.signature import Signature, Tensor, make_signature
from serialization.run.given_feeds import parse_feed, read_feeds
from serialization.run.json_values import convert_json, find_rule, format_place, measure_shape, read_json
from serialization.run.predictor import open_session
from serialization.serving.limits import Settings
from serialization.serving.wire import flat_json
from serialization.tensorflow import np, tf, tf1

Shape = tuple[int | None, ...] | None
WHOLE = [f"{sign}int{bits}" for sign in ("", "u") for bits in (4, 8, 16, 32, 64)]
FLOATS = ["float8_e5m2", "float8_e4m3fn", "float16", "bfloat16", "float32", "float64"]
NO_TEXT = (
    "the string is no Unicode text: '\\ud800' is half of a surrogate pair; give other bytes as {\"b64\": their base64}"
)
TEXT = 'expected a string, or {"b64": its bytes in base64}'


@lru_cache(None)
def serve_identity(dtype: str, shape: Shape) -> FlaskClient:
    """A client of a model that answers with its input; strings as their bytes in base64."""

    def load() -> tuple[Any, Signature]:
        with tf1.Graph().as_default() as graph:
            tf.identity(tf1.placeholder(dtype, shape, name="given"), name="same")
        return open_session(graph), make_signature(graph, "given", "same_bytes=same")

    return make_app("identity", load, Settings()).test_client()


def give_as_feed(dtype: str, shape: Shape, text: str) -> Any:
    """The array of `--feed x=TEXT`, or the message."""
    try:
        found = read_feeds(Signature((Tensor("x", "x:0", dtype, shape),), ()), [parse_feed(f"x={text}")])
    except UserError as error:
        return str(error).removeprefix("--feed ")
    return found["x"]


def give_as_body(dtype: str, shape: Shape, text: str) -> Any:
    """The array that the model gets for the body `{"x": TEXT}`, or the message; the same for a long body."""
    as_json = dtype == "string"  # a .npy file has no strings
    headers = {"Content-Type": "application/json", "Accept": "application/json" if as_json else "application/x-npy"}
    body = f'{{"x": {text}}}'.encode()
    answer, other = (
        serve_identity(dtype, shape).post(PREDICT, data=data, headers=headers)
        for data in (body, body + b" " * flat_json.LONG)
    )
    assert answer.status_code == other.status_code
    if answer.status_code != 200:
        assert answer.status_code == 400
        message, of_long = (one.get_json()["error"] for one in (answer, other))
        assert message == of_long
        return message
    assert answer.data == other.data
    if as_json:
        return convert_json(Tensor("y", "y:0", dtype, shape), answer.get_json()["y"], "y")
    return np.load(io.BytesIO(answer.data)).astype(tf.as_dtype(dtype).as_numpy_dtype)


def limits(dtype: str) -> Any:
    known: Any = ml_dtypes
    return known.iinfo(dtype) if dtype in WHOLE else known.finfo(dtype)


def least(dtype: str) -> Any:
    return int(limits(dtype).min) if dtype in WHOLE else float(limits(dtype).min)


def most(dtype: str) -> Any:
    return int(limits(dtype).max) if dtype in WHOLE else float(limits(dtype).max)


GOOD: list[tuple[str, Shape, str, Any]] = [
    *((dtype, (None,), f"[{least(dtype)}, {most(dtype)}, 1, -0]", None) for dtype in WHOLE),
    *((dtype, (None,), f"[{least(dtype)}, {most(dtype)}, 0.1, 3, -0.0, 1e-400]", None) for dtype in FLOATS),
    ("bool", (None,), "[true, false]", [True, False]),
    ("bool", (), "true", True),
    ("string", (None,), r'["", "a", "\u00e4\u0000\"", "\ud83d\ude00"]', [b"", b"a", 'ä\0"'.encode(), "😀".encode()]),
    ("string", (None,), '[{"b64": "/w=="}, {"b64": ""}, {"b64": "aGl="}, "NaN"]', [b"\xff", b"", b"hi", b"NaN"]),
    ("string", (), '{"b64": "aGk="}', b"hi"),
    ("string", (None,), '[{"b64": "_-8="}, {"b64": "_-8"}, {"b64": "aGk"}]', [b"\xff\xef", b"\xff\xef", b"hi"]),
    ("string", (), '{"b64": "data:image/png;base64,/+8="}', b"\xff\xef"),
    ("string", (), '"data:,text"', b"data:,text"),
    ("string", (None, None), '[["a"], ["b"]]', [[b"a"], [b"b"]]),
    ("float32", (None, 2), "[[1, 2.5], [-1e38, 3.4028234663852886e38]]", [[1, 2.5], [-1e38, 3.4028234663852886e38]]),
    ("float32", (None, 2), f"[[16777217, {2**64}], [{2**100}, 123456789012345678]]", None),
    ("float32", (2,), "[3.4028235e38, -3.4028235e38]", [3.4028234663852886e38, -3.4028234663852886e38]),
    ("float32", (), "3.4028235677973362e38", 3.4028234663852886e38),
    ("float16", (2,), "[65519.99, -65519]", [65504, -65504]),
    ("bfloat16", (None,), f"[1.00390625, 3, {2**100}]", None),
    ("float64", (), "2.5", 2.5),
    ("float64", (2,), "[9007199254740993, 0.30000000000000004]", [9007199254740992, 0.30000000000000004]),
    ("float32", None, "[[[1], [2]]]", [[[1], [2]]]),
    ("float32", None, "7", 7),
    ("float32", None, "[[], []]", [[], []]),
    ("float32", (None, None), "[[], []]", [[], []]),
    ("float32", (None, 0), "[[], []]", [[], []]),
    ("float32", (None, None, 2), "[[[1, 2]], [[3, 4]]]", [[[1, 2]], [[3, 4]]]),
    ("int32", (2, 2), "[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
]


@pytest.mark.parametrize(("dtype", "shape", "text", "expected"), GOOD)
def test_valid_values_become_the_same_array(dtype: str, shape: Shape, text: str, expected: Any) -> None:
    by_feed, by_body = give_as_feed(dtype, shape, text), give_as_body(dtype, shape, text)
    wanted = object if dtype == "string" else tf.as_dtype(dtype).as_numpy_dtype
    assert by_feed.dtype == by_body.dtype == wanted
    assert by_feed.shape == by_body.shape
    assert by_feed.tolist() == by_body.tolist() if dtype == "string" else by_feed.tobytes() == by_body.tobytes()
    value = json.loads(text) if expected is None else expected
    assert np.array_equal(by_feed, np.array(value, np.float64).astype(wanted) if dtype in FLOATS else np.array(value))


def beyond(dtype: str) -> str:
    span = f", {least(dtype)} to {most(dtype)}" if dtype in WHOLE else ""
    return f"x[1]: the number is beyond the range of {dtype}{span}"


def too_large(dtype: str) -> list[str]:
    """Numbers just beyond the limits of a dtype, and far beyond them."""
    if dtype in WHOLE:
        return [str(least(dtype) - 1), str(most(dtype) + 1), str(10**40), "9" * 400, "-" + "9" * 5000]
    near = [] if dtype == "float64" else [repr(most(dtype) * 1.1), repr(least(dtype) * 1.1)]
    return [*near, "1e309", "-1e309", str(10**400), "9" * 5000]


BAD: list[tuple[str, Shape, str, str]] = [
    *((dtype, (None,), f"[0, {value}]", beyond(dtype)) for dtype in (*WHOLE, *FLOATS) for value in too_large(dtype)),
    *((dtype, (None,), f"[0, {v}]", f"x[1]: expected a whole number, got {t}") for dtype in WHOLE for v, t in [
        ("1.0", "1.0"), ("1e2", "100.0"), ("1e999", "a number"), ("true", "true or false"), ("null", "null"),
        ('"1"', "a string"), ("NaN", "NaN"), ("[1]", "a list"), ('{"b64": "aGk="}', "an object"),
    ]),
    *((dtype, (None,), f"[0, {v}]", f"x[1]: expected a number, got {t}") for dtype in FLOATS for v, t in [
        ("true", "true or false"), ("null", "null"), ('"1"', "a string"), ('"NaN"', "a string"), ("NaN", "NaN"),
        ("Infinity", "Infinity"), ("-Infinity", "-Infinity"), ("[]", "a list"), ("{}", "an object"),
    ]),
    ("bool", (None,), "[true, 1]", "x[1]: expected true or false, got a number"),
    ("bool", (None,), "[true, 0.0]", "x[1]: expected true or false, got a number"),
    ("bool", (None,), '[true, "true"]', "x[1]: expected true or false, got a string"),
    ("bool", (None,), "[null]", "x[0]: expected true or false, got null"),
    ("string", (None,), '["a", 1]', "x[1]: expected a string, got a number"),
    ("string", (None,), '["a", true]', "x[1]: expected a string, got true or false"),
    ("string", (None,), "[null]", "x[0]: expected a string, got null"),
    ("string", (None,), "[NaN]", "x[0]: expected a string, got NaN"),
    ("string", (None,), '[["a"]]', "x[0]: expected a string, got a list"),
    *(("string", (None,), f'["a", {value}]', f"x[1]: {TEXT}") for value in [
        "{}", '{"b64": null}', '{"b64": ["aGk="]}', '{"b64": "aGk=", "more": 1}', '{"B64": "aGk="}', '{"b64": "?"}',
        '{"b64": "aGk=\\n"}', '{"b64": "aGkA="}', '{"b64": "aGkAa"}', '{"b64": " aGk="}', '{"b64": "aG=k"}',
        '{"b64": "===="}', '{"b64": "aGkA===="}', '{"b64": "aGk=aGk="}', '{"b64": "_+8="}', '{"b64": "aGkä"}',
    ]),
    ("string", (None,), r'["\ud800"]', f"x[0]: {NO_TEXT}"),
    ("float32", (None,), "[0, 3.4028235677973366e38]", beyond("float32")),  # the middle, which rounds to Infinity
    ("float16", (None,), "[0, 65520]", beyond("float16")),
    ("float32", (None, 3), '[[0, 0, 0], [0, 0, 0], [0, 0, "9"]]', "x[2][2]: expected a number, got a string"),
    ("float32", (None, 2), "[[1, 2], [3]]", "x[1]: expected 2 values, got 1"),
    ("float32", (None, 1), "[[1], []]", "x[1]: expected 1 value, got 0"),
    ("float32", (None, 2), "[[1, 2], 3]", "x[1]: expected a list, got a number"),
    ("float32", (None, 2), "[[1, 2], null]", "x[1]: expected a list, got null"),
    ("float32", (None, 2), "[1, 2]", "x: expected the shape [None, 2], got [2]"),
    ("float32", (None, 2), "7", "x: expected the shape [None, 2], got a number"),
    ("float32", (None, 2), "null", "x: expected the shape [None, 2], got null"),
    ("float32", (None, 2), "NaN", "x: expected the shape [None, 2], got NaN"),
    ("float32", (None, 2), '"[[1, 2]]"', "x: expected the shape [None, 2], got a string"),
    ("float32", (None, 2), "[[[1], [2]]]", "x[0][0]: expected a number, got a list"),
    ("float32", (None, 2), "[" * 90 + "]" * 90, "x[0]: expected 2 values, got 1"),
    ("float32", (3, 2), "[[1, 2]]", "x: expected 3 values, got 1"),
    ("float32", (3, 2), "[]", "x: expected 3 values, got 0"),
    ("float32", (1200,), "[]", "x: expected 1,200 values, got 0"),
    ("float32", (), "[5]", "x: expected a number, got a list"),
    ("float32", (None, None), "[[1, 2], [3]]", "x[1]: expected 2 values as in x[0], got 1"),
    ("float32", None, "[[[1], [2]], [[1], [2, 3]]]", "x[1][1]: expected 1 value as in x[0][0], got 2"),
    ("float32", None, "[[1], 2]", "x[1]: expected a list, got a number"),
    ("float32", None, "[" * 40 + "1" + "]" * 40, "x" + "[0]" * 32 + ": expected a number, got a list"),
    ("float32", None, "null", "x: expected a number, got null"),
    ("float32", None, '{"a": 1}', "x: expected a number, got an object"),
    ("string", (None, None), '[["a", "b"], ["c"]]', "x[1]: expected 2 values as in x[0], got 1"),
    ("uint64", (None, 2), f"[[1, 2], {[3, 2**64]}]", beyond("uint64").replace("x[1]", "x[1][1]")),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "shape", "text", "message"), BAD)
def test_invalid_values_get_the_same_message(dtype: str, shape: Shape, text: str, message: str) -> None:
    if not text.startswith("{"):  # --feed takes an object for several inputs
        assert give_as_feed(dtype, shape, text) == message
    assert give_as_body(dtype, shape, text) == message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[{"b64": "aGk=", "b64": "aGk="}]', "the key 'b64' is there twice"),
        (r'[{"b64": "aGk=", "\u006264": "aGk="}]', "the key 'b64' is there twice"),
        ("[" * 100_000, "nested too deep"),
        ("['a']", "Expecting value"),
        ("[1,]", None),
        ("[01]", None),
        ("[+1]", None),
        ("[nan]", None),
        ('["\t"]', None),
        ("[1 2]", None),
    ],
)
def test_text_that_is_not_json_is_refused_for_the_same_reason(text: str, reason: str | None) -> None:
    with pytest.raises(ValueError, match="expected JSON or @FILE, got") as caught:
        parse_feed(f"x={text}")
    by_feed = str(caught.value).partition("': " if "'" not in text else '": ')[2].partition(": line")[0]
    by_body = give_as_body("string", (None,), text).partition(": ")[2].partition(": line")[0]
    assert by_feed == by_body == (reason or by_feed)


def test_only_the_server_limits_the_number_of_rows() -> None:
    assert give_as_feed("float32", (None, 2), "[]").shape == (0, 2)
    assert give_as_body("float32", (None, 2), "[]") == "x: expected 1 to 4096 rows, got 0"
    assert give_as_body("float32", None, "[]") == "x: expected 1 to 4096 rows, got 0"
    many = json.dumps([[1, 2]] * 4097)
    assert give_as_feed("float32", (None, 2), many).shape == (4097, 2)
    assert give_as_body("float32", (None, 2), many) == "x: expected 1 to 4096 rows, got 4097"


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "qint8", "quint8", "qint32", "resource", "variant"])
def test_a_dtype_without_json_values_is_refused(dtype: str) -> None:
    assert find_rule(dtype) is None
    assert give_as_feed(dtype, (None,), "[1]") == f"x: JSON has no values of {dtype}; give @file.npy"


def test_places_and_shapes_are_computed_from_positions() -> None:
    assert format_place("x", 11, (2, 3, 2)) == "x[1][2][1]"
    assert format_place("x", 0, ()) == "x"
    assert measure_shape([[1, 2], [3, 4]], None, "x") == (2, 2)
    assert measure_shape([], (None, 3), "x") == (0, 3)
    assert measure_shape([[], []], (None, None, 3), "x") == (2, 0, 3)
    assert read_json(f'{{"a": [{"9" * 5000}, -1]}}')["a"][0] > 10**399
