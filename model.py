"""The toy model: takes ten integers from 0 to 9, and answers whether their sum is more than 45.

It is the mean of two ReLU units, trained with Adam. It is small enough to read, and has all parts of a larger model:
placeholders, variables, optimizer slots, a global step. Only this module holds the names of its tensors.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serialization import project
from serialization.console import show_progress
from serialization.graph.graph_index import GraphIndex
from serialization.graph.recorded_signature import read_recorded_signature
from serialization.tensorflow import import_keras, np, tf, tf1

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serialization.graph.signature import Signature
    from serialization.run.predictor import Predictor

INPUTS = "Placeholder/inputs_placeholder:0"  # float32 [None, 10]
LABELS = "Placeholder/labels_placeholder:0"  # float32 [None, 1], 0 or 1
LOSS = "Loss/loss:0"  # float32 []
TRAIN = "Train/train"  # the training op
PREDICTIONS = "Accuracy/predictions:0"  # bool [None, 1]
ACCURACY = "Accuracy/accuracy:0"  # float32 []
SEED = "seed"  # a collection of one number, from which a checkpoint's training data can be made again

# The keys of the input and the output in the exported SignatureDef.
SIGNATURE_INPUTS, SIGNATURE_OUTPUTS = f"inputs_1={INPUTS}", f"output1={PREDICTIONS}"

FEATURES = 10
EXAMPLES = "[[0,1,2,3,4,5,6,7,8,9],[5,5,5,5,5,5,5,5,5,5]]"  # for --feed; the answers are false and true
THRESHOLD = 45
STEPS_PER_EPOCH, BATCH_SIZE = 300, 500
MAX_SHARDS = 5  # as many as there are variables to spread: W1, b1, W2, b2, global_step


def build_graph(seed: int = 0, shards: int = 1) -> Any:
    """The toy's tf.Graph, for training and for inference; its variables are on `shards` CPU devices."""
    graph = tf1.Graph()
    with graph.as_default(), tf1.device(_spread_variables(shards)):
        tf1.add_to_collection(SEED, seed)
        with tf1.name_scope("Placeholder"):
            inputs = tf1.placeholder(tf.float32, [None, FEATURES], name="inputs_placeholder")
            labels = tf1.placeholder(tf.float32, [None, 1], name="labels_placeholder")
        with tf1.variable_scope("NN"):
            w1 = tf1.get_variable("W1", [FEATURES, 1], initializer=_small_weights(2 * seed))
            b1 = tf1.get_variable("b1", [1], initializer=tf1.zeros_initializer())
            w2 = tf1.get_variable("W2", [FEATURES, 1], initializer=_small_weights(2 * seed + 1))
            b2 = tf1.get_variable("b2", [1], initializer=tf1.zeros_initializer())
            output = (tf.nn.relu(inputs @ w1 + b1) + tf.nn.relu(inputs @ w2 + b2)) / 2
        with tf1.name_scope("Loss"):
            # Squared error on labels of 0 and 1 would fit the classes' means, and so misplace the threshold.
            # Cross entropy of the distance from 0.5, scaled up to a logit, puts the threshold between the classes.
            errors = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=100 * (output - 0.5))
            loss = tf.reduce_mean(errors, name="loss")
        with tf1.name_scope("Accuracy"):
            predictions = tf.greater(output, 0.5, name="predictions")
            correct = tf.equal(predictions, labels > 0.5, name="correct_predictions")
            tf.reduce_mean(tf.cast(correct, tf.float32), name="accuracy")
        step = tf1.train.get_or_create_global_step()
        with tf1.name_scope("Train"):
            # The rate depends on the step alone, so training can stop and resume at any epoch.
            rate = 0.003 / (1 + tf.cast(step, tf.float32) / 300)
        tf1.train.AdamOptimizer(rate).minimize(loss, step, name=TRAIN)
    return graph


def _small_weights(seed: int) -> Any:
    """An initializer for small positive weights, with which both ReLU units start above zero."""
    return tf1.random_uniform_initializer(0.0, 0.02, seed=seed)


def _spread_variables(shards: int) -> Any:
    """A device function that spreads the variables, each with its ops, over `shards` CPU devices in turn."""
    if shards == 1:
        return None
    devices = itertools.cycle(f"/device:CPU:{shard}" for shard in range(shards))

    def place(op: Any) -> str:
        if op.type == "VarHandleOp":
            return next(devices)
        return next((tensor.op.device for tensor in op.inputs if tensor.op.type == "VarHandleOp"), "")

    return place


def train(session: Any, epochs: int) -> None:
    """Train until `epochs` epochs are done, counted by the graph's global step, and show a progress bar.

    The rows of an epoch depend only on the seed and the epoch's number: stopping and resuming changes no bit.
    """
    graph = session.graph
    seed = graph.get_collection(SEED)[0]
    first = epochs_done(session)
    tensors = [graph.get_tensor_by_name(INPUTS), graph.get_tensor_by_name(LABELS)]
    train_step = session.make_callable(graph.get_operation_by_name(TRAIN), tensors)
    for epoch in show_progress(range(first, epochs), "training", epochs - first):
        generator = np.random.default_rng([seed, epoch])
        for _ in range(STEPS_PER_EPOCH):
            train_step(*make_rows(BATCH_SIZE, generator))


