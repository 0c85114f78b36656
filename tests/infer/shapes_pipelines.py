"""Graphs whose input comes out of a pipeline: tf.data and queues, with switches, placeholders, defaults beside it."""

from __future__ import annotations

from typing import Any

from real_shapes import feed, normalized, right, shape
from typical_graphs import conv, cross_entropy, dense, train

from serialization.tensorflow import np, tf, tf1

ROWS = np.zeros([12, 6], "f"), np.zeros([12], "i")


def _classify(x: Any, labels: Any, *, keep: bool = True, switch: bool = True) -> None:
    hidden = dense(x, 8, "hidden", tf.nn.relu)
    if switch:
        hidden = normalized(hidden, feed("is_training", dtype="bool"), "bn")
    if keep:
        hidden = tf1.nn.dropout(hidden, keep_prob=feed("keep_prob"))
    logits = dense(hidden, 3, "logits")
    tf.nn.softmax(logits, name="prob")
    tf1.summary.scalar("accuracy", right(logits, labels))
    train(cross_entropy(labels, logits))


@shape("IteratorGetNext keep_prob is_training", "prob")
def initializable_with_switches() -> None:
    data = tf1.data.Dataset.from_tensor_slices(ROWS).shuffle(12).repeat().batch(4)
    _classify(*tf1.data.make_initializable_iterator(data).get_next())


@shape("OneShotIterator/get_next keep_prob is_training", "prob")
def one_shot_with_switches() -> None:
    data = tf1.data.Dataset.from_tensor_slices(ROWS).repeat().batch(4)
    _classify(*tf1.data.make_one_shot_iterator(data).get_next(name="OneShotIterator/get_next"))


@shape("IteratorGetNext keep_prob", "prob")
def fed_arrays_behind_an_iterator() -> None:
    """The arrays are fed when the iterator is initialized; the batch size is a placeholder too."""
    x, y, size = feed("x_data", None, 6), feed("y_data", None, dtype="int32"), feed("batch_size", dtype="int64")
    data = tf1.data.Dataset.from_tensor_slices((x, y)).batch(size).repeat()
    _classify(*tf1.data.make_initializable_iterator(data).get_next(), switch=False)


@shape("IteratorGetNext is_training", "prob")
def one_of_two_datasets() -> None:
    """A reinitializable iterator, with an initializer for training and one for testing."""
    sets = [tf1.data.Dataset.from_tensor_slices(ROWS).batch(4) for _ in range(2)]
    iterator = tf1.data.Iterator.from_structure(tf1.data.get_output_types(sets[0]), tf1.data.get_output_shapes(sets[0]))
    for data in sets:
        iterator.make_initializer(data)
    _classify(*iterator.get_next(), keep=False)


@shape("IteratorGetNext keep_prob is_training", "prob")
def iterator_by_a_handle() -> None:
    handle = tf1.placeholder(tf.string, [], name="handle")
    data = tf1.data.Dataset.from_tensor_slices(ROWS).repeat().batch(4)
    for _ in range(2):
        tf1.data.make_initializable_iterator(data).string_handle()
    iterator = tf1.data.Iterator.from_string_handle(
        handle, tf1.data.get_output_types(data), tf1.data.get_output_shapes(data)
    )
    _classify(*iterator.get_next())


@shape("x_input keep_prob", "prob")
def a_default_that_comes_from_a_dataset() -> None:
    """The placeholder is there so that the model can be fed later; its default is the batch."""
    data = tf1.data.Dataset.from_tensor_slices(ROWS).repeat().batch(4)
    x, y = tf1.data.make_one_shot_iterator(data).get_next()
    x = tf1.placeholder_with_default(x, [None, 6], name="x_input")
    y = tf1.placeholder_with_default(y, [None], name="y_input")
    _classify(x, y, switch=False)


