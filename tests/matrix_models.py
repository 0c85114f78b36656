"""The models of the matrix as files of each format, made and asked by TensorFlow and Keras alone.

    toy     ten numbers -> whether their sum is more than 45
    resnet  an image -> classes and probabilities: convolutions, batch norm, a residual block
    text    words and numbers -> two outputs: a table of words, an embedding
    lstm    any number of steps -> a number: a loop
    pair    integers and numbers -> two outputs, whose keys are not in the order of the alphabet

A frozen model of `text` alone is made by freezemodel_save.py: TensorFlow's own call cannot freeze a table. So that one
records its keys, and the others get them from flags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import graphs
import keras_models
from conftest import PROJECT
from tensorflow.core.protobuf.saver_pb2 import SaverDef
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import freezemodel_save
import model as toy_model
from serialization.cli import call_main
from serialization.tensorflow import np, tf, tf1

Values = dict[str, Any]
RESNET = PROJECT / "pretrainedresnet" / "1"
NAMES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "toy": ({"inputs_1": toy_model.INPUTS}, {"output1": toy_model.PREDICTIONS}),
    "resnet": ({"input": "input_tensor:0"}, {"probabilities": "softmax_tensor:0", "classes": "ArgMax:0"}),
}
VOCABULARY = ["good", "bad", "film"]
OUTPUTS = {"resnet": ["probabilities"], "lstm": ["answer"], "pair": ["right", "left"]}  # the names of the last layers
FEEDS: dict[str, Values] = {
    "toy": {"inputs_1": toy_model.make_rows(50)[0]},
    "resnet": {"input": np.random.default_rng(1).integers(0, 256, (4, 28, 28, 1)).astype(np.uint8)},
    "text": {
        "words": np.array([["good", "film", ""], ["bad", "zzz", "film"], ["good", "good", "ü"]], object),
        "meta": np.linspace(-1, 1, 6).reshape(3, 2).astype("f"),
    },
    "lstm": {"steps": np.linspace(-1, 1, 30).reshape(2, 5, 3).astype("f")},
    "pair": {
        "second": np.array([[1, 7, 0, 2], [3, 3, 4, 6]], np.int32),
        "first": np.linspace(-2, 2, 8).reshape(2, 4).astype("f"),
    },
}


@dataclass(frozen=True)
class Source:
    """A model in a file: the flags that read it, and its own answers; inputs and outputs by keys, in their order."""

    words: tuple[object, ...]
    feeds: Values
    answers: Values


def toy(keras: Any) -> Any:
    return toy_model.build_keras()[0]


def resnet(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((28, 28, 1), dtype="uint8", name="input")

    def convolve(x: Any, stride: int = 1) -> Any:
        return layers.BatchNormalization()(layers.Conv2D(4, 3, stride, "same", use_bias=False)(x))

    stem = layers.ReLU()(convolve(layers.Rescaling(1 / 255)(image), 4))
    block = layers.ReLU()(layers.Add()([stem, convolve(stem)]))
    means = layers.GlobalAveragePooling2D()(block)
    return keras.Model(image, layers.Dense(10, "softmax", name="probabilities")(means))


def text(keras: Any) -> Any:
    layers = keras.layers
    words, meta = keras.Input((3,), dtype="string", name="words"), keras.Input((2,), name="meta")
    found = layers.Embedding(5, 4)(layers.StringLookup(vocabulary=VOCABULARY)(words))
    both = layers.Concatenate()([layers.GlobalAveragePooling1D()(found), meta])
    outputs = {"stars": layers.Dense(5, "softmax")(both), "sentiment": layers.Dense(1, "sigmoid")(both)}
    return keras.Model({"words": words, "meta": meta}, outputs)


def pair(keras: Any) -> Any:
    layers = keras.layers
    second, first = keras.Input((4,), dtype="int32", name="second"), keras.Input((4,), name="first")
    both = layers.Add()([layers.Flatten()(layers.Embedding(8, 1)(second)), first])
    return keras.Model([second, first], [layers.Dense(2, name="right")(both), layers.Dense(1, name="left")(both)])


LAYERS: dict[str, Callable[[Any], Any]] = {
    "toy": toy,
    "resnet": resnet,
    "text": text,
    "lstm": keras_models.lstm,
    "pair": pair,
}


def graph_of_text() -> tuple[Values, Values]:
    words = tf1.placeholder(tf.string, [None, 3], name="in_words")
    meta = tf1.placeholder(tf.float32, [None, 2], name="in_meta")
    fill = tf.lookup.KeyValueTensorInitializer(VOCABULARY, tf.constant([1, 2, 3], tf.int64))
    found = tf.nn.embedding_lookup(tf1.get_variable("words", [4, 4]), tf.lookup.StaticHashTable(fill, 0).lookup(words))
    both = tf.concat([tf.reduce_mean(found, 1), meta], 1)
    stars = tf.nn.softmax(both @ tf1.get_variable("stars", [6, 5]), name="softmax")
    sentiment = tf.sigmoid(both @ tf1.get_variable("sentiment", [6, 1]), name="sigmoid")
    return {"words": words, "meta": meta}, {"stars": stars, "sentiment": sentiment}


def graph_of_lstm() -> tuple[Values, Values]:
    graphs.lstm()
    get = tf1.get_default_graph().get_tensor_by_name
    return {"steps": get("x:0")}, {"answer": get("y:0")}


def graph_of_pair() -> tuple[Values, Values]:
    second, first = (tf1.placeholder(kind, [None, 4]) for kind in (tf.int32, tf.float32))
    both = (tf.gather(tf1.get_variable("table", [8]), second) + first) @ tf1.get_variable("matrix", [4, 3])
    return {"second": second, "first": first}, {"right": both[:, 1:], "left": both[:, :1]}


GRAPHS = {"text": graph_of_text, "lstm": graph_of_lstm, "pair": graph_of_pair}


@contextmanager
def open_graph(model: str, toy_prefix: Path) -> Iterator[tuple[Any, Values, Values]]:
    """A session of TensorFlow 1 on the model, and the tensors of inputs and outputs by their keys."""
    with tf1.Graph().as_default() as graph, tf1.Session() as session:
        if model == "toy":
            tf1.train.import_meta_graph(f"{toy_prefix}.meta").restore(session, str(toy_prefix))
        elif model == "resnet":
            tf1.saved_model.load(session, ["serve"], str(RESNET))
        if model in NAMES:
            inputs, outputs = ({k: graph.get_tensor_by_name(n) for k, n in side.items()} for side in NAMES[model])
        else:
            inputs, outputs = GRAPHS[model]()
            session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
        yield session, inputs, outputs


def list_names(flag: str, tensors: Values) -> tuple[str, str]:
    """The flag that names these tensors, each with its key."""
    return flag, ",".join(f"{key}={tensor.name}" for key, tensor in tensors.items())


def ask_saved_model(folder: Path, feeds: Values) -> Values:
    call = tf.saved_model.load(str(folder)).signatures["serving_default"]
    return {key: value.numpy() for key, value in call(**{k: tf.constant(v) for k, v in feeds.items()}).items()}


def ask_graph_def(file: Path, inputs: Values, outputs: Values, feeds: Values) -> Values:
    """What a GraphDef answers; its tensors are named."""
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.import_graph_def(tf1.GraphDef.FromString(file.read_bytes()), name="")
        return dict(session.run(outputs, {inputs[key]: value for key, value in feeds.items()}))


class Sources:
    """Makes the files of the models in a folder, each once."""

    def __init__(self, folder: Path, toy_prefix: Path) -> None:
        self._folder, self._toy_prefix = folder, toy_prefix
        self._made: dict[tuple[str, str], Source] = {}

    def get(self, kind: str, model: str) -> Source:
        if (kind, model) not in self._made:
            self._made[kind, model] = getattr(self, f"_make_{kind}")(model)
        return self._made[kind, model]

    def _make_keras(self, model: str, ending: str = "keras") -> Source:
        path, feeds = self._folder / f"{model}.{ending}", FEEDS[model]
        layers = keras_models.save(LAYERS[model], path)
        given = {key: tf.constant(value) for key, value in feeds.items()}
        values = list(given.values())
        answers = layers.predict(given if model == "text" else values if model == "pair" else values[0], verbose=0)
        if not isinstance(answers, dict):
            answers = dict(zip(OUTPUTS[model], answers if isinstance(answers, list) else [answers], strict=True))
        return Source(("--keras", path), feeds, answers)

    def _make_h5(self, model: str) -> Source:
        return self._make_keras(model, "h5")

    def _make_saved_model(self, model: str) -> Source:
        folder = self._folder / model
        if model == "resnet":
            folder = RESNET
        elif model == "toy":
            with open_graph(model, self._toy_prefix) as (session, inputs, outputs):
                tf1.saved_model.simple_save(session, str(folder), inputs, outputs)
        else:
            with keras_models.as_keras(3) as keras:
                LAYERS[model](keras).export(folder, verbose=False)
        answers = ask_saved_model(folder, FEEDS[model])
        in_order = [{key: values[key] for key in sorted(values)} for values in (FEEDS[model], answers)]
        return Source(("--saved-model", folder), *in_order)  # a SignatureDef has no other order

    def _make_checkpoint(self, model: str) -> Source:
        prefix = self._folder / f"{model}.ckpt"
        with open_graph(model, self._toy_prefix) as (session, inputs, outputs):
            words: tuple[object, ...] = ("--checkpoint", prefix)
            words += (*list_names("--inputs", inputs), *list_names("--outputs", outputs))
            feeds = {inputs[key]: value for key, value in FEEDS[model].items()}
            source = Source(words, FEEDS[model], session.run(outputs, feeds))
            if model != "pair":
                version = SaverDef.V1 if model == "text" else SaverDef.V2
                tf1.train.Saver(write_version=version).save(session, str(prefix))
                return source
            graph_def, values = session.graph.as_graph_def(), session.run(tf1.global_variables())
            names = [variable.op.name for variable in tf1.global_variables()]
        (self._folder / "pair.pb").write_bytes(graph_def.SerializeToString())
        held = [tf.Variable(value, name=name) for name, value in zip(names, values, strict=True)]
        tf.train.Checkpoint(held=held).write(str(prefix))  # as TensorFlow 2 does, without a graph
        return replace(source, words=(*words, "--graph", self._folder / "pair.pb"))

    def _make_frozen(self, model: str) -> Source:
        file, feeds = self._folder / f"frozen_{model}.pb", FEEDS[model]
        words: tuple[object, ...] = ("--frozen-model", file)
        if model == "text":
            source = self.get("saved_model", model)
            assert call_main(freezemodel_save.main, [str(word) for word in (*source.words, *words)]) == 0
            inputs, outputs = ({key: f"{key}:0" for key in values} for values in (source.feeds, source.answers))
            return Source(words, source.feeds, ask_graph_def(file, inputs, outputs, source.feeds))
        if model in NAMES:
            with open_graph(model, self._toy_prefix) as (session, *sides):
                nodes = [tensor.op.name for tensor in sides[1].values()]
                graph_def = session.graph.as_graph_def()
                graph_def = tf1.graph_util.convert_variables_to_constants(session, graph_def, nodes)
        else:
            loaded = tf.saved_model.load(str(self.get("saved_model", model).words[1]))
            frozen = convert_variables_to_constants_v2(loaded.signatures["serving_default"])
            graph_def = frozen.graph.as_graph_def()
            sides = [
                {key: frozen.graph.get_tensor_by_name(f"{key}:0") for key in feeds},
                dict(zip(OUTPUTS[model], frozen.outputs, strict=True)),
            ]
        file.write_bytes(graph_def.SerializeToString())
        words += (*list_names("--inputs", sides[0]), *list_names("--outputs", sides[1]))
        inputs, outputs = ({key: tensor.name for key, tensor in side.items()} for side in sides)
        return Source(words, feeds, ask_graph_def(file, inputs, outputs, feeds))
