"""How a loaded Keras model is called: its keys, dtypes and shapes, and what it answers eagerly."""

from __future__ import annotations

from pathlib import Path

import keras_models
import pytest

from serialization.errors import UserError
from serialization.files.locate_keras import KerasFile, find_keras
from serialization.sources.keras_ends import find_ends
from serialization.tensorflow import import_keras, np, tf


@pytest.fixture
def found(tmp_path: Path) -> KerasFile:
    keras_models.save(keras_models.sequential, tmp_path / "m.keras")
    return find_keras(tmp_path / "m.keras")


def test_keys_shapes_and_dtypes_of_nested_inputs(found: KerasFile) -> None:
    keras = import_keras(3)
    one, two, three = (
        keras.Input((2,), name="1 a"),
        keras.Input((None, 3), name="b"),
        keras.Input((), dtype="string", name="c"),
    )
    flat = keras.layers.Concatenate()([one, keras.layers.GlobalMaxPooling1D()(two)])
    model = keras.Model({"x": [one, two], "y": {"z": three}}, {"p": [flat, one], "q": flat})
    ends = find_ends(keras, model, found)
    assert [(spec.name, spec.dtype.name, spec.shape.as_list()) for spec in ends.specs] == [
        ("x", "float32", [None, 2]),
        ("x_1", "float32", [None, None, 3]),
        ("y_z", "string", [None]),
    ]
    feeds = {"x": np.ones((4, 2), "f"), "x_1": np.ones((4, 5, 3), "f"), "y_z": np.full(4, b"t", object)}
    answers = ends.predict(feeds)
    assert {key: value.shape for key, value in answers.items()} == {"p": (4, 5), "p_1": (4, 2), "q": (4, 5)}


def test_a_word_of_python_is_no_key(found: KerasFile) -> None:
    keras = import_keras(3)
    x = keras.Input((3,), name="in")
    ends = find_ends(keras, keras.Model(x, keras.layers.Dense(1, name="class")(x)), found)
    assert [spec.name for spec in ends.specs] == ["in_"]
    call = tf.function(ends.call, input_signature=ends.specs)
    assert set(call.get_concrete_function().structured_outputs) == {"class_"}


def test_a_fixed_batch_stays_fixed(found: KerasFile) -> None:
    keras = import_keras(3)
    x = keras.Input(batch_shape=(2, 5, 3), name="x")
    model = keras.Model(x, keras.layers.LSTM(4, stateful=True, name="last")(x))
    (spec,) = find_ends(keras, model, found).specs
    assert spec.shape.as_list() == [2, 5, 3]


@pytest.mark.parametrize("major", [3, 2])
def test_dropout_is_off(major: int, found: KerasFile) -> None:
    keras = import_keras(major)
    model = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dropout(0.9)])
    rows = np.ones((5, 3), "f")
    (answer,) = find_ends(keras, model, found).predict({"x": rows}).values()
    np.testing.assert_array_equal(answer, rows)


def test_a_feed_that_does_not_fit_is_an_error_of_tensorflow(found: KerasFile) -> None:
    keras = import_keras(3)
    model = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(1)])
    ends = find_ends(keras, model, found)
    with pytest.raises(tf.errors.OpError):
        ends.predict({"x": np.ones((5, 4), "f")})


def test_a_sparse_input_is_refused(found: KerasFile) -> None:
    keras = import_keras(3)
    x = keras.Input((3,), name="x", sparse=True)
    with pytest.raises(UserError, match="has the input x, which is sparse or ragged"):
        find_ends(keras, keras.Model(x, keras.layers.Dense(1)(x)), found)


def test_a_model_without_recorded_shapes_is_refused(found: KerasFile) -> None:
    keras = import_keras(3)

    with pytest.raises(UserError, match="records no shapes of its inputs"):
        find_ends(keras, type("Empty", (keras.Model,), {})(), found)


@pytest.mark.parametrize("major", [3, 2])
def test_a_stateful_layer_answers_afresh(major: int, found: KerasFile) -> None:
    keras = import_keras(major)
    x = (
        keras.Input(batch_shape=(2, 5, 3), name="x")
        if major == 3
        else keras.Input(batch_input_shape=(2, 5, 3), name="x")
    )
    ends = find_ends(keras, keras.Model(x, keras.layers.LSTM(4, stateful=True, name="last")(x)), found)
    feed = {"x": np.linspace(0, 1, 30, dtype="f").reshape(2, 5, 3)}
    afresh = ends.predict_afresh()
    first = ends.predict(feed)["last"]
    assert (ends.predict(feed)["last"] != first).all()
    for _ in range(2):
        with tf.Graph().as_default():
            np.testing.assert_array_equal(afresh(feed)["last"], first)
