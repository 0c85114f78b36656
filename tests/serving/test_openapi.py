"""Bodies that hypothesis generates are answered rightly, or refused with a place; the OpenAPI document is valid."""

from __future__ import annotations

import warnings
from typing import Any

import msgspec
import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from openapi_spec_validator import validate
from serving_models import PREDICT, at_once, make_app, open_small, small_app
from werkzeug.test import create_environ

from serialization.run.predictor import Predictor
from serialization.serving.limits import Settings
from serialization.tensorflow import np

LIMIT = 3.4028234663852886e38
LIMIT_TAKEN = 3.4028235677973362e38  # the greatest number that is rounded to it

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**80), 2**80), st.floats(), st.text(max_size=5)
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(["x", "a", "b"]), st.text(max_size=3)), inner, max_size=4),
    ),
    max_leaves=12,
)
NUMBERS = st.one_of(st.integers(-5, 5), st.floats(-(2.0**99), 2.0**99, width=32))
NEARLY_ROWS = st.lists(st.lists(st.one_of(NUMBERS, NUMBERS, NUMBERS, SCALARS), min_size=7, max_size=9), max_size=3)
ROWS = st.lists(st.lists(NUMBERS, min_size=8, max_size=8), min_size=1, max_size=3)
NEARLY_TWO = st.fixed_dictionaries(
    {"a": st.lists(st.lists(NUMBERS, min_size=3, max_size=3), max_size=3)},
    optional={"b": st.lists(st.one_of(st.integers(-9, 9), SCALARS), max_size=3), "c": SCALARS},
)


def call(app: Flask, body: bytes) -> tuple[int, Any]:
    """Status and JSON of the application, called as a WSGI server calls it, without Flask's test client."""
    statuses: list[str] = []
    environ = create_environ(PREDICT, method="POST", data=body, content_type="application/json")
    answer = b"".join(app(environ, lambda status, headers: statuses.append(status)))  # type: ignore[arg-type]
    return int(statuses[0][:3]), msgspec.json.decode(answer)


def json_of(value: Any) -> bytes:
    """The value as Python writes it, with NaN and Infinity, which are not JSON."""
    import json

    return json.dumps(value).encode()


def check(app: Flask, predict: Predictor, value: Any) -> None:
    """Check that the answer is 200 with the session's own answer, or 4xx with a place."""
    status, answer = call(app, json_of(value))
    if status == 200:
        arrays = {
            tensor.key: np.array(value["x"] if len(predict.signature.inputs) == 1 else value["x"][tensor.key])
            for tensor in predict.signature.inputs
        }
        # Numpy makes numbers beyond an int64 unsigned, and numbers beyond a uint64 objects.
        assert {type(number) for array in arrays.values() for number in array.ravel().tolist()} <= {int, float}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            arrays = {t.key: arrays[t.key].astype(t.dtype) for t in predict.signature.inputs}
        results = predict(arrays)
        answered = {next(iter(results)): answer["y"]} if len(results) == 1 else answer["y"]
        assert list(answered) == list(results)
        for key, array in results.items():  # the text gives back the same bits, if not the same float64
            assert np.array(answered[key], array.dtype).tolist() == array.tolist()
    else:
        assert 400 <= status < 500
        assert set(answer) == {"error", "request_id"}
        place = answer["error"].partition(": ")[0]
        assert place.startswith(("x", "y", "the body", "the key", "the model refuses")), answer


@pytest.fixture(scope="module", autouse=True)
def _hypothesis_keeps_nothing_in_the_tree(tmp_path_factory: pytest.TempPathFactory) -> None:
    set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))


# Inline, as the server runs these models: TensorFlow's pool would make denormal numbers zero.
@pytest.fixture(scope="module")
def one() -> tuple[Flask, Predictor]:
    return small_app("matrices"), Predictor(*open_small("matrices"), inline=True)


@pytest.fixture(scope="module")
def two() -> tuple[Flask, Predictor]:
    return small_app("two"), Predictor(*open_small("two"), inline=True)


