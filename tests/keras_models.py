"""Small models of Keras 3 and Keras 2, saved in each form that Keras writes; and archives that do harm."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serialization.tensorflow import import_keras, np

WORDS = ["good film", "bad film", "awful plot"]
CUSTOM = """
import keras

import numbers_of_mine


@keras.saving.register_keras_serializable("mine")
class Twice(keras.layers.Layer):
    def call(self, inputs):
        return numbers_of_mine.TWO * inputs


@keras.saving.register_keras_serializable("mine")
class Pair(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.dense = keras.layers.Dense(3)

    def call(self, inputs):
        return {"sum": self.dense(inputs["one"]) + inputs["two"], "two": inputs["two"]}
"""


def sequential(keras: Any) -> Any:
    layers = keras.layers
    parts = [layers.Dense(4, activation="relu", name="hidden"), layers.Dropout(0.5), layers.Dense(2, name="scores")]
    return keras.Sequential([keras.Input((10,), name="rows"), *parts])


def lstm(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential([keras.Input((None, 3), name="steps"), layers.LSTM(8), layers.Dense(1, name="answer")])


def lookup(keras: Any) -> Any:
    """Two inputs, a text and numbers, and two outputs, in dicts; an embedding of words that it knows."""
    layers = keras.layers
    text, numbers = keras.Input((), dtype="string", name="review"), keras.Input((3,), name="meta")
    words = layers.TextVectorization(max_tokens=50, output_sequence_length=6)
    words.adapt(WORDS)
    means = layers.GlobalAveragePooling1D()(layers.Embedding(50, 8)(words(text)))
    both = layers.Concatenate()([means, numbers])
    outputs = {"sentiment": layers.Dense(1, "sigmoid")(both), "stars": layers.Dense(5, "softmax")(both)}
    return keras.Model({"review": text, "meta": numbers}, outputs)


def lists(keras: Any) -> Any:
    """Two inputs and two outputs in lists: their layers have the names."""
    one, two = keras.Input((4,), name="one"), keras.Input((4,), dtype="int32", name="two-2")
    layers = keras.layers
    both = layers.Add()([one, layers.Flatten()(layers.Embedding(8, 1)(two))])
    return keras.Model([one, two], [layers.Dense(1, name="left")(both), layers.Dense(2, name="right")(both)])


def preprocessing(keras: Any) -> Any:
    """Layers that learn a vocabulary, categories, a mean: all in one model."""
    layers = keras.layers
    word, number = keras.Input((1,), dtype="string", name="word"), keras.Input((1,), dtype="int64", name="number")
    value = keras.Input((1,), name="value")
    strings, integers, mean = layers.StringLookup(output_mode="one_hot"), layers.IntegerLookup(), layers.Normalization()
    strings.adapt(["a", "b", "b"])
    integers.adapt([7, 11, 11])
    mean.adapt(np.array([[1.0], [2.0], [6.0]]))
    kinds = layers.CategoryEncoding(num_tokens=4, output_mode="one_hot")(integers(number))
    return keras.Model([word, number, value], layers.Concatenate(name="features")([strings(word), kinds, mean(value)]))


def with_lambda(keras: Any) -> Any:
    return keras.Sequential([keras.Input((4,), name="x"), keras.layers.Lambda(lambda x: x * 2, name="double")])


@contextmanager
def as_keras(major: int) -> Iterator[Any]:
    """Keras of this version, seeded; its warnings while it saves, that .h5 is a legacy format, are none of ours."""
    keras = import_keras(major)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keras.utils.set_random_seed(3)
        yield keras


def save(build: Callable[[Any], Any], path: Path, major: int = 3) -> Any:
    """Build a model, save it at the path, by whose ending Keras chooses the format, and return it."""
    with as_keras(major) as keras:
        model = build(keras)
        if path.suffix == ".json":
            path.write_text(model.to_json())
        else:
            model.save(path)
        return model


def write_custom(folder: Path) -> Path:
    """A Python file of the user's own, which imports another one beside it."""
    (folder / "numbers_of_mine.py").write_text("TWO = 2.0\n")
    (folder / "layers_of_mine.py").write_text(CUSTOM)
    return folder / "layers_of_mine.py"


def change_archive(source: Path, target: Path, **members: bytes) -> None:
    """A copy of a .keras archive with other bytes for some of its members, by their names, and with more of them."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        content = {info.filename: old.read(info) for info in old.infolist()} | members
        for name, data in content.items():
            new.writestr(name, data)


def replace_in_config(source: Path, target: Path, old: str, new: str) -> None:
    """A copy of a .keras archive with a change in its config.json."""
    with zipfile.ZipFile(source) as archive:
        config = archive.read("config.json").decode()
    assert old in config
    change_archive(source, target, **{"config.json": config.replace(old, new).encode()})
