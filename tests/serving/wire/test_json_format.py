"""Requests and answers as JSON: several inputs and outputs, strings, dtypes, nonfinite answers."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
from dataclasses import replace
from typing import Any

import pytest
from conftest import Clients
from flask.testing import FlaskClient
from serving_models import make_app, open_small, post

from serialization.errors import UserError
from serialization.graph.signature import Signature, Tensor, make_signature
from serialization.run.predictor import open_session
from serialization.serving.limits import Settings
from serialization.serving.wire.json_format import require_json_form
from serialization.tensorflow import np, tf, tf1

NO_STRING = 'x[0][1]: expected a string, or {"b64": its bytes in base64}'


def test_several_inputs_and_outputs_are_objects_by_key(clients: Clients) -> None:
    body = '{"x": {"a": [[1, 2, 3], [4, 5, 6.5]], "b": [0, 10]}}'
    expected = {"y": {"sum": [[1, 2, 3], [14, 15, 16.5]], "positive": [False, True]}}
    assert post(clients("two"), body) == (200, expected)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ('{"x": {"a": [[1, 2, 3]]}}', "x: missing key 'b'"),
        ('{"x": {"a": [[1, 2, 3]], "b": [1], "c": 1}}', "x: unknown key 'c'; expected 'a' and 'b'"),
        ('{"x": {"a": [[1, 2, "3"]], "b": [1]}}', "x.a[0][2]: expected a number, got a string"),
        ('{"x": {"a": [[1, 2]], "b": [1]}}', "x.a[0]: expected 3 values, got 2"),
        ('{"x": {"a": [], "b": [1]}}', "x.a: expected 1 to 4096 rows, got 0"),
        ('{"x": {"a": [[1, 2, 3]], "b": [1.5]}}', "x.b[0]: expected a whole number, got 1.5"),
        (
            '{"x": {"a": [[1, 2, 3]], "b": [2147483648]}}',
            "x.b[0]: the number is beyond the range of int32, -2147483648 to 2147483647",
        ),
        (
            '{"x": {"a": [[1, 2, 3]], "b": [1], "b": [2]}}',
            "the body: the key 'b' is there twice",
        ),
        ('{"x": [[1, 2, 3]]}', "x: expected an object, got a list"),
        ('{"x": {"a": [[1]], "b": [1]}, "x": 5}', "the body: the key 'x' is there twice"),
        ('{"x": {"a": [[1]], "b": [1]}, "x": {"a": [5]}}', "the body: the key 'x' is there twice"),
    ],
)
def test_an_error_names_its_place_among_several_inputs(clients: Clients, body: str, error: str) -> None:
    assert post(clients("two"), body) == (400, {"error": error})


def test_unequal_numbers_of_rows_are_refused_by_the_model(clients: Clients) -> None:
    status, answer = post(clients("two"), '{"x": {"a": [[1, 2, 3], [1, 2, 3]], "b": [1, 2, 3]}}')
    assert status == 422
    assert answer["error"].startswith("the model refuses the values: ")


def test_a_refusal_may_quote_bytes_that_are_not_utf_8(clients: Clients) -> None:
    """TensorFlow's own session raises UnicodeDecodeError instead of its message."""
    assert post(clients("number"), '{"x": ["2", "3.5"]}') == (200, {"y": [2, 3.5]})
    status, answer = post(clients("number"), '{"x": [{"b64": "YdNi"}]}')
    assert status == 422
    assert answer["error"].endswith(r"could not correctly convert string: a\xd3b")


