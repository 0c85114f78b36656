"""A graph's ops hint at the values that its inputs take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from handmade_graphs import X, graph

from serialization.formats import protos
from serialization.graph.graph_index import GraphIndex
from serialization.graph.signature import make_signature
from serialization.run.feed_hints import find_batch_sizes, find_hints
from serialization.run.generated_feeds import Hint
from serialization.tensorflow import np, tf, tf1


def test_a_batch_size_fixed_in_the_graph_is_found(run: Run, tmp_path: Path) -> None:
    """The graph adds a first word to each of 7 rows; a frozen graph records no shapes."""
    with tf1.Graph().as_default() as graph:
        words = tf1.placeholder(tf.int32, [None, None], name="words")
        tf.concat([tf.ones([7, 1], tf.int32), words], 1, name="y")
    (tmp_path / "m.pb").write_bytes(graph.as_graph_def().SerializeToString())
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (0, "")
    assert "prefix/words:0 int32 [7, 4]\n" in done.stdout


@pytest.mark.parametrize(("argument", "kept"), [("keep_prob", 1), ("rate", 0)])
def test_dropout_is_switched_off(run: Run, tmp_path: Path, argument: str, kept: int) -> None:
    with tf1.Graph().as_default() as graph:
        share = tf1.placeholder(tf.float32)
        x = tf1.placeholder(tf.float32, [None, 5], name="x")
        tf.identity(tf1.nn.dropout(x, **{argument: share}), name="y")
    (tmp_path / "m.pb").write_bytes(graph.as_graph_def().SerializeToString())
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (0, "")
    assert f"prefix/Placeholder:0 float32 []\n{kept}.0\n" in done.stdout
    lines = done.stdout.splitlines()
    fed, answered = (lines[lines.index(f"prefix/{name}:0 float32 [1, 5]") + 1] for name in ("x", "y"))
    assert fed == answered


def hint(dtype: Any, shape: Any, build: Callable[[Any], Any]) -> Hint:
    """The hint for the input of a graph that is built on it."""
    with tf1.Graph().as_default() as built:
        build(tf1.placeholder(dtype, shape, name="x"))
    signature = make_signature(built, "x", "")
    return find_hints(GraphIndex(built.as_graph_def()), signature).get("x", Hint())


def weights(*shape: int) -> Any:
    return tf1.get_variable("w", shape, use_resource=False)


HINTS: dict[str, tuple[Any, Any, Callable[[Any], Any], Hint]] = {
    "a product of unknown rank": (tf.float32, None, lambda x: tf.matmul(x, weights(4, 2)), Hint((None, 4))),
    "a product with weights": (tf.float32, [None, None], lambda x: tf.matmul(x, weights(4, 2)), Hint((None, 4))),
    "a product with turned weights": (
        tf.float32,
        None,
        lambda x: tf.matmul(x, weights(4, 2), transpose_b=True),
        Hint((None, 2)),
    ),
    "weights as a resource": (
        tf.float32,
        None,
        lambda x: tf.matmul(x, tf1.get_variable("w", [4, 2], use_resource=True)),
        Hint((None, 4)),
    ),
    "behind views": (
        tf.float32,
        None,
        lambda x: tf.matmul(tf.stop_gradient(tf.identity(x)), weights(4, 2)),
        Hint((None, 4)),
    ),
    "a reshape to fixed rows": (tf.float32, None, lambda x: tf.reshape(x, [-1, 3, 5]), Hint((None, 15))),
    "a convolution": (
        tf.float32,
        None,
        lambda x: tf.nn.conv2d(x, weights(3, 3, 2, 7), 1, "SAME"),
        Hint((None, None, None, 2), most=32),
    ),
    "indices of a table": (
        tf.int64,
        [None],
        lambda x: tf.raw_ops.GatherV2(params=weights(7, 2), indices=x, axis=0),
        Hint(top=7),
    ),
    "the lesser of two tables": (
        tf.int32,
        [None],
        lambda x: [tf.raw_ops.GatherV2(params=tf.zeros([rows, 2]), indices=x, axis=0) for rows in (9, 5)],
        Hint(top=5),
    ),
    "places in a row": (tf.int32, [], lambda x: tf.gather(tf.zeros([2, 7]), x, axis=1), Hint(top=7)),
    "places in rows that are fed": (tf.int32, [], lambda x: tf.gather(tf1.placeholder(tf.float32, [None]), x), Hint()),
    "raw bytes": (tf.string, [], lambda x: tf.io.decode_raw(x, tf.float32), Hint(example=bytes(4096))),
    "comma separated": (tf.string, [None], lambda x: tf.io.decode_csv(x, [[0.0], [0]]), Hint(example=b"1,1")),
    "a number as text": (tf.string, [None], tf.strings.to_number, Hint(example=b"1")),
    "stripped text": (tf.string, [None], lambda x: tf.strings.to_number(tf.strings.strip(x)), Hint(example=b"1")),
    "base64": (tf.string, [None], tf.io.decode_base64, Hint(example=b"AAAA")),
    "nothing in particular": (tf.float32, [None, 3], tf.negative, Hint()),
}


@pytest.mark.parametrize("name", HINTS)
def test_the_consumers_of_an_input_hint_at_its_values(name: str) -> None:
    dtype, shape, build, expected = HINTS[name]
    assert hint(dtype, shape, build) == expected


@pytest.mark.parametrize("decode", [tf.io.decode_png, tf.io.decode_jpeg, tf.io.decode_image])
def test_the_example_of_an_encoded_picture_is_decoded(decode: Callable[[Any], Any]) -> None:
    example = hint(tf.string, [], decode).example
    assert tf.io.decode_image(example).numpy().tolist() == [[[255, 255, 255]]]


def test_the_example_of_a_picture_in_base64_is_decoded() -> None:
    example = hint(tf.string, [], lambda x: tf.io.decode_png(tf.io.decode_base64(x))).example
    assert tf.io.decode_png(tf.io.decode_base64(example)).shape == (1, 1, 3)


def test_the_example_of_a_sound_is_decoded() -> None:
    sound, rate = tf.audio.decode_wav(hint(tf.string, [], tf.audio.decode_wav).example)
    assert (sound.shape, int(rate)) == ((16000, 1), 16000)


FEATURES = {
    "words": tf1.io.VarLenFeature(tf.string),
    "size": tf1.io.FixedLenFeature([2, 3], tf.float32),
    "count": tf1.io.FixedLenFeature([], tf.int64),
}


@pytest.mark.parametrize("parse", [tf1.io.parse_example, tf1.io.parse_single_example])
def test_a_parsers_example_has_its_features(parse: Callable[..., Any]) -> None:
    shape = [None] if parse is tf1.io.parse_example else []
    example = hint(tf.string, shape, lambda x: parse(x, FEATURES)).example
    parsed = tf1.io.parse_single_example(example, FEATURES)
    assert parsed["words"].values.numpy().tolist() == [b"text"]
    assert (parsed["size"].shape, int(parsed["count"])) == ((2, 3), 1)


def test_only_keys_of_its_own_table_are_known_for_an_input() -> None:
    with tf1.Graph().as_default() as built:
        for name, keys in (("a", ["one", "two"]), ("b", ["red"])):
            fill = tf.lookup.KeyValueTensorInitializer(keys, list(range(len(keys))), tf.string, tf.int64)
            tf.lookup.StaticHashTable(fill, -1, name=f"table_{name}").lookup(
                tf1.placeholder(tf.string, [None], name=name)
            )
    index = GraphIndex(built.as_graph_def())
    held = {
        name: np.array([b"one", b"two"] if "table_a" in name else [b"red"], object)
        for name, node in index.nodes.items()
        if node.op == "HashTableV2"
    }
    found = find_hints(index, make_signature(built, "a,b", ""), held)
    assert (found["a"].known, found["b"].known) == ((b"one", b"two"), (b"red",))


def states(*sizes: int) -> Any:
    """A graph with a first state of zeros of each of these batch sizes."""
    graph_def = graph(X)
    for number, size in enumerate(sizes):
        node = graph_def.node.add(name=f"zeros_{number}", op="Const")
        tensor = node.attr["value"].tensor
        tensor.dtype = 1
        tensor.tensor_shape.CopyFrom(protos.TensorShapeProto(dim=[{"size": size}, {"size": 8}]))
        tensor.float_val.append(0)
    return graph_def


@pytest.mark.parametrize(
    ("sizes", "found"),
    [((), []), ((1,), []), ((7, 7, 5), [7, 5]), ((2, 3, 3, 4, 4, 4, 5, 5, 5, 5), [5, 4, 3])],
)
def test_sizes_of_states_are_batch_sizes_the_most_frequent_first(sizes: tuple[int, ...], found: list[int]) -> None:
    assert find_batch_sizes(states(*sizes)) == found


def test_sizes_of_recorded_shapes_are_batch_sizes_but_not_those_of_weights() -> None:
    graph_def = graph(X, ("w", "VariableV2", []), ("y", "MatMul", ["x", "w"]))
    for node, rows in zip(graph_def.node, (6, 10, 6), strict=True):
        node.attr["_output_shapes"].list.shape.append(protos.TensorShapeProto(dim=[{"size": rows}, {"size": 2}]))
    assert find_batch_sizes(graph_def) == [6]
