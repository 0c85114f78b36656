"""Decodes and resizes image files into the arrays that a classifier takes, with TensorFlow's own ops."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serialization.console import format_count, show_path
from serialization.errors import UserError
from serialization.formats.file_kind import require_plain_file
from serialization.formats.image_files import read_orientation
from serialization.formats.numpy_dtypes import get_numpy_dtype
from serialization.graph.signature import Tensor
from serialization.run.predictor import open_session
from serialization.tensorflow import np, quiet, tf, tf1

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHANNELS = (1, 3, 4)
_MIRRORED = ((1, 1), (1, -1), (-1, -1), (-1, 1))  # the steps through rows and columns, for orientations 1 to 4


@dataclass(frozen=True)
class ImageInput:
    """The layout of the images that a classifier takes. `batch`, `height` and `width` are None if any size is taken."""

    tensor: Tensor
    batch: int | None
    height: int | None
    width: int | None
    channels: int
    channels_first: bool


def describe_image_input(tensor: Tensor) -> ImageInput:
    """Read batch, height, width and channels from the shape of an input. Raises UserError if it takes no images."""
    shape = tensor.shape
    if shape is None or len(shape) != 4 or tensor.dtype in ("string", "bool"):
        raise UserError(f"{tensor} takes no images; a batch of images has 4 dimensions of numbers")
    batch, a, b, c = shape
    if c in _CHANNELS:
        return ImageInput(tensor, batch, a, b, c, channels_first=False)
    if a in _CHANNELS:
        return ImageInput(tensor, batch, b, c, a, channels_first=True)
    return ImageInput(tensor, batch, a, b, 3, channels_first=False)


def decode_images(
    files: Sequence[Path], image_input: ImageInput, mean: NDArray[Any], std: NDArray[Any]
) -> list[NDArray[Any]]:
    """Each file's pixels, [height, width, channels] or channels first, in the input's dtype.

    Pixels are 0 to 255. Images are resized, with antialiasing, if the input has a fixed size. An integer dtype gets
    rounded pixels. A float dtype gets pixels less `mean`, divided by `std`, each one number or one for each channel.
    Raises UserError for a file that is no image, and for a `mean` or `std` that does not fit.
    """
    is_integer = np.issubdtype(get_numpy_dtype(image_input.tensor.dtype), np.integer)
    if not {mean.size, std.size} <= {1, image_input.channels}:
        raise UserError(
            "--mean and --std take one number, or one for each channel; "
            f"{image_input.tensor} has {format_count(image_input.channels, 'channel')}"
        )
    if is_integer and (mean.any() or (std != 1).any()):
        raise UserError(f"{image_input.tensor} takes pixels as they are; --mean and --std are for inputs of float")
    decoder = ImageDecoder(image_input)
    images = []
    for file in files:
        require_plain_file(file)
        try:
            with quiet():  # the JPEG library writes to stderr by itself
                pixels = decoder.decode(file.read_bytes())
        except ValueError:
            raise UserError(f"{show_path(file)} cannot be decoded; PNG and JPEG files can") from None
        images.append(decoder.arrange((pixels - mean) / std))
    return images


class PixelDecoder(ABC):
    """Decodes image files, turns photos upright, and resizes them, with antialiasing, if the input has a fixed size."""

    def __init__(self, image_input: ImageInput) -> None:
        self._dtype = get_numpy_dtype(image_input.tensor.dtype)
        self._channels_first = image_input.channels_first

    @abstractmethod
    def decode(self, data: bytes) -> NDArray[Any]:
        """The pixels, 0 to 255, [height, width, channels], as float32. Raises ValueError if it is no image."""

    def arrange(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values of [height, width, channels] in the input's layout and dtype; an integer dtype gets rounded ones."""
        if np.issubdtype(self._dtype, np.integer):
            limits = np.iinfo(self._dtype)
            values = np.clip(np.rint(values), limits.min, limits.max)
        return (np.moveaxis(values, -1, 0) if self._channels_first else values).astype(self._dtype)


def find_turn(data: bytes) -> tuple[list[int], tuple[int, int]]:
    """How an image's pixels are turned upright: the order of the axes, then the steps through rows and columns."""
    turned, mirrored = divmod(read_orientation(data) - 1, 4)
    return [turned, 1 - turned, 2], _MIRRORED[mirrored]


class ImageDecoder(PixelDecoder):
    """Decodes by TensorFlow's ops."""

    def __init__(self, image_input: ImageInput) -> None:
        super().__init__(image_input)
        with tf1.Graph().as_default() as graph:
            self._encoded = tf1.placeholder(tf.string, [])
            pixels = _decode(self._encoded, image_input.channels)
            # TensorFlow's decoder leaves the pixels as the camera has stored them; browsers do not.
            self._axes, self._steps = tf1.placeholder(tf.int32, [3]), tf1.placeholder(tf.int32, [2])
            pixels = tf.transpose(pixels, self._axes)[:: self._steps[0], :: self._steps[1]]
            pixels = tf.ensure_shape(pixels, [None, None, image_input.channels])
            size = tf.shape(pixels)[:2]
            height, width = image_input.height or size[0], image_input.width or size[1]
            self._resized = tf.image.resize(pixels, [height, width], antialias=True)
        self._session = open_session(graph)

    def decode(self, data: bytes) -> NDArray[Any]:
        axes, steps = find_turn(data)
        feeds = {self._encoded: data, self._axes: axes, self._steps: steps}
        try:
            pixels: NDArray[Any] = self._session.run(self._resized, feeds)
        except tf.errors.InvalidArgumentError as error:
            raise ValueError("TensorFlow cannot decode it") from error
        return pixels


def _decode(encoded: Any, channels: int) -> Any:
    """The pixels of an encoded image. A JPEG file has no transparency, which TensorFlow does not fill in."""

    def decode(channels: int) -> Any:
        return tf.io.decode_image(encoded, channels=channels, expand_animations=False)

    if channels < 4:
        return decode(channels)
    opaque = tf.constant(255, tf.uint8)
    return tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.pad(decode(3), [[0, 0], [0, 0], [0, 1]], constant_values=opaque),
        lambda: decode(channels),
    )


def make_image_batches(images: Sequence[NDArray[Any]], image_input: ImageInput) -> Iterator[tuple[NDArray[Any], int]]:
    """Batches of the images, each with its number of images; a batch of fixed size is filled up with zeros."""
    own_sizes = image_input.height is None or image_input.width is None
    size = 1 if own_sizes else image_input.batch or 32
    for start in range(0, len(images), size):
        rows = np.stack(images[start : start + size])
        padding = (image_input.batch or len(rows)) - len(rows)
        yield np.pad(rows, [(0, padding), (0, 0), (0, 0), (0, 0)]), len(rows)