def test_an_index_beyond_the_table_is_refused_by_the_model(clients: Clients) -> None:
    assert post(clients("embedding"), '{"x": [[0, 9]]}') == (200, {"y": [38]})
    status, answer = post(clients("embedding"), '{"x": [[0, 10]]}')
    assert status == 422
    assert "10" in answer["error"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"x": [["a", "b"], ["ä", "\\u00e4"]]}', {"y": ["a-b", "ä-ä"]}),
        ('{"x": [["a", {"b64": "aGk="}]]}', {"y": ["a-hi"]}),
        ('{"x": [["", {"b64": "/w=="}]]}', {"y": [{"b64": base64.b64encode(b"-\xff").decode()}]}),
    ],
)
def test_strings_are_text_or_base64(clients: Clients, body: str, expected: object) -> None:
    assert post(clients("text"), body) == (200, expected)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ('{"x": [["a", 1]]}', "x[0][1]: expected a string, got a number"),
        ('{"x": [["a", {"b64": "?"}]]}', NO_STRING),
        ('{"x": [["a", {"b64": "aGk=", "more": 1}]]}', NO_STRING),
        ('{"x": [["a", {"b64": null}]]}', NO_STRING),
        ('{"x": [["a", "b"]], "x": [["a", "b"]]}', "the body: the key 'x' is there twice"),
    ],
)
def test_wrong_strings_are_refused(clients: Clients, body: str, place: str) -> None:
    assert post(clients("text"), body) == (400, {"error": place})


def test_an_output_key_that_ends_in_bytes_is_answered_in_base64(clients: Clients) -> None:
    data = os.urandom(100)
    encoded = base64.b64encode(data).decode()
    answer = post(clients("bytes"), json.dumps({"x": [{"b64": encoded}, "hi"]}))
    expected = {"length": [100, 2], "same_bytes": [{"b64": encoded}, {"b64": "aGk="}]}
    assert answer == (200, {"y": expected})


@pytest.mark.parametrize("value", [1.5, [1.5], [[1, 2], [3, 4]], [[[[[1]]]]]])
def test_an_input_of_unknown_rank_takes_any_rank(clients: Clients, value: Any) -> None:
    status, answer = post(clients("any rank"), json.dumps({"x": value}))
    assert status == 200
    assert np.array_equal(answer["y"], 2 * np.asarray(value))


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ('[[1], "a"]', "x[1]: expected a list, got a string"),
        ("[[1], [1, 2]]", "x[1]: expected 1 value as in x[0], got 2"),
        ("[" * 40 + "1" + "]" * 40, "x" + "[0]" * 32 + ": expected a number, got a list"),
        ("[" * 100_000, "the body: nested too deep"),
        ('{"a": 1}', "x: expected a number, got an object"),
    ],
)
def test_wrong_lists_of_unknown_rank_are_refused(clients: Clients, value: str, error: str) -> None:
    assert post(clients("any rank"), f'{{"x": {value}}}') == (400, {"error": error})


def test_a_scalar_input_takes_a_number(clients: Clients) -> None:
    assert post(clients("scalar"), '{"x": 2.5}') == (200, {"y": -2.5})
    assert post(clients("scalar"), '{"x": [2.5]}') == (400, {"error": "x: expected a number, got a list"})


def test_open_dimensions_take_any_size(clients: Clients) -> None:
    client = clients("embedding")
    assert post(client, '{"x": [[], []]}') == (200, {"y": [0, 0]})
    assert post(client, '{"x": [[1, 2], [3]]}') == (400, {"error": "x[1]: expected 2 values as in x[0], got 1"})


NUMBERS: dict[str, list[Any]] = {
    "uint8": [0, 255],
    "int8": [-128, 127],
    "uint64": [0, 2**64 - 1],
    "int64": [-(2**63), 2**63 - 1],
    "half": [-65504, 0.5],
    "bfloat16": [-1.5, 256],
    "bool": [False, True],
}


def test_every_dtype_takes_its_limits(clients: Clients) -> None:
    assert post(clients("numbers"), json.dumps({"x": NUMBERS})) == (200, {"y": NUMBERS})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("uint8", 256),
        ("uint8", -1),
        ("int8", 128),
        ("uint64", 2**64),
        ("uint64", -1),
        ("int64", 2**63),
        ("half", 65520),
        ("bfloat16", 3.4e38),
        ("half", "1"),
        ("bool", 1),
        ("bool", "true"),
        ("int8", True),
        ("int8", 1.0),
        ("int64", None),
    ],
)
def test_values_beyond_the_dtype_are_refused(clients: Clients, key: str, value: Any) -> None:
    status, answer = post(clients("numbers"), json.dumps({"x": {**NUMBERS, key: [value, value]}}))
    assert status == 400
    assert answer["error"].startswith(f"x.{key}[0]: ")


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("error", (422, {"error": "y[1][0]: the model's answer is -Infinity, not a number"})),
        ("null", (200, {"y": [[0.0, 0.0], [None, None]]})),
        ("string", (200, {"y": [[0.0, 0.0], ["-Infinity", "NaN"]]})),
    ],
)
def test_nonfinite_answers_follow_the_flag(clients: Clients, policy: str, expected: object) -> None:
    assert post(clients("log", nonfinite=policy), '{"x": [[1, 1], [0, -1]]}') == expected


