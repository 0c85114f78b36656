"""Image files become the arrays that a classifier takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, Run

from serialization.errors import UserError
from serialization.graph.signature import Tensor
from serialization.run.images import ImageInput, decode_images, describe_image_input, make_image_batches
from serialization.tensorflow import np, tf, tf1

SAMPLES = PROJECT / "pretrainedresnet" / "samples"


def test_images_of_other_sizes_and_formats(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        pixels = tf.io.decode_png((SAMPLES / "bag_0.png").read_bytes())
        large = tf.cast(tf.image.resize(tf.image.grayscale_to_rgb(pixels), [90, 120]), tf.uint8)
        (tmp_path / "bag.jpg").write_bytes(session.run(tf.io.encode_jpeg(large)))
        (tmp_path / "bag.png").write_bytes(session.run(tf.io.encode_png(large)))
    done = run("savedmodel_pretrained", "--image", tmp_path / "bag.jpg", tmp_path / "bag.png", "--top", 1)
    assert done.status == 0
    assert "proved: 2 images; the best" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("bag.")]
    assert [row[:2] for row in rows] == [["bag.jpg", "Bag"], ["bag.png", "Bag"]]


def tensor(*shape: int | None, dtype: str = "float32") -> Tensor:
    return Tensor("images", "images:0", dtype, shape)


@pytest.mark.parametrize(
    ("shape", "described"),
    [
        ((None, 28, 32, 1), (None, 28, 32, 1, False)),
        ((64, None, None, 3), (64, None, None, 3, False)),
        ((None, 4, 28, 32), (None, 28, 32, 4, True)),
        ((None, 3, 28, 3), (None, 3, 28, 3, False)),  # the last axis counts
        ((None, None, None, None), (None, None, None, 3, False)),
    ],
)
def test_the_shape_tells_sizes_and_channels(shape: tuple[int | None, ...], described: tuple[Any, ...]) -> None:
    assert describe_image_input(tensor(*shape)) == ImageInput(tensor(*shape), *described)


@pytest.mark.parametrize(
    "refused",
    [
        Tensor("x", "x:0", "float32", None),
        tensor(None, 784),
        tensor(None, 8, 8, 3, dtype="string"),
        tensor(1, 8, 8, 3, dtype="bool"),
    ],
)
def test_an_input_that_takes_no_images_is_refused(refused: Tensor) -> None:
    with pytest.raises(UserError) as caught:
        describe_image_input(refused)
    assert str(caught.value) == f"{refused} takes no images; a batch of images has 4 dimensions of numbers"


def picture(folder: Path) -> Path:
    """Two pixels, one above the other: red, and half white."""
    (folder / "p.png").write_bytes(tf.io.encode_png(tf.constant([[[255, 0, 0]], [[128] * 3]], tf.uint8)).numpy())
    return folder / "p.png"


def decode(folder: Path, wanted: Tensor, mean: float | list[float] = 0, std: float | list[float] = 1) -> Any:
    (image,) = decode_images([picture(folder)], describe_image_input(wanted), np.array(mean), np.array(std))
    return image


def test_pixels_come_in_the_dtype_and_order_of_the_input(tmp_path: Path) -> None:
    assert decode(tmp_path, tensor(None, None, None, 3)).tolist() == [[[255, 0, 0]], [[128, 128, 128]]]
    assert decode(tmp_path, tensor(None, 3, None, None)).tolist() == [[[255], [128]], [[0], [128]], [[0], [128]]]
    for dtype, most in (("uint8", 255), ("int8", 127), ("int32", 255)):
        image = decode(tmp_path, tensor(None, None, None, 3, dtype=dtype))
        assert (image.dtype.name, image.max()) == (dtype, most), "what the dtype does not hold is clipped"
    assert decode(tmp_path, tensor(None, 4, 5, 3, dtype="float16")).shape == (4, 5, 3)


def test_pixels_of_floats_are_scaled(tmp_path: Path) -> None:
    assert decode(tmp_path, tensor(None, None, None, 3), 127.5, 127.5)[0].tolist() == [[1, -1, -1]]
    assert decode(tmp_path, tensor(None, None, None, 3), [255, 0, 0], [1, 1, 2])[1].tolist() == [[-127, 128, 64]]


def test_a_fixed_batch_is_filled_up_with_zeros() -> None:
    images = [np.full((2, 2, 3), number, np.uint8) for number in (1, 2, 3)]
    batches = list(make_image_batches(images, describe_image_input(tensor(2, 2, 2, 3))))
    assert [(batch.shape, count) for batch, count in batches] == [((2, 2, 2, 3), 2), ((2, 2, 2, 3), 1)]
    assert batches[1][0][1].max() == 0
    assert batches[1][0].dtype == np.uint8


@pytest.mark.parametrize(("shape", "sizes"), [((None, 2, 2, 3), [32, 8]), ((None, None, 2, 3), [1] * 40)])
def test_images_of_their_own_sizes_go_one_by_one(shape: tuple[int | None, ...], sizes: list[int]) -> None:
    batches = make_image_batches([np.zeros((2, 2, 3))] * 40, describe_image_input(tensor(*shape)))
    assert [(len(batch), count) for batch, count in batches] == [(size, size) for size in sizes]


def test_without_images_there_is_no_batch() -> None:
    assert list(make_image_batches([], describe_image_input(tensor(2, 2, 2, 3)))) == []
