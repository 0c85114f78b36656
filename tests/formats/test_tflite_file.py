"""A LiteRT file is read without LiteRT; no damage makes the reader fail otherwise than by DamagedError."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from serialization.formats.tflite_file import read_tflite_file
from serialization.formats.wire import DamagedError
from serialization.tensorflow import tf


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """X float32 [None, 2] -> y, the product with a matrix, and n, the number of its rows."""
    folder, module = tmp_path_factory.mktemp("tflite"), tf.Module()
    matrix = tf.constant([[1.0, 2, 3], [4, 5, 6]])
    module.call = tf.function(lambda x: {"y": tf.matmul(x, matrix), "n": tf.shape(x)[0]})
    concrete = module.call.get_concrete_function(x=tf.TensorSpec([None, 2], tf.float32))
    tf.saved_model.save(module, str(folder), signatures=concrete)
    return bytes(tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert())


def test_what_a_file_says(content: bytes) -> None:
    model = read_tflite_file(content)
    (signature,) = model.signatures
    assert signature.key == "serving_default"
    assert [(t.key, t.dtype, t.shape) for t in signature.inputs] == [("x", "float32", (None, 2))]
    assert [(t.key, t.dtype, t.shape) for t in signature.outputs] == [
        ("n", "int32", ()),
        ("y", "float32", (None, 3)),
    ]
    assert model.ops["FULLY_CONNECTED"] == 1
    assert model.versions == {"schema": 3}
    assert model.parameters >= 6
    assert "min_runtime_version" in model.metadata


def test_damaged_files(content: bytes) -> None:
    generator, read = random.Random(1), 0
    for _ in range(3000):
        damaged = bytearray(content)
        for _ in range(generator.randint(1, 5)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        with suppress(DamagedError):
            read_tflite_file(bytes(damaged[: generator.randint(8, len(damaged))]))
            read += 1
    assert read, "some damage is in a name"
    with pytest.raises(DamagedError, match="points beyond its end"):
        read_tflite_file(b"\x1c\0\0\0TFL3")