def app_with(shape: tuple[int | None, ...], inputs: str, outputs: str, dtype: str = "float32") -> FlaskClient:
    def load() -> tuple[Any, Signature]:
        with tf1.Graph().as_default() as graph:
            x = tf1.placeholder(dtype, shape, name="x")
            same = tf.identity(tf.cast(x, tf.float32), name="same")
            tf.reduce_sum(same, axis=-1, name="sum")
        return open_session(graph), make_signature(graph, inputs, outputs)

    return make_app("small", load, Settings()).test_client()


def test_a_key_may_look_like_an_index() -> None:
    client = app_with((None, 3), "a[0]=x,b=same", "sum")
    assert post(client, '{"x": {"a[0]": [[1, 2]], "b": [[1, 2, 3]]}}') == (
        400,
        {"error": "x.a[0][0]: expected 3 values, got 2"},
    )
    assert post(client, '{"x": {"a[0]": [], "b": [[1, 2, 3]]}}') == (
        400,
        {"error": "x.a[0]: expected 1 to 4096 rows, got 0"},
    )


def test_two_keys_of_one_tensor_must_have_one_value() -> None:
    client = app_with((None, 3), "a=x,b=x", "sum")
    assert post(client, '{"x": {"a": [[1, 2, 3]], "b": [[1, 2, 3]]}}') == (200, {"y": [6]})
    error = "x.b: expected the values of x.a; both feed one tensor"
    assert post(client, '{"x": {"a": [[1, 2, 3]], "b": [[1, 2, 4]]}}') == (400, {"error": error})


def test_an_axis_of_size_zero_keeps_the_other_sizes() -> None:
    assert post(app_with((None, 0, 2), "x", "sum"), '{"x": [[], []]}') == (200, {"y": [[], []]})
    assert post(app_with((None, 2, 0), "x", "sum"), '{"x": [[[], []]]}') == (200, {"y": [[0, 0]]})


@pytest.mark.parametrize("dtype", ["float8_e5m2", "float8_e4m3fn", "bfloat16", "half"])
def test_short_floats_are_accepted(dtype: str) -> None:
    client = app_with((None, 1), "x", "sum", dtype)
    assert post(client, json.dumps({"x": [[1.5]] * 100})) == (200, {"y": [1.5] * 100})


def test_a_dtype_without_json_values_cannot_be_served() -> None:
    _, signature = open_small("log")
    complex_input = Signature((Tensor("x", "x:0", "complex64", (None,)),), signature.outputs)
    with pytest.raises(UserError, match=r"x:0 complex64.*cannot be served"):
        require_json_form(complex_input)


def test_a_key_with_quotes_is_one_line() -> None:
    _, signature = open_small("two")
    quoted = Signature((signature.inputs[0], replace(signature.inputs[1], key='say "b"')), signature.outputs)
    with pytest.raises(UserError, match="cannot be served as 'say \"b\"'"):
        require_json_form(quoted)


