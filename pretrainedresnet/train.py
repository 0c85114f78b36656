"""Train the small residual network in pretrainedresnet/1 on Fashion-MNIST and export it as a SavedModel.

The call it teaches: tf.compat.v1.saved_model.simple_save, on a graph made for serving. One function builds
the network twice: among all that training needs, and alone in a fresh graph, which gets the trained weights.
Only that second graph is exported.

Train it again, about ten minutes on two cores, and replace the one that is there:

    python pretrainedresnet/train.py --overwrite

A quick look, one epoch, elsewhere:

    python pretrainedresnet/train.py --epochs 1 --export-dir /tmp/resnet

Write the sample images, the labels and the test images again, without training:

    python pretrainedresnet/train.py --samples
"""

from __future__ import annotations

import gzip
import math
import re
import sys
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # the project's folder, from wherever this is run

from serialization import cli  # noqa: E402
from serialization.console import format_command, show_path, show_progress  # noqa: E402
from serialization.errors import UserError  # noqa: E402
from serialization.files.publish import stage_output  # noqa: E402
from serialization.parser import make_parser  # noqa: E402
from serialization.tensorflow import np  # noqa: E402
from serialization.tensorflow import tf1 as tf  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray

DATA = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package puts it
LABELS: tuple[str, ...] = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat")
LABELS += ("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
SAMPLES = 2  # images of each class
TEST_DATA = HERE.parent / "tests" / "data" / "fashion_mnist_1000.npz"

# The network: a stem, then for each entry one stage, the image halved from stage to stage.
FILTERS = (16, 32, 64)
BLOCKS = 1  # residual blocks a stage, two convolutions each
# The training.
EPOCHS = 12
BATCH = 64
LEARNING_RATE = 0.05  # at the start; a cosine takes it to zero
WEIGHT_DECAY = 5e-4
MOMENTUM = 0.9
AVERAGING = 0.99  # of the batch statistics that serving uses
SHIFT = 1  # pixels an image may move each way


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read a gzipped IDX file of bytes (yann.lecun.com/exdb/mnist): magic, shape (big-endian), data."""
    try:
        raw = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged; {error}; {install_hint()}") from error
    header = 4 + 4 * dimensions
    shape = [int.from_bytes(raw[i : i + 4], "big") for i in range(4, header, 4)]
    if raw[:4] != bytes([0, 0, 8, dimensions]) or len(raw) != header + math.prod(shape):
        raise UserError(f"{path} is no IDX file of {dimensions} dimensions; {install_hint()}")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def install_hint() -> str:
    return "install the data with: apt-get install dataset-fashion-mnist, or name its folder with --data"


def load_split(folder: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images uint8 [n, 28, 28, 1] and labels uint8 [n] of "train" (n = 60,000) or "t10k" (n = 10,000)."""
    images, labels = folder / f"{split}-images-idx3-ubyte.gz", folder / f"{split}-labels-idx1-ubyte.gz"
    for path in (images, labels):
        if not path.is_file():
            raise UserError(f"Fashion-MNIST is missing; there is no {path}; {install_hint()}")
    return read_idx(images, 3)[..., np.newaxis], read_idx(labels, 1)


def build_network(images: Any, training: bool) -> Any:
    """Logits float32 [n, 10] for images uint8 [n, 28, 28, 1]; after arXiv:1512.03385, section 4.2."""
    he_normal = tf.initializers.variance_scaling(2.0, "fan_out")

    def variable(name: str, shape: list[int], initializer: Any, trainable: bool = True) -> Any:
        # For serving the trained weights are loaded: random initializers would be dead ops in the export.
        initializer = initializer if training else tf.zeros_initializer()
        return tf.get_variable(name, shape, initializer=initializer, trainable=trainable, use_resource=True)

    def convolve(x: Any, filters: int, size: int, stride: int, name: str, gamma: float = 1.0) -> Any:
        """A convolution without bias, then batch normalization, which has its own."""
        with tf.variable_scope(name):
            kernel = variable("kernel", [size, size, int(x.shape[-1]), filters], he_normal)
            scale = variable("gamma", [filters], tf.constant_initializer(gamma))
            offset = variable("beta", [filters], tf.zeros_initializer())
            mean = variable("moving_mean", [filters], tf.zeros_initializer(), trainable=False)
            variance = variable("moving_variance", [filters], tf.ones_initializer(), trainable=False)
        x = tf.nn.conv2d(x, kernel, strides=stride, padding="SAME")
        if not training:
            return tf.nn.fused_batch_norm(x, scale, offset, mean, variance, is_training=False)[0]
        x, batch_mean, batch_variance = tf.nn.fused_batch_norm(x, scale, offset)
        for average, value in ((mean, batch_mean), (variance, batch_variance)):
            update = average.assign_sub((1 - AVERAGING) * (average - value), read_value=False)
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
        return x

    # uint8 goes in, so that whoever serves the model sends an image as it is.
    x = tf.cast(images, tf.float32) / 255.0
    x = tf.nn.relu(convolve(x, FILTERS[0], 3, 1, "stem"))
    for stage, filters in enumerate(FILTERS):
        for block in range(BLOCKS):
            stride = 2 if stage and not block else 1
            with tf.variable_scope(f"stage{stage + 1}_block{block + 1}"):
                # A block can only be skipped by the identity where the shape stays; else a 1x1 projection.
                shortcut = x if x.shape[-1] == filters else convolve(x, filters, 1, stride, "project")
                y = tf.nn.relu(convolve(x, filters, 3, stride, "conv1"))
                # gamma 0: each block starts as its shortcut (arXiv:1706.02677), which trains more steadily.
                x = tf.nn.relu(shortcut + convolve(y, filters, 3, 1, "conv2", gamma=0.0))
    x = tf.reduce_mean(x, axis=[1, 2])
    with tf.variable_scope("dense"):
        kernel = variable("kernel", [FILTERS[-1], len(LABELS)], tf.initializers.glorot_uniform())
        bias = variable("bias", [len(LABELS)], tf.zeros_initializer())
        return tf.matmul(x, kernel) + bias


def augment_images(images: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Shift each image by up to SHIFT pixels each way, and mirror about half of them; the shape stays."""
    n, height, width, _ = images.shape
    padded = np.pad(images[..., 0], ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (1, height, width))[:, :, :, 0]
    down, right = random.integers(0, 2 * SHIFT + 1, (2, n))
    shifted: NDArray[np.uint8] = windows[np.arange(n), down, right]
    mirror = random.random(n) < 0.5
    shifted[mirror] = shifted[mirror, :, ::-1]
    return np.expand_dims(shifted, -1)


def train_network(images: NDArray[np.uint8], labels: NDArray[np.uint8], epochs: int, seed: int) -> dict[str, Any]:
    """Train on all images, epochs times; the weights, and what serving needs besides, by variable name."""
    random = np.random.default_rng(seed)
    steps = len(images) // BATCH
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(seed)
        image_input = tf.placeholder(tf.uint8, [None, 28, 28, 1])
        label_input = tf.placeholder(tf.int32, [None])
        rate_input = tf.placeholder(tf.float32, [])
        logits = build_network(image_input, training=True)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label_input, logits=logits))
        weights = {variable.op.name: variable for variable in tf.global_variables()}  # no optimizer yet
        kernels = [v for v in tf.trainable_variables() if "kernel" in v.name]
        decay = WEIGHT_DECAY * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])
        optimizer = tf.train.MomentumOptimizer(rate_input, MOMENTUM, use_nesterov=True)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train = optimizer.minimize(loss + decay)
        session.run(tf.global_variables_initializer())
        step_once = session.make_callable([train, loss], [image_input, label_input, rate_input])

        for epoch in range(epochs):
            losses = []
            order = random.permutation(len(images))
            for step in show_progress(range(steps), f"epoch {epoch + 1}/{epochs}", steps):
                rows = order[step * BATCH : (step + 1) * BATCH]
                done = (epoch * steps + step) / (epochs * steps)
                rate = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * done))
                losses.append(step_once(augment_images(images[rows], random), labels[rows], rate)[1])
            with suppress(BrokenPipeError):  # `train.py | head`: training and export go on without a reader
                print(f"epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.4f}", flush=True)
        trained: dict[str, Any] = session.run(weights)
        return trained


def export_network(weights: dict[str, Any], folder: Path) -> None:
    """Build the network alone in a fresh graph, load the weights into it, and write that as a SavedModel."""
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.uint8, [None, 28, 28, 1], name="input_tensor")
        logits = build_network(images, training=False)
        classes = tf.argmax(logits, axis=1, name="ArgMax")
        probabilities = tf.nn.softmax(logits, name="softmax_tensor")
        # Not through a Saver: simple_save makes its own, and the ops of both would stay in the export.
        for variable in tf.global_variables():
            variable.load(weights[variable.op.name], session)
        tf.saved_model.simple_save(
            session, str(folder), {"input": images}, {"classes": classes, "probabilities": probabilities}
        )


def measure_accuracy(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> float:
    """The share of images that the SavedModel, loaded from its files, puts into the right class."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.saved_model.load(session, ["serve"], str(folder))
        classes = [
            session.run("ArgMax:0", {"input_tensor:0": images[row : row + 500]}) for row in range(0, len(images), 500)
        ]
    return float(np.mean(np.concatenate(classes) == labels))


def write_samples(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    """Write labels.txt, samples/ (the first test images of each class) and TEST_DATA (the first 1,000)."""
    (HERE / "labels.txt").write_text("\n".join(LABELS) + "\n")
    (HERE / "samples").mkdir(exist_ok=True)
    with tf.Graph().as_default(), tf.Session() as session:
        image = tf.placeholder(tf.uint8, [28, 28, 1])
        png = tf.image.encode_png(image, compression=9)
        for number, label in enumerate(LABELS):
            name = re.sub("[^a-z]", "_", label.lower())
            for count, row in enumerate(np.flatnonzero(labels == number)[:SAMPLES]):
                path = HERE / "samples" / f"{name}_{count}.png"
                path.write_bytes(session.run(png, {image: images[row]}))
    TEST_DATA.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(TEST_DATA, images=images[:1000], labels=labels[:1000])


def main(argv: Sequence[str] | None = None) -> int:
    default = HERE / "1"
    parser = make_parser(__doc__, "overwrite", "samples", data=DATA, export_dir=default, epochs=EPOCHS, seed=1)
    args = parser.parse_args(argv)
    started = time.monotonic()

    test_images, test_labels = load_split(args.data, "t10k")
    if args.samples:
        write_samples(test_images, test_labels)
        print(f"wrote {show_path(HERE / 'samples')}, {show_path(HERE / 'labels.txt')} and {show_path(TEST_DATA)}")
        return 0
    images, labels = load_split(args.data, "train")
    with stage_output(args.export_dir, overwrite=args.overwrite) as folder:
        export_network(train_network(images, labels, args.epochs, args.seed), folder)
        accuracy = measure_accuracy(folder, test_images, test_labels)
    print(f"proved: {accuracy:.4f} of {len(test_images):,} test images are right, measured on the exported files")
    print(f"trained in {(time.monotonic() - started) / 60:.1f} minutes")
    print(f"next: {format_command('savedmodel_pretrained.py', '--saved-model', args.export_dir)}")
    return 0


if __name__ == "__main__":
    cli.run(main)