@shape("IteratorGetNext:0 IteratorGetNext:2", "head/predictions/probabilities")
def features_by_name() -> None:
    row = {"age": np.zeros([8, 1], "f"), "height": np.zeros([8, 1], "f"), "city": np.zeros([8], "i")}
    data = tf1.data.Dataset.from_tensor_slices((row, np.zeros([8], "i"))).batch(4)
    read, label = tf1.data.make_one_shot_iterator(data).get_next()
    joined = tf.concat([read["age"], read["height"] / 100.0], 1)
    logits = dense(joined, 2, "logits")
    with tf.name_scope("head/predictions"):
        tf.nn.softmax(logits, name="probabilities")
    train(cross_entropy(label, logits))
    tf1.metrics.mean(tf.cast(read["city"], tf.float32), name="cities")


@shape("fifo_queue_Dequeue keep_prob", "prob")
def queue_that_is_fed() -> None:
    x, y = feed("x_data", None, 6), feed("y_data", None, dtype="int32")
    queue = tf1.FIFOQueue(20, [tf.float32, tf.int32], [[6], []])
    queue.enqueue_many([x, y])
    queue.close()
    read, labels = queue.dequeue_many(4, name="fifo_queue_Dequeue")
    _classify(read, labels, switch=False)


@shape("cond/Merge keep_prob", "prob")
def training_or_testing_batch() -> None:
    """Two queues, one chosen by a switch: what is fed later is what the choice gives."""
    feed_test = feed("testing", dtype="bool")
    batches = [tf1.train.batch([tf.zeros([6]), tf.zeros([], tf.int32)], 4, name=name) for name in ("train", "test")]
    x, y = tf1.cond(feed_test, lambda: batches[1], lambda: batches[0])
    _classify(x, y, switch=False)


@shape("PyFunc", "prob")
def batches_by_a_python_function() -> None:
    """The reader is a Python function, which is not in the file."""
    x, y = tf1.py_func(lambda: ROWS, [], [tf.float32, tf.int32])
    x.set_shape([None, 6])
    y.set_shape([None])
    _classify(x, y, keep=False, switch=False)


@shape("IteratorGetNext", "prob")
def raw_images_in_a_dataset() -> None:
    """The file names are in the dataset; a map decodes them there."""

    def read(name: Any, label: Any) -> Any:
        image = tf.image.decode_jpeg(tf.io.read_file(name), channels=3)
        return tf1.image.resize_images(image, [8, 8]), label

    names = tf.constant(["/home/me/a.jpg", "/home/me/b.jpg"])
    data = tf1.data.Dataset.from_tensor_slices((names, tf.constant([0, 1]))).map(read).batch(2)
    x, y = tf1.data.make_one_shot_iterator(data).get_next()
    _classify(tf.reduce_mean(conv(x / 255.0, 4, "conv"), [1, 2]), y, keep=False, switch=False)


@shape("Unstage", "prob")
def staged_for_a_device() -> None:
    data = tf1.data.Dataset.from_tensor_slices(ROWS).repeat().batch(4)
    x, y = tf1.data.make_one_shot_iterator(data).get_next()
    types, sizes = [tf.float32, tf.int32], [[None, 6], [None]]
    tf1.raw_ops.Stage(values=[x, y], shared_name="area")
    x, y = tf1.raw_ops.Unstage(dtypes=types, shared_name="area", name="Unstage")
    x.set_shape(sizes[0])
    y.set_shape(sizes[1])
    _classify(x, y, keep=False, switch=False)


@shape("IteratorGetNext", "prob", saver=False)
def inference_over_a_dataset() -> None:
    """Nothing trains; the weights are restored by hand."""
    data = tf1.data.Dataset.from_tensor_slices(ROWS[0]).batch(4)
    x = tf1.data.make_initializable_iterator(data).get_next()
    tf.nn.softmax(dense(dense(x, 8, "hidden", tf.nn.relu), 3, "logits"), name="prob")


@shape("IteratorGetNext keep_prob", "prob")
def iterator_in_another_shape() -> None:
    """Two images side by side come out of the dataset, and the first thing is to shape them."""
    data = tf1.data.Dataset.from_tensor_slices((np.zeros([12, 2, 3], "f"), ROWS[1])).batch(4)
    x, y = tf1.data.make_one_shot_iterator(data).get_next()
    _classify(tf.reshape(x, [-1, 6]), y, switch=False)
