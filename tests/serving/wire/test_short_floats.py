"""Float32 numbers get the fewest digits that give them back, as numpy's `str` does."""

from __future__ import annotations

import json

import pytest
from conftest import Clients
from serving_models import PREDICT, make_identity

from serialization.serving.wire.short_floats import shorten_floats
from serialization.tensorflow import np

RANDOM = np.random.default_rng(0)
NUMBERS = {
    "any bits": RANDOM.integers(0, 2**32, 50_000, dtype=np.uint32).view(np.float32),
    "normal": RANDOM.normal(size=20_000).astype(np.float32),
    "small": np.exp(RANDOM.normal(size=20_000) * 20 - 40).astype(np.float32),
    "whole": np.arange(-5000, 5000).astype(np.float32),
    "large and whole": RANDOM.integers(2**24, 2**62, 20_000).astype(np.float32),
    "two decimals": np.round(RANDOM.normal(size=20_000), 2).astype(np.float32),
    "powers of two": np.float32(2) ** np.arange(-149, 128).astype(np.float32),
    "powers of ten": np.float32(10) ** np.arange(-45, 39).astype(np.float32),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_the_digits_are_those_of_numpy(name: str) -> None:
    numbers = NUMBERS[name]
    for part in (numbers, numbers[:3]):
        assert list(map(repr, shorten_floats(part))) == [repr(float(str(number))) for number in part]


def test_shapes_zeros_and_numbers_that_are_not_finite_stay() -> None:
    for count in (1, 20):
        odd = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 0.96] * count, np.float32)
        expected = ["0.0", "-0.0", "nan", "inf", "-inf", "0.96"] * count
        assert list(map(repr, shorten_floats(odd))) == expected
    for shape in ((), (0,), (3, 0), (2, 3, 4), (5, 7)):
        array = np.full(shape, 0.1, np.float32)
        assert shorten_floats(array) == np.full(shape, 0.1).tolist()
    assert shorten_floats(np.full((6, 8), 0.1, np.float32).T[::2]) == np.full((4, 6), 0.1).tolist()


def test_an_answer_has_as_few_digits_as_the_request() -> None:
    client = make_identity("float32", [None, 2])
    text = '{"x":[[0.96,1e-7],[3.4028235e38,-0.1]]}'
    answer = client.post(PREDICT, data=text, content_type="application/json")
    assert answer.data == b'{"y":[[0.96,1e-7],[3.4028235e38,-0.1]]}'


def test_the_same_bits_come_back(clients: Clients) -> None:
    numbers = NUMBERS["any bits"][np.isfinite(NUMBERS["any bits"])][:4000, None]
    client = make_identity("float32", [None, 1])
    answer = client.post(PREDICT, data=json.dumps({"x": numbers.tolist()}), content_type="application/json")
    assert np.array(answer.get_json()["y"], np.float32).tobytes() == numbers.tobytes()
