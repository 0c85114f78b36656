"""dtypes by number are TensorFlow's: names, sizes, references."""

from __future__ import annotations

import pytest

from serialization.formats import dtypes, protos
from serialization.formats.dtypes import get_base_dtype, get_dtype_name, get_dtype_number, get_dtype_size
from serialization.tensorflow import tf

NUMBERS = [number for number in protos.DataType.values() if 0 < number < 100]
KNOWN = [number for number in NUMBERS if get_dtype_name(number) != "unknown"]


@pytest.mark.parametrize("number", NUMBERS)
def test_names_are_those_of_tensorflow(number: int) -> None:
    assert get_dtype_name(number) == tf.as_dtype(number).name


@pytest.mark.parametrize("number", KNOWN)
def test_each_name_leads_back_to_its_number(number: int) -> None:
    assert get_dtype_number(get_dtype_name(number)) == number


@pytest.mark.parametrize("number", sorted(set(KNOWN) - {dtypes.STRING, dtypes.RESOURCE, dtypes.VARIANT}))
def test_sizes_are_those_of_tensorflow(number: int) -> None:
    assert get_dtype_size(number) == tf.as_dtype(number).size


def test_a_string_takes_the_bytes_of_an_empty_one() -> None:
    assert get_dtype_size(dtypes.STRING) == 24


@pytest.mark.parametrize("number", KNOWN)
def test_a_reference_has_name_and_size_of_its_base_dtype(number: int) -> None:
    reference = number + 100
    assert get_base_dtype(reference) == get_base_dtype(number) == number
    assert get_dtype_name(reference) == get_dtype_name(number)
    assert get_dtype_size(reference) == get_dtype_size(number)


@pytest.mark.parametrize("number", [0, -1, 99, 100, 199, 1 << 31])
def test_other_numbers_are_unknown(number: int) -> None:
    assert get_dtype_name(number) == "unknown"
    assert get_dtype_number("unknown") == 0


def test_a_name_that_no_dtype_has_raises() -> None:
    with pytest.raises(StopIteration):
        get_dtype_number("float31")


def test_the_constants_are_the_numbers_of_their_names() -> None:
    names = ("FLOAT", "STRING", "BOOL", "RESOURCE", "VARIANT", "INT32", "INT64")
    assert [getattr(dtypes, name) for name in names] == [protos.DataType.Value(f"DT_{name}") for name in names]