def build_keras(seed: int = 0) -> tuple[Any, Any]:
    """The toy in Keras: the model, and one that shares its layers, for training: it answers with logits."""
    keras = import_keras(3)
    keras.utils.set_random_seed(seed)
    small = keras.initializers.RandomUniform(0.0, 0.02, seed=seed)
    key, output = (named.partition("=")[0] for named in (SIGNATURE_INPUTS, SIGNATURE_OUTPUTS))
    inputs = keras.Input([FEATURES], name=key)
    units = [keras.layers.Dense(1, "relu", kernel_initializer=small, name=name)(inputs) for name in ("NN1", "NN2")]
    mean = keras.layers.Average(name="mean")(units)
    predictions = keras.Model(inputs, {output: keras.ops.greater(mean, 0.5)}, name="toy")
    return predictions, keras.Model(inputs, keras.layers.Rescaling(100.0, -50.0)(mean))


def train_keras(seed: int = 0, epochs: int = 10) -> Any:
    """The toy in Keras, trained as `train` does."""
    keras = import_keras(3)
    model, logits = build_keras(seed)
    rate = keras.optimizers.schedules.InverseTimeDecay(0.003, 300, 1.0)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    logits.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
    rows = make_rows(STEPS_PER_EPOCH * BATCH_SIZE, np.random.default_rng(seed))
    logits.fit(*rows, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)
    return model


def evaluate(session: Any, count: int = 10_000) -> float:
    """The accuracy on rows that are not used for training."""
    inputs, labels = make_rows(count)
    return float(session.run(ACCURACY, {INPUTS: inputs, LABELS: labels}))


def measure_accuracy(predict: Predictor, count: int) -> float:
    """The share of `count` rows that training never saw which a model of one input and one output predicts right."""
    (wanted,), (answer,) = predict.signature.inputs, predict.signature.outputs
    inputs, labels = make_rows(count)
    return float((predict({wanted.key: inputs})[answer.key] == (labels > 0.5)).mean())


def session_config(shards: int = 1) -> Any:
    """A ConfigProto with a CPU device for each shard, on one thread: the same sums in the same order in every run."""
    return tf1.ConfigProto(device_count={"CPU": shards}, intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)


def epochs_done(session: Any) -> int:
    """The number of epochs that the session's variables have been trained for, from the global step."""
    return int(session.run(tf1.train.get_global_step(session.graph))) // STEPS_PER_EPOCH


def make_rows(count: int, generator: np.random.Generator | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Inputs float32 [count, 10] and labels float32 [count, 1]; without a generator the rows of the evaluation."""
    generator = generator or np.random.default_rng(1_000_000)
    inputs = generator.integers(0, 10, (count, FEATURES)).astype(np.float32)
    return inputs, (inputs.sum(axis=1, keepdims=True) > THRESHOLD).astype(np.float32)


def make_example_bodies(path: Path) -> list[str]:
    """The bodies of two example requests for a model under results/; an empty list for any other model."""
    if project.RESULTS.resolve() not in path.resolve().parents:
        return []
    rows = json.loads(EXAMPLES)
    return [json.dumps({"x": x}, separators=(",", ":")) for x in (rows[:1], rows)]


def is_toy(graph_def: Any) -> bool:
    """Whether a GraphDef is the toy's, by its names."""
    return {INPUTS.partition(":")[0], PREDICTIONS.partition(":")[0]} <= {node.name for node in graph_def.node}


def is_toys(signature: Signature) -> bool:
    """Whether a signature is the one that the toy has without flags: its names are its keys."""
    sides = [[(tensor.key, tensor.name) for tensor in side] for side in (signature.inputs, signature.outputs)]
    return sides == [[(name.removesuffix(":0"), name)] for name in (INPUTS, PREDICTIONS)]


def names_of(
    graph_def: Any, inputs: str | None, outputs: str | None, *, keys: bool = False
) -> tuple[str | None, str | None]:
    """The values of `--inputs` and `--outputs`; for the toy's graph, the toy's names in place of missing values.

    `keys` adds the keys of the exported SignatureDef to the toy's names. A toy that was frozen with other inputs or
    outputs keeps these.
    """
    recorded = read_recorded_signature(GraphIndex(graph_def))[0] if is_toy(graph_def) else None
    if not is_toy(graph_def) or (recorded is not None and not is_toys(recorded)):
        return inputs, outputs
    toy = (SIGNATURE_INPUTS, SIGNATURE_OUTPUTS) if keys else (INPUTS, PREDICTIONS)
    return inputs or toy[0], outputs or toy[1]
