"""A LiteRT file is read without LiteRT; no damage makes the reader fail otherwise than by DamagedError."""

from __future__ import annotations

import random
from contextlib import suppress

import exported_models
import pytest

from serialization.formats.tflite_file import read_tflite_file
from serialization.formats.wire import DamagedError


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A and b float32 [None, 3] -> sum float32 [None, 3], dot int32 [None]."""
    folder = tmp_path_factory.mktemp("tflite")
    frozen = exported_models.write(exported_models.two_outputs, folder / "m.pb", "sum", "dot")
    return exported_models.convert_to_litert(frozen)


def test_what_a_file_says(content: bytes) -> None:
    model = read_tflite_file(content)
    (signature,) = model.signatures
    assert signature.key == "serving_default"
    assert [(t.key, t.dtype, t.shape) for t in signature.inputs] == [(key, "float32", (None, 3)) for key in "ab"]
    assert [(t.key, t.dtype, t.shape) for t in signature.outputs] == [
        ("dot", "int32", (None,)),
        ("sum", "float32", (None, 3)),
    ]
    assert (model.ops["ADD"], model.ops["SUM"]) == (1, 1)
    assert model.versions == {"schema": 3}
    assert model.parameters >= 2
    assert "min_runtime_version" in model.metadata


def test_damaged_files(content: bytes) -> None:
    generator, read = random.Random(1), 0
    for _ in range(3000):
        damaged = bytearray(content)
        for _ in range(generator.randint(1, 5)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        with suppress(DamagedError):
            end = generator.choice([len(damaged), generator.randint(8, len(damaged))])
            read_tflite_file(bytes(damaged[:end]))
            read += 1
    assert read, "some damage is in a name"
    with pytest.raises(DamagedError, match="points beyond its end"):
        read_tflite_file(b"\x1c\0\0\0TFL3")