MANY = settings(max_examples=2500, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@MANY
@given(st.one_of(ANYTHING, ANYTHING.map(lambda value: {"x": value}), NEARLY_ROWS.map(lambda rows: {"x": rows})))
def test_any_value_of_one_input_is_answered_or_refused(one: tuple[Flask, Predictor], value: Any) -> None:
    check(*one, value)


@MANY
@given(ROWS)
def test_one_input_gets_the_answers_of_the_session(one: tuple[Flask, Predictor], rows: list[list[float]]) -> None:
    status, answer = call(one[0], json_of({"x": rows}))
    assert status == 200
    (expected,) = one[1]({"x": np.array(rows, np.float32)}).values()
    assert np.array(answer["y"], np.float32).tolist() == expected.tolist()


@MANY
@given(st.one_of(ANYTHING.map(lambda value: {"x": value}), NEARLY_TWO.map(lambda value: {"x": value})))
def test_any_values_of_several_inputs_are_answered_or_refused(two: tuple[Flask, Predictor], value: Any) -> None:
    check(*two, value)


@MANY
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: ('{"x": [[' + text).encode())))
def test_bytes_that_are_not_json_are_refused(one: tuple[Flask, Predictor], body: bytes) -> None:
    status, answer = call(one[0], body)
    assert status == 400
    assert set(answer) == {"error", "request_id"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"x": [[1,2,3',
        b"null",
        b"[]",
        b'"x"',
        b'{"x": ' + b"[" * 100_000,
        b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"x": ' + b'{"a":' * 100_000,
        b'{"x": [[' + b"9" * 5000 + b",1,1,1,1,1,1,1]]}",
        b'{"x": [[1e400,1,1,1,1,1,1,1]]}',
        b'{"x": [[NaN,1,1,1,1,1,1,1]]}',
        b'{"x": [[-Infinity,1,1,1,1,1,1,1]]}',
        b'{"x": "\xff"}',
        b'{"\xff": 1}',
        b'\xef\xbb\xbf{"x": [[1,1,1,1,1,1,1,1]]}',
        '{"x": [[1,1,1,1,1,1,1,1]]}'.encode("utf-16"),
        b'{"x": [[1,1,1,1,1,1,1,1]]} {}',
        b'{"x": [[1,1,1,1,1,1,1,1]], "\\u0078": [[1,1,1,1,1,1,1,1]]}',
        b'{"x": [[01,1,1,1,1,1,1,1]]}',
        b"{'x': [[1,1,1,1,1,1,1,1]]}",
    ],
)
def test_hostile_bodies_are_refused(one: tuple[Flask, Predictor], body: bytes) -> None:
    status, answer = call(one[0], body)
    assert status == 400
    assert answer["error"]


@pytest.mark.parametrize("batch_size", [1, 32])
def test_each_of_64_threads_gets_its_own_rows(batch_size: int) -> None:
    """20,000 requests, each with its own row; each answer is the answer to that row."""
    app = make_app("matrices", lambda: open_small("matrices"), Settings(max_batch_size=batch_size))
    predict = Predictor(*open_small("matrices"))
    rows = np.random.default_rng(1).uniform(-1, 1, (20_000, 8)).astype(np.float32)
    (expected,) = predict({"x": rows}).values()
    wrong: list[str] = []
    numbers = iter(range(len(rows)))

    def work() -> None:
        for i in numbers:  # one iterator for all threads: each number is taken once
            status, answer = call(app, json_of({"x": [rows[i].tolist()]}))
            if status != 200 or not np.allclose(answer["y"][0], expected[i], rtol=1e-4, atol=1e-6):
                wrong.append(f"row {i}: {status} {answer}, expected {expected[i].tolist()}")

    at_once(*[work] * 64)
    assert wrong == []
    assert next(numbers, None) is None
    metrics = app.test_client().get("/metrics").get_data(as_text=True)
    assert 'serving_requests_total{route="/api/predict",status="200"} 20000.0' in metrics


@pytest.mark.parametrize("name", ["matrices", "two", "text", "any rank", "scalar", "numbers", "log"])
def test_openapi_is_valid_and_its_example_works(name: str) -> None:
    app = small_app(name, nonfinite="string")
    client = app.test_client()
    document = client.get("/openapi.json").get_json()
    validate(document)
    example = document["paths"][PREDICT]["post"]["requestBody"]["content"]["application/json"]["example"]
    status, _ = call(app, json_of(example))
    assert status == 200
    others = {path for path in document["paths"] if path.startswith(("/v1/", "/v2"))}
    assert {rule.rule for rule in app.url_map.iter_rules()} | {PREDICT} | others == set(document["paths"])
    for path in others:  # each is there: its own errors name what is wrong with the request
        answer = client.post(path, data=b"") if "post" in document["paths"][path] else client.get(path)
        assert answer.status_code == (400 if "post" in document["paths"][path] else 200), path


@pytest.mark.parametrize("name", ["matrices", "two"])
def test_schemathesis_finds_no_server_error(name: str) -> None:
    import schemathesis
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    app = small_app(name)
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app)
    schema.config.update(base_url="http://localhost/")  # it does not resolve the document's own, which is relative
    cases = [0]
    for result in schema.get_all_operations():
        assert isinstance(result, schemathesis.core.result.Ok)
        operation = result.ok()

        @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def run(case: Any) -> None:
            response = case.call(app=app)
            # 2.0 is a whole number to JSON Schema, but not to this server.
            case.validate_response(response, excluded_checks=[positive_data_acceptance])
            assert response.status_code < 500
            cases[0] += 1

        run()
    assert cases[0] > 50


def test_a_number_beyond_float32_is_refused_with_its_place(one: tuple[Flask, Predictor]) -> None:
    row = [1.0] * 7
    assert call(one[0], json_of({"x": [[*row, LIMIT]]}))[0] == 200
    status, answer = call(one[0], json_of({"x": [[*row, 1.0], [*row, 1e39]]}))
    assert (status, answer["error"]) == (400, "x[1][7]: the number is beyond the range of float32")


@pytest.mark.parametrize("taken", ["error", "allow"])
def test_the_document_says_whether_a_number_may_be_missing(taken: str) -> None:
    document = small_app("log", nonfinite_inputs=taken).test_client().get("/openapi.json").get_json()
    validate(document)
    body = document["paths"][PREDICT]["post"]["requestBody"]["content"]["application/json"]["schema"]
    numbers = body["properties"]["x"]["items"]["items"]
    limits = {"type": "number", "minimum": -LIMIT_TAKEN, "maximum": LIMIT_TAKEN}
    missing = {"oneOf": [{"type": "null"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
    assert numbers == (limits if taken == "error" else {"oneOf": [limits, missing]})