def test_a_signature_without_inputs_or_outputs_is_one_line() -> None:
    _, signature = open_small("two")
    with pytest.raises(UserError, match="no inputs, so it cannot be served; name some with --inputs"):
        require_json_form(replace(signature, inputs=()))
    with pytest.raises(UserError, match="no outputs, so it cannot be served; name some with --outputs"):
        require_json_form(replace(signature, outputs=()))


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'\xef\xbb\xbf{"x": [[1, 2]]}', "the body begins with a byte order mark of UTF-8; send UTF-8 without one"),
        (
            '{"x": [[1, 2]]}'.encode("utf-16"),
            "the body begins with a byte order mark of UTF-16; send UTF-8 without one",
        ),
        ("{}".encode("utf-32"), "the body begins with a byte order mark of UTF-32; send UTF-8 without one"),
        (gzip.compress(b"{}"), "the body is gzip data; say so in Content-Encoding, and pack it once"),
        ('{"x": [[1, 2]]}'.encode("utf-16-le"), "the body is in UTF-16 or UTF-32; send UTF-8"),
        ('{"x": [[1, 2]]}'.encode("utf-16-be"), "the body is in UTF-16 or UTF-32; send UTF-8"),
        ('{"x": [[1, 2]]}'.encode("utf-32-be"), "the body is in UTF-16 or UTF-32; send UTF-8"),
        (b'{"x": "\xed\xa0\x80"}', "the body is not UTF-8: byte 0xed at 7"),
        (b'{"x": [[1, NaN]]}', "x[0][1]: expected a number, got NaN"),
        (
            b'{"instances": [[1, 2]]}',
            "the body: missing key 'x'; 'instances' is TensorFlow Serving's key",
        ),
        (b'{"y": [[1, 2]]}', "the body: missing key 'x'"),
        (
            b'{"x": [{"0": 1, "1": 2}]}',
            "x[0]: expected a list, got an object with the keys 0, 1, ... "
            "(a JavaScript typed array; send Array.from(it))",
        ),
        (
            b'{"x": {"0": 1, "1": 2}}',
            "x: expected the shape [None, 2], got an object with the keys 0, 1, ... "
            "(a JavaScript typed array; send Array.from(it))",
        ),
        (b'{"x": [{"1": 1, "0": 2}]}', "x: expected the shape [None, 2], got [1]"),
    ],
)
def test_a_message_says_what_clients_often_send(clients: Clients, body: bytes, error: str) -> None:
    status, answer = post(clients("log"), body)
    assert status == 400
    assert answer["error"].startswith(error)


def test_half_of_a_surrogate_pair_is_no_text(clients: Clients) -> None:
    status, answer = post(clients("text"), rb'{"x": [["a", "\ud800"]]}')
    assert status == 400
    assert answer["error"].startswith("x[0][1]: the string is no Unicode text: '\\ud800' is half of a surrogate pair;")


def test_numbers_that_are_not_finite_are_taken_if_allowed() -> None:
    def load() -> tuple[Any, Signature]:
        with tf1.Graph().as_default() as graph:
            x = tf1.placeholder(tf.float32, [None, 4], name="x")
            tf.cast(tf.math.is_nan(x), tf.int32, name="nan")
            tf.cast(tf.math.is_inf(x), tf.int32, name="inf")
        return open_session(graph), make_signature(graph, "x", "nan,inf")

    client = make_app("missing", load, Settings(nonfinite_inputs="allow")).test_client()
    expected = (200, {"y": {"nan": [[0, 1, 0, 0]], "inf": [[0, 0, 1, 1]]}})
    for body in (
        '{"x": [[1, NaN, Infinity, -Infinity]]}',
        '{"x": [[1, null, "Infinity", "-Infinity"]]}',
        '{"x": [[1, "NaN", "Infinity", -Infinity]]}',
    ):
        assert post(client, body) == expected
    file = io.BytesIO()
    np.save(file, np.array([[1, np.nan, np.inf, -np.inf]], np.float32))
    assert post(client, file.getvalue(), "application/x-npy") == expected
    for body, error in (
        ('{"x": [[1, "nan", 2, 3]]}', "x[0][1]: expected a number, got a string"),
        ('{"x": [[1, 1e39, 2, NaN]]}', "x[0][1]: the number is beyond the range of float32"),
        (f'{{"x": [[1, {"9" * 400}, 2, NaN]]}}', "x[0][1]: the number is beyond the range of float32"),
        ('{"x": [[1, true, 2, NaN]]}', "x[0][1]: expected a number, got true or false"),
    ):
        assert post(client, body) == (400, {"error": error})


def test_whole_numbers_are_never_missing(clients: Clients) -> None:
    client = clients("quotient", nonfinite_inputs="allow")
    assert post(client, '{"x": {"a": [null], "b": [1]}}')[0] == 400
    assert post(client, '{"x": {"a": [NaN], "b": [1]}}')[0] == 400
