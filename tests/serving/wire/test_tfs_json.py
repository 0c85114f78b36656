"""Bodies by rows and by columns: the fast way and the rules give the same values; answers have both forms."""

from __future__ import annotations

import json
from typing import Any

import pytest
from serving_models import make_results, open_small, small_app

from serialization.graph.signature import Signature, Tensor
from serialization.run.json_values import read_json
from serialization.serving.requests import RequestError
from serialization.serving.wire.tfs_json import PredictForm
from serialization.tensorflow import np

ONE = Signature((Tensor("x", "x:0", "float32", (None, 2)),), (Tensor("y", "y:0", "float32", (None,)),))


def make_form(name: str) -> PredictForm:
    return PredictForm(open_small(name)[1], 8, "error")


def same(found: Any, expected: Any) -> bool:
    return found.keys() == expected.keys() and all(np.array_equal(found[k], expected[k]) for k in expected)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("matrices", {"instances": [[1, 2, 3, 4, 5, 6, 7, 8.5]]}),
        ("matrices", {"instances": [[1, 2, 3, 4, 5, 6, 7, 8.5]] * 8}),  # longer than LONG: simdjson's
        ("matrices", {"inputs": [[1, 2, 3, 4, 5, 6, 7, 8.5]] * 8}),
        ("matrices", {"signature_name": "serving_default", "instances": [[1, 2, 3, 4, 5, 6, 7, 8.5]]}),
        ("two", {"instances": [{"a": [1, 2, 3], "b": 1}, {"a": [4, 5, 6], "b": 2}]}),
        ("two", {"inputs": {"a": [[1, 2, 3]], "b": [1]}}),
        ("text", {"instances": [["a", {"b64": "aGk="}], ["é", ""]]}),
        ("embedding", {"instances": [[1, 2], [3, 4]]}),
    ],
)
def test_the_fast_way_and_the_rules_give_the_same(name: str, body: dict[str, Any]) -> None:
    form = make_form(name)
    text = json.dumps(body).encode()
    quick = form.decode_quickly(text)
    assert quick is not None
    by_rules = form.decode(read_json(text.decode()))
    assert same(quick[0], by_rules[0])
    assert quick[1] == by_rules[1] == (form.encode_rows if "instances" in body else form.encode_columns)


@pytest.mark.parametrize(
    "body",
    [
        '{"instances": [[1, 2]], "instances": [[1, 2]]}',
        '{"signature_name": "serving_default", "signature_name": "serving_default", "instances": [[1, 2]]}',
        '{"signature_name": "other", "instances": [[1, 2]]}',
        '{"instances": [[1, 2]], "inputs": [[1, 2]]}',
        '{"instances": null}',
        '{"instances": [[1, 2]], "more": 1}',
        '{"instances": [[1, 1e39]]}',
        '{"instances": [[1, "2"]]}',
        '{"instances": [[1]]}',
        '{"instances": []}',
        '{"instances": [[1, 2]',
        '{"instances": [' + ", ".join(["[1, 2]"] * 9) + "]}",
        "[]",
        "",
    ],
)
def test_other_bodies_are_left_to_the_rules(body: str) -> None:
    assert PredictForm(ONE, 8, "error").decode_quickly(body.encode()) is None


def test_inputs_without_rows_or_of_unknown_rank_are_read_by_the_rules() -> None:
    for name, body in (("any rank", {"instances": [1, 2]}), ("scalar", {"inputs": 1.5})):
        form = make_form(name)
        assert form.decode_quickly(json.dumps(body).encode()) is None
        (value,) = form.decode(body)[0].values()
        assert value.tolist() == next(iter(body.values()))


def test_answers_by_rows_and_by_columns() -> None:
    two = make_form("two")
    arrays = {"sum": np.array([[1, 2, 3], [4, 5, 6]], np.float32), "positive": np.array([True, False])}
    results = make_results(arrays, open_small("two")[1].outputs)
    assert json.loads(two.encode_rows(results, None)[1]) == {
        "predictions": [{"sum": [1, 2, 3], "positive": True}, {"sum": [4, 5, 6], "positive": False}]
    }
    assert json.loads(two.encode_columns(results, slice(1, 2))[1]) == {
        "outputs": {"sum": [[4, 5, 6]], "positive": [False]}
    }
    headers, body = PredictForm(ONE, 8, "error").encode_rows(
        make_results({"y": np.array([2.5, 3], np.float32)}, ONE.outputs), None
    )
    assert (headers, body) == ([("Content-Type", "application/json")], b'{"predictions":[2.5,3.0]}')


def test_bytes_are_base64_where_the_key_says_so_or_they_are_no_text() -> None:
    client = small_app("bytes", model_name="m").test_client()
    body = {"instances": [{"b64": "aGk="}]}
    assert client.post("/v1/models/m:predict", json=body).get_json() == {
        "predictions": [{"length": 2, "same_bytes": {"b64": "aGk="}}]
    }


def test_outputs_without_the_same_rows_are_asked_for_by_columns() -> None:
    two = make_form("two")
    results = make_results(
        {"sum": np.zeros((1, 3), np.float32), "positive": np.array([True, False])}, open_small("two")[1].outputs
    )
    with pytest.raises(RequestError, match="the outputs have different numbers of rows: sum has 1, positive has 2"):
        two.encode_rows(results, None)
    scalar = make_form("scalar")
    results = make_results({"minus": np.float32(1)}, open_small("scalar")[1].outputs)
    with pytest.raises(RequestError, match="Tensor name: minus has no shape information; send 'inputs'"):
        scalar.encode_rows(results, None)
    assert scalar.encode_columns(results, None)[1] == b'{"outputs":1.0}'


def test_inputs_that_feed_one_tensor_must_be_equal() -> None:
    inputs = tuple(Tensor(key, "x:0", "float32", (None, 2)) for key in ("a", "b"))
    form = PredictForm(Signature(inputs, ONE.outputs), 8, "error")
    good = b'{"instances": [{"a": [1, 2], "b": [1, 2]}]}'
    bad = b'{"instances": [{"a": [1, 2], "b": [1, 3]}]}'
    assert form.decode_quickly(good) is not None
    for decode in (form.decode_quickly, lambda body: form.decode(json.loads(body))):
        with pytest.raises(RequestError, match="b: expected the values of a; both feed one tensor"):
            decode(bad)
