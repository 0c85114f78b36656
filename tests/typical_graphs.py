"""Graphs as people train them with TensorFlow 1, each with the inputs and outputs that its maker would name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from serialization.graph.graph_index import GraphIndex
from serialization.infer.candidates import Inferred, infer_candidates
from serialization.infer.data_edges import Flow
from serialization.tensorflow import np, tf, tf1

GRAPHS: dict[str, tuple[Callable[[], None], set[str], set[str]]] = {}


def _graph(inputs: str, outputs: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def add(build: Callable[[], None]) -> Callable[[], None]:
        GRAPHS[build.__name__] = (build, set(inputs.split()), set(outputs.split()))
        return build

    return add


def _feed(name: str, *shape: int | None, dtype: str = "float32") -> Any:
    return tf1.placeholder(dtype, list(shape), name=name)


def _variable(name: str, *shape: int) -> Any:
    return tf1.get_variable(name, shape, initializer=tf1.random_normal_initializer(seed=1), use_resource=False)


def dense(x: Any, units: int, scope: str, activation: Any = None) -> Any:
    with tf1.variable_scope(scope, reuse=tf1.AUTO_REUSE):
        kernel, bias = _variable("kernel", int(x.shape[-1]), units), _variable("bias", units)
        y = tf.nn.bias_add(tf.matmul(x, kernel), bias)
        return activation(y) if activation else y


def conv(x: Any, filters: int, scope: str, activation: Any = tf.nn.relu) -> Any:
    with tf1.variable_scope(scope, reuse=tf1.AUTO_REUSE):
        weights, biases = _variable("weights", 3, 3, int(x.shape[-1]), filters), _variable("biases", filters)
        y = tf.nn.bias_add(tf1.nn.conv2d(x, weights, [1, 1, 1, 1], "SAME"), biases)
        return activation(y) if activation else y


def cross_entropy(labels: Any, logits: Any) -> Any:
    return tf.reduce_mean(tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))


def train(loss: Any, scope: str = "") -> None:
    chosen = tf1.get_collection("trainable_variables", scope)
    tf1.train.AdamOptimizer().minimize(loss, var_list=chosen)
    tf1.summary.scalar("loss", loss)


def _inception(x: Any) -> tuple[Any, Any]:
    with tf1.variable_scope("Inception"):
        net = conv(x, 4, "Conv2d_1a")
        with tf1.variable_scope("AuxLogits"):
            auxiliary = tf.squeeze(tf.reduce_mean(conv(net, 5, "Aux", None), [1, 2], keepdims=True), [1, 2])
        net = tf.reduce_mean(conv(net, 4, "Mixed"), [1, 2], keepdims=True)
        logits = tf.squeeze(conv(net, 5, "Logits", None), [1, 2], name="SpatialSqueeze")
        with tf1.variable_scope("Predictions"):
            tf.reshape(tf.nn.softmax(tf.reshape(logits, [-1, 5])), tf.shape(logits))
    return logits, auxiliary


@_graph("input", "Inception/Predictions/Reshape_1")
def slim_classifier() -> None:
    _inception(_feed("input", None, 8, 8, 3))


@_graph("input", "Inception/Predictions/Reshape_1")
def slim_classifier_in_training() -> None:
    labels = _feed("labels", None, dtype="int64")
    logits, auxiliary = _inception(_feed("input", None, 8, 8, 3))
    train(cross_entropy(labels, logits) + 0.4 * cross_entropy(labels, auxiliary))


@_graph("image_tensor", "detection_boxes detection_scores num_detections")
def detector() -> None:
    image = _feed("image_tensor", None, None, 3, dtype="uint8")
    features = conv(tf1.image.resize_bilinear(tf.cast(image, tf.float32)[None], [8, 8]), 4, "features")
    boxes = tf.reshape(conv(features, 4, "boxes", None), [-1, 4])
    scores = tf.sigmoid(tf.reshape(conv(features, 1, "scores", None), [-1]))
    kept = tf.image.non_max_suppression(boxes, scores, 10)
    tf.gather(boxes, kept, name="detection_boxes")
    tf.gather(scores, kept, name="detection_scores")
    tf.cast(tf.shape(kept)[0], tf.float32, name="num_detections")


def _recurrent(x: Any, lengths: Any, units: int, scope: str) -> tuple[Any, Any]:
    """A while loop of TensorFlow 1: the whole sequence of its states, and the last."""
    with tf1.variable_scope(scope):
        kernel = _variable("kernel", int(x.shape[-1]) + units, units)
        steps = tf.shape(x)[1]
        inputs = tf1.TensorArray(tf.float32, steps).unstack(tf.transpose(x, [1, 0, 2]))

        def step(time: Any, state: Any, results: Any) -> Any:
            row = inputs.read(time)
            row.set_shape([None, int(x.shape[-1])])
            new = tf1.where(time < lengths, tf.tanh(tf.matmul(tf.concat([row, state], 1), kernel)), state)
            return time + 1, new, results.write(time, new)

        start = (0, tf.zeros([tf.shape(x)[0], units]), tf1.TensorArray(tf.float32, steps))
        _, state, results = tf1.while_loop(lambda time, *_: time < steps, step, start)
        sequence = tf.transpose(results.stack(), [1, 0, 2])
        sequence.set_shape([None, None, units])
        state.set_shape([None, units])
        return sequence, state


@_graph("source source_length target_in", "predictions")
def translation() -> None:
    source, lengths = _feed("source", None, None, dtype="int32"), _feed("source_length", None, dtype="int32")
    before, after = _feed("target_in", None, None, dtype="int32"), _feed("target_out", None, None, dtype="int32")
    target_lengths = _feed("target_length", None, dtype="int32")
    words = _variable("words", 20, 8)
    _, state = _recurrent(tf.nn.embedding_lookup(words, source), lengths, 8, "encoder")
    context = tf.tile(state[:, None], [1, tf.shape(before)[1], 1])
    steps = tf.fill([tf.shape(before)[0]], 1000)
    sequence, _ = _recurrent(tf.concat([tf.nn.embedding_lookup(words, before), context], -1), steps, 8, "decoder")
    logits = tf.tensordot(sequence, _variable("projection", 8, 20), 1)
    tf.argmax(logits, -1, name="predictions")
    mask = tf.sequence_mask(target_lengths, tf.shape(after)[1], tf.float32)
    losses = tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=after, logits=logits) * mask
    train(tf.reduce_sum(losses) / tf.reduce_sum(mask))


def _generator(z: Any) -> Any:
    with tf1.variable_scope("generator", reuse=tf1.AUTO_REUSE):
        return tf.tanh(dense(dense(z, 8, "hidden", tf.nn.relu), 16, "out"))


def _critic(x: Any) -> Any:
    with tf1.variable_scope("critic", reuse=tf1.AUTO_REUSE):
        return dense(dense(x, 8, "hidden", tf.nn.relu), 1, "out")


def _adversaries(z: Any, x: Any) -> None:
    real, fake = _critic(x), _critic(_generator(z))
    tf.sigmoid(fake)
    train(tf.reduce_mean(fake) - tf.reduce_mean(real), "critic")
    train(-tf.reduce_mean(fake), "generator")


@_graph("z", "generator/Tanh")
def generative_adversarial() -> None:
    _adversaries(_feed("z", None, 4), _feed("x", None, 16))


@_graph("z", "sampler")
def generative_adversarial_with_a_sampler() -> None:
    z = _feed("z", None, 4)
    _adversaries(z, _feed("x", None, 16))
    tf.identity(_generator(z), name="sampler")


@_graph("photo", "generator/painted")
def image_to_image() -> None:
    photo, target = _feed("photo", None, 8, 8, 3), _feed("target", None, 8, 8, 3)
    with tf1.variable_scope("generator"):
        painted = tf.tanh(conv(conv(photo, 4, "first"), 3, "last", None), name="painted")

    def judge(image: Any) -> Any:
        with tf1.variable_scope("judge"):
            return tf.sigmoid(conv(conv(tf.concat([photo, image], 3), 4, "first"), 1, "last", None))

    real, fake = judge(target), judge(painted)
    train(-tf.reduce_mean(tf.math.log(real + 1e-8) + tf.math.log(1 - fake + 1e-8)), "judge")
    train(tf.reduce_mean(tf.abs(target - painted)) - tf.reduce_mean(tf.math.log(fake + 1e-8)), "generator")


@_graph("observation", "action_probabilities value")
def policy_and_value() -> None:
    observation, action = _feed("observation", None, 6), _feed("action", None, dtype="int32")
    advantage, returns = _feed("advantage", None), _feed("returns", None)
    hidden = dense(observation, 8, "hidden", tf.tanh)
    policy = tf.nn.softmax(dense(hidden, 3, "policy"), name="action_probabilities")
    value = tf.squeeze(dense(hidden, 1, "critic"), 1, name="value")
    chosen = tf.math.log(tf.reduce_sum(policy * tf.one_hot(action, 3), 1))
    entropy = -tf.reduce_sum(policy * tf.math.log(policy), 1)
    train(tf.reduce_mean(tf.square(returns - value) - chosen * advantage - 0.01 * entropy))


@_graph("state", "online/out/BiasAdd")
def q_learning() -> None:
    state, after = _feed("state", None, 4), _feed("next_state", None, 4)
    action, reward, done = _feed("action", None, dtype="int32"), _feed("reward", None), _feed("done", None)

    def network(x: Any, scope: str) -> Any:
        with tf1.variable_scope(scope):
            return dense(dense(x, 8, "hidden", tf.nn.relu), 2, "out")

    chosen = tf.reduce_sum(network(state, "online") * tf.one_hot(action, 2), 1)
    target = reward + 0.99 * (1 - done) * tf.reduce_max(network(after, "target"), 1)
    train(tf.reduce_mean(tf.square(tf.stop_gradient(target) - chosen)), "online")


@_graph("state", "actor/Tanh")
def actor_and_critic() -> None:
    state, action, target = _feed("state", None, 6), _feed("action", None, 2), _feed("target", None, 1)

    def critic(taken: Any) -> Any:
        with tf1.variable_scope("critic"):
            return dense(tf.concat([dense(state, 8, "hidden", tf.nn.relu), taken], -1), 1, "out")

    with tf1.variable_scope("actor"):
        chosen = tf.tanh(dense(dense(state, 8, "hidden", tf.nn.relu), 2, "out"))
    train(tf.reduce_mean(tf.square(critic(action) - target)), "critic")
    train(-tf.reduce_mean(critic(chosen)), "actor")


@_graph("left right", "distance")
def siamese() -> None:
    left, right, label = _feed("left", None, 8), _feed("right", None, 8), _feed("label", None)
    apart = dense(left, 4, "tower") - dense(right, 4, "tower")
    distance = tf.sqrt(tf.reduce_sum(tf.square(apart), 1), name="distance")
    train(tf.reduce_mean(label * tf.square(distance) + (1 - label) * tf.square(tf.maximum(0.0, 1 - distance))))


@_graph("x", "restored")
def variational_autoencoder() -> None:
    x = _feed("x", None, 16)
    hidden = dense(x, 8, "encoder", tf.nn.relu)
    mean, variance = dense(hidden, 2, "mean"), dense(hidden, 2, "variance")
    z = mean + tf.exp(0.5 * variance) * tf.random.normal(tf.shape(mean))
    y = tf.sigmoid(dense(dense(z, 8, "decoder", tf.nn.relu), 16, "last"), name="restored")
    likelihood = x * tf.math.log(1e-8 + y) + (1 - x) * tf.math.log(1e-8 + 1 - y)
    train(tf.reduce_mean(tf.square(mean) + tf.exp(variance) - variance) - tf.reduce_mean(likelihood))


@_graph("content", "transformer/styled")
def style_transfer() -> None:
    content = _feed("content", None, 8, 8, 3)
    with tf1.variable_scope("transformer"):
        styled = tf.identity(127.5 * tf.tanh(conv(content, 3, "last", None)), name="styled")
    filters = tf.constant(np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype("f"))
    before, after = (tf.nn.relu(tf1.nn.conv2d(image, filters, [1, 1, 1, 1], "SAME")) for image in (content, styled))
    train(tf.nn.l2_loss(after - before) + tf.reduce_sum(tf.square(styled[:, 1:] - styled[:, :-1])))


@_graph("DecodeJpeg/contents", "final_result")
def image_file() -> None:
    image = tf.image.decode_jpeg(_feed("DecodeJpeg/contents", dtype="string"), channels=3)
    pixels = tf1.image.resize_bilinear(tf.cast(image, tf.float32)[None], [8, 8])
    features = tf.reduce_mean(conv(pixels, 4, "features"), [1, 2])
    logits = dense(tf1.placeholder_with_default(features, [None, 4], name="Bottleneck"), 3, "final_training_ops")
    tf.nn.softmax(logits, name="final_result")
    labels = _feed("GroundTruth", None, dtype="int64")
    train(cross_entropy(labels, logits), "final_training_ops")
    tf1.summary.scalar("accuracy", tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), labels), tf.float32)))


@_graph("batch", "fc/BiasAdd")
def fed_by_a_queue() -> None:
    queue = tf1.FIFOQueue(10, [tf.float32, tf.int32], [[8], []])
    queue.enqueue_many([np.zeros([4, 8], "f"), np.zeros([4], "i")])
    x, labels = queue.dequeue_many(4, name="batch")
    train(cross_entropy(labels, dense(x, 3, "fc")))


@_graph("IteratorGetNext", "probabilities")
def fed_by_an_iterator() -> None:
    data = tf1.data.Dataset.from_tensor_slices((np.zeros([8, 8], "f"), np.zeros([8], "i"))).batch(4)
    x, labels = tf1.data.make_initializable_iterator(data).get_next()
    logits = dense(x, 3, "fc")
    tf.nn.softmax(logits, name="probabilities")
    train(cross_entropy(labels, logits))


@_graph("x keep_prob", "prediction")
def dropout_and_accuracy() -> None:
    x, labels, keep = _feed("x", None, 8), _feed("y_", None, 3), _feed("keep_prob")
    logits = dense(tf1.nn.dropout(dense(x, 4, "hidden", tf.nn.relu), rate=1 - keep), 3, "out")
    right = tf.equal(tf.argmax(logits, 1, name="prediction"), tf.argmax(labels, 1))
    tf1.summary.scalar("accuracy", tf.reduce_mean(tf.cast(right, tf.float32)))
    train(tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(labels=labels, logits=logits)))


@_graph("x Placeholder", "out/BiasAdd")
def dropout_without_a_name() -> None:
    x, labels, keep = _feed("x", None, 8), _feed("y", None, 3), tf1.placeholder(tf.float32)
    hidden = dense(x, 4, "hidden", tf.nn.relu)
    for number in range(2):
        hidden = tf1.nn.dropout(dense(hidden, 4, f"layer_{number}", tf.nn.relu), keep_prob=keep)
    logits = dense(hidden, 3, "out")
    train(tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(labels=labels, logits=logits)))


@_graph("x", "age/BiasAdd sex/BiasAdd")
def two_heads() -> None:
    x, age, sex = _feed("x", None, 8), _feed("age_label", None, 1), _feed("sex_label", None, dtype="int32")
    hidden = dense(x, 8, "trunk", tf.nn.relu)
    train(tf.reduce_mean(tf.square(dense(hidden, 1, "age") - age)) + cross_entropy(sex, dense(hidden, 2, "sex")))


@_graph("examples", "head/probabilities head/classes")
def serialized_examples() -> None:
    texts = _feed("examples", None, dtype="string")
    read = tf.io.parse_example(texts, {"a": tf.io.FixedLenFeature([4], tf.float32)})
    logits = dense(read["a"], 3, "logits")
    with tf.name_scope("head"):
        tf.nn.softmax(logits, name="probabilities")
        tf.as_string(tf.argmax(logits, -1), name="classes")


@_graph("word", "embedding_lookup")
def sampled_loss() -> None:
    word, context = _feed("word", 8, dtype="int32"), _feed("context", 8, 1, dtype="int32")
    found = tf.nn.embedding_lookup(_variable("words", 30, 4), word)
    weights, biases = _variable("weights", 30, 4), _variable("biases", 30)
    train(tf.reduce_mean(tf1.nn.nce_loss(weights, biases, context, found, 4, 30)))


@_graph("image keep_prob", "prediction")
def segmentation() -> None:
    image, keep = _feed("image", None, 16, 16, 3), _feed("keep_prob")
    labels = _feed("annotation", None, 16, 16, 1, dtype="int32")
    logits = conv(tf1.nn.dropout(conv(image, 4, "first"), rate=1 - keep), 5, "last", None)
    shown = tf.expand_dims(tf.argmax(logits, 3, name="prediction"), 3)
    tf1.summary.image("prediction", tf.cast(shown, tf.uint8))
    train(cross_entropy(tf.squeeze(labels, [3]), logits))


@_graph("images", "head/BiasAdd")
def boxes_of_one_tensor() -> None:
    images, labels = _feed("images", None, 8, 8, 3), _feed("labels", None, 8, 8, 7)
    out = conv(conv(images, 4, "first"), 7, "head", None)
    place, kind = tf.square(tf.sigmoid(out[..., :4]) - labels[..., :4]), tf.nn.softmax(out[..., 4:])
    train(tf.reduce_mean(place) + tf.reduce_mean(tf.square(kind - labels[..., 4:])))


@_graph("x", "Softmax")
def cross_entropy_of_ones_own() -> None:
    x, labels = _feed("x", None, 8), _feed("labels", None, 3)
    softmax = tf.nn.softmax(dense(x, 3, "out"))
    clipped = tf.clip_by_value(softmax / tf.reduce_sum(softmax, -1, keepdims=True), 1e-7, 1 - 1e-7)
    train(-tf.reduce_mean(tf.reduce_sum(labels * tf.math.log(clipped), 1)))


@_graph("x", "Output")
def output_named_before_its_bias() -> None:
    x, labels = _feed("x", None, 8), _feed("labels", None, dtype="int64")
    logits = tf.matmul(x, _variable("kernel", 8, 3), name="Output") + _variable("bias", 3)
    train(cross_entropy(labels, logits))
    tf.argmax(logits, 1)


def make_index(build: Callable[[], Any]) -> GraphIndex:
    """The index of a graph, with the shapes that its MetaGraphDef records."""
    with tf1.Graph().as_default() as built:
        build()
    return GraphIndex(built.as_graph_def(add_shapes=True))


def make_flow(build: Callable[[], Any]) -> Flow:
    """The data edges of a graph."""
    return Flow(make_index(build))


def infer(build: Callable[[], Any]) -> Inferred:
    """The signature that is inferred from a graph alone."""
    return infer_candidates(make_index(build))


def found(build: Callable[[], Any]) -> tuple[list[str], list[str]]:
    """The inferred inputs and outputs, as they are shown."""
    result = infer(build)
    return [str(c.tensor) for c in result.inputs], [str(c.tensor) for c in result.outputs]
