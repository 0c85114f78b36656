"""What TensorFlow Serving finds wrong with values, in its words; tests/tfs_cases.py has those that its tests have."""

from __future__ import annotations

from typing import Any

import pytest

from serialization.run.json_values import read_json
from serialization.serving.requests import RequestError
from serialization.serving.wire.tfs_faults import find_fault, refuse_other_than_object, split_columns, split_rows


@pytest.mark.parametrize(
    ("dtype", "value", "fault"),
    [
        ("float32", "[[1, 2], [3, 4.5]]", None),
        ("float32", "5", None),
        ("float32", "[NaN, 1e300]", None),  # not faults to TensorFlow Serving
        ("float64", "[true]", "JSON Value: true Type: True is not of expected type: double"),
        ("float16", "[false]", "JSON Value: false Type: False is not of expected type: half"),
        ("int64", "[NaN]", 'JSON Value: "NaN" Type: Number is not of expected type: int64'),
        ("bool", "[1]", "JSON Value: 1 Type: Number is not of expected type: bool"),
        ("string", '["a", {"b64": "aGk="}]', None),
        ("string", '[{"b64": "a"}]', "Unable to base64 decode"),
        ("string", '[{"b65": "a"}]', 'JSON Value: {"b65": "a"} Type: Object is not of expected type: string'),
        ("int32", '[{"b64": "aGk="}]', 'JSON Value: {"b64": "aGk="} Type: Object is not of expected type: int32'),
        ("int32", "[[1], [2, 3]]", "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ("int32", "[]", None),
    ],
)
def test_a_fault_of_a_column(dtype: str, value: str, fault: str | None) -> None:
    assert find_fault(dtype, read_json(value), by_rows=False) == fault


def test_a_fault_of_rows_names_the_row() -> None:
    assert find_fault("int32", [[1], [2]], by_rows=True) is None
    fault = find_fault("int32", [[1], [[2]]], by_rows=True)
    assert fault == (
        "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [1] but got: [1,1]"
    )


def test_lists_that_are_nested_very_deep_have_an_end() -> None:
    value: Any = 1
    for _ in range(900):
        value = [value]
    assert "Encountered list at unexpected level" in str(find_fault("int32", [value], by_rows=True))


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(RequestError) as refused:
        refuse_other_than_object(["a" * 10_000])
    assert len(str(refused.value)) < 300
    assert str(refused.value).endswith("... Is not object")
    assert refuse_other_than_object({"a": 1}) == {"a": 1}


def test_inputs_with_defaults_may_be_left_out_of_all_rows() -> None:
    keys = ["a", "b"]
    assert split_rows([{"a": 1}, {"a": 2}], keys, {"b"}) == {"a": [1, 2]}
    assert split_rows([{"a": 1, "b": 3}], keys, {"b"}) == {"a": [1], "b": [3]}
    with pytest.raises(RequestError, match="keys must be equal to: a,b"):
        split_rows([{"a": 1, "b": 3}, {"a": 2}], keys, {"b"})
    assert split_columns({"a": [1], "more": 1}, keys, {"b"}) == {"a": [1]}
    with pytest.raises(RequestError, match="Missing named input: b in 'inputs' object"):
        split_columns({"a": [1]}, keys, ())
