"""Image classifiers of all layouts are run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from serialization.tensorflow import tf, tf1


def export_classifier(folder: Path, shape: list[int | None], dtype: Any, key: str = "serving_default") -> None:
    """A classifier of four classes by the mean of the first channel over 64; `shape` is its input's."""
    with tf1.Graph().as_default(), tf1.Session() as session:
        images = tf1.placeholder(dtype, shape, name="images")
        rank = len(shape)
        values = tf.cast(images, tf.float32)
        level = tf.reduce_mean(values[..., 0] if shape[-1] == 3 else values[:, 0], axis=[1, 2]) if rank == 4 else values
        distance = tf.abs(level[:, None] / 64 - tf.constant([[0.0, 1.0, 2.0, 4.0]]))
        scores = tf.nn.softmax(-distance, name="scores")
        builder = tf1.saved_model.Builder(str(folder))
        infos = [{"images": images}, {"scores": scores}]
        built = [{k: tf1.saved_model.build_tensor_info(t) for k, t in info.items()} for info in infos]
        definition = tf1.saved_model.build_signature_def(*built, "tensorflow/serving/predict")
        builder.add_meta_graph_and_variables(session, ["serve", "gpu"], {key: definition})
        builder.save()


@pytest.fixture
def white_and_black(tmp_path: Path) -> list[Path]:
    files = []
    with tf1.Graph().as_default(), tf1.Session() as session:
        for name, level in (("white", 255), ("black", 0), ("grey", 64)):
            png = tf.io.encode_png(tf.fill([20, 30, 3], tf.constant(level, tf.uint8)))
            files.append(tmp_path / f"{name}.png")
            files[-1].write_bytes(session.run(png))
    return files


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ([2, 16, 24, 3], "float32"),  # a fixed batch: three images are padded to four
        ([None, 16, 24, 3], "uint8"),
        ([None, None, None, 3], "float32"),  # any size
        ([None, 3, 16, 24], "float32"),  # channels first
        ([64, 16, 24, 3], "int32"),
    ],
)
def test_classifiers_of_other_layouts_run(
    run: Run, tmp_path: Path, white_and_black: list[Path], shape: list[int | None], dtype: str
) -> None:
    export_classifier(tmp_path / "1", shape, dtype)
    (tmp_path / "labels.txt").write_text("black\ndark\ngrey\nwhite\n")
    words = ("--saved-model", tmp_path / "1", "--labels", tmp_path / "labels.txt", "--image", *white_and_black)
    done = run("savedmodel_pretrained", *words)
    assert (done.status, done.stderr) == (0, "")
    rows = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines() if ".png" in line}
    assert rows == {"white.png": "white", "black.png": "black", "grey.png": "dark"}
    assert "proved: 3 images" in done.stdout


def test_mean_and_std(run: Run, tmp_path: Path, white_and_black: list[Path]) -> None:
    export_classifier(tmp_path / "1", [None, 16, 24, 3], "float32")
    words = ("--saved-model", tmp_path / "1", "--image", *white_and_black)
    done = run("savedmodel_pretrained", *words, "--mean", "255,0,0", "--std", "-1")
    rows = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines() if ".png" in line}
    assert rows == {"white.png": "0", "black.png": "3", "grey.png": "2"}  # class numbers, without labels


def test_wrong_images_and_labels_are_one_line(run: Run, tmp_path: Path, white_and_black: list[Path]) -> None:
    export_classifier(tmp_path / "flat", [None, 4], "float32")
    export_classifier(tmp_path / "key", [None, 8, 8, 3], "uint8", key="classify")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "labels.txt").write_text("one\n")
    expected = {
        (
            "--saved-model",
            str(tmp_path / "flat"),
            "--image",
            str(white_and_black[0]),
        ): "takes no images; a batch of images has 4 dimensions of numbers",
        ("--image", str(tmp_path / "text.png")): "cannot be decoded; PNG and JPEG files can",
        ("--labels", str(white_and_black[0])): "is no text; --labels takes the names of the classes, one a line",
        ("--mean", "1"): "takes pixels as they are; --mean and --std are for inputs of float",
        ("--mean", "1,2"): "--mean and --std take one number, or one for each channel; input_tensor:0",
        ("--labels", str(tmp_path / "labels.txt")): "has 1 name, the model 10 classes",
        ("--tag-set", "train"): "has no tag-set train; it has serve; choose with --tag-set",
        ("--signature", "predict"): "has no signature predict; it has serving_default; choose with --signature",
        ("--saved-model", str(tmp_path)): "found no saved_model.pb",
    }
    for words, message in expected.items():
        done = run("savedmodel_pretrained", *words)
        assert done.status == 1, words
        assert message in done.stderr
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
    other = ("--saved-model", tmp_path / "key", "--tag-set", "gpu,serve", "--signature", "classify")
    assert run("savedmodel_pretrained", *other, "--image", white_and_black[0]).status == 0
