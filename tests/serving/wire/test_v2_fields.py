"""serialization/serving/wire/v2_fields.py: a body's fields are read by their types, and a wrong one is named."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from serialization.serving.requests import RequestError
from serialization.serving.wire.v2_fields import Input, Output, QuickBody, read_by_rules, read_flag, read_size

X = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}


def test_fields_are_read_and_others_ignored() -> None:
    body = read_by_rules(json.dumps({"id": "a", "inputs": [{**X, "more": 1}], "outputs": [{"name": "y"}]}).encode())
    assert (body.id, body.parameters) == ("a", None)
    assert body.inputs == [Input("x", [1, 2], "FP32", [1, 2])]
    assert body.outputs == [Output("y")]


def test_null_stands_for_a_field_that_is_left_out() -> None:
    body = read_by_rules(json.dumps({"id": None, "inputs": [{**X, "parameters": None}], "outputs": None}).encode())
    assert (body.id, body.outputs, body.inputs[0].parameters) == (None, None, None)
    assert read_by_rules(json.dumps({"inputs": [{**X, "data": None}]}).encode()).inputs[0].data is None


def test_a_tensor_whose_data_are_bytes_has_none() -> None:
    without = {key: value for key, value in X.items() if key != "data"}
    assert read_by_rules(json.dumps({"inputs": [without]}).encode()).inputs[0].data is msgspec.UNSET


def test_both_readings_have_the_same_fields() -> None:
    text = json.dumps({"id": "a", "inputs": [X], "parameters": {"priority": 1}}).encode()
    quick, slow = msgspec.json.decode(text, type=QuickBody), read_by_rules(text)
    assert (quick.id, quick.outputs, quick.parameters) == (slow.id, slow.outputs, slow.parameters)
    data = quick.inputs[0].data
    assert isinstance(data, msgspec.Raw)
    assert json.loads(bytes(data)) == slow.inputs[0].data


@pytest.mark.parametrize("field", ["name", "shape", "datatype"])
@pytest.mark.parametrize("value", [None, 1.5, True, {}])
def test_a_field_of_another_type_is_named(field: str, value: Any) -> None:
    with pytest.raises(RequestError, match=rf"inputs\[0\]\.{field}: expected a ") as caught:
        read_by_rules(json.dumps({"inputs": [{**X, field: value}]}).encode())
    assert caught.value.status == 400


@pytest.mark.parametrize("size", [1.0, "1", True, None])
def test_a_size_is_a_whole_number(size: Any) -> None:
    with pytest.raises(RequestError, match=r"inputs\[0\]\.shape\[1\]: expected a whole number"):
        read_by_rules(json.dumps({"inputs": [{**X, "shape": [1, size]}]}).encode())


def test_parameters() -> None:
    assert read_flag({"binary_data": True}, "binary_data", "y", default=False)
    assert read_flag(None, "binary_data", "y", default=True)
    assert not read_flag({"binary_data": None}, "binary_data", "y", default=False)
    assert (read_size(None, "x"), read_size({"binary_data_size": 0}, "x")) == (None, 0)
    with pytest.raises(RequestError, match=r"^x\.binary_data_size: expected 0 or more, got -1$"):
        read_size({"binary_data_size": -1}, "x")
    for name in ("classification", "shared_memory_region"):
        with pytest.raises(RequestError, match=f"^y: the parameter {name} is not supported here$"):
            read_flag({name: "r"}, "binary_data", "y", default=False)
