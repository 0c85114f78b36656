"""Image classifiers of all layouts are run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from serialization.errors import UserError
from serialization.graph.signature import Signature, Tensor
from serialization.run.classifier import choose_score_output, classify_images, print_best, read_labels, show_classes
from serialization.run.predictor import Predictor
from serialization.tensorflow import np, tf, tf1


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
        ("--saved-model", str(tmp_path)): "holds several SavedModels: ",
    }
    for words, message in expected.items():
        done = run("savedmodel_pretrained", *words)
        assert done.status == 1, words
        assert message in done.stderr
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
    other = ("--saved-model", tmp_path / "key", "--tag-set", "gpu,serve", "--signature", "classify")
    assert run("savedmodel_pretrained", *other, "--image", white_and_black[0]).status == 0


SCORES = Tensor("scores", "s:0", "float32", (None, 3))
BEST = Tensor("best", "b:0", "int64", (None,))
OTHERS = (Tensor("features", "f:0", "float32", (None, 8, 8)), Tensor("names", "n:0", "string", (None, 3)))


@pytest.mark.parametrize(
    ("outputs", "chosen"),
    [((SCORES,), (SCORES, None)), ((BEST, *OTHERS, SCORES), (SCORES, BEST))],
)
def test_scores_are_the_only_rows_of_floats(outputs: tuple[Tensor, ...], chosen: tuple[Tensor, Tensor | None]) -> None:
    assert choose_score_output(Signature((), outputs)) == chosen


@pytest.mark.parametrize("outputs", [(), (BEST,), (SCORES, SCORES), OTHERS])
def test_a_model_without_scores_is_no_classifier(outputs: tuple[Tensor, ...]) -> None:
    with pytest.raises(UserError) as caught:
        choose_score_output(Signature((), outputs))
    assert str(caught.value) == (
        "no classifier: expected one output of float [None, classes], found "
        f"{'; '.join(map(str, outputs))}; use --signature"
    )


def test_labels_are_one_a_line_or_else_numbers(tmp_path: Path) -> None:
    assert read_labels(None, 3) == ["0", "1", "2"]
    (tmp_path / "labels").write_text("ein Löffel\n\nb\n", "utf-8")
    assert read_labels(tmp_path / "labels", 3) == ["ein Löffel", "", "b"]
    with pytest.raises(UserError, match=r"labels has 3 names, the model 2 classes; one name a line$"):
        read_labels(tmp_path / "labels", 2)


class Fake(Predictor):
    """Gives the pixels of each image as its scores."""

    def __init__(self, *outputs: Tensor, shift: int = 0) -> None:
        self.signature = Signature((Tensor("images", "i:0", "float32", (None, 1, 1, 3)),), outputs)
        self.shift = shift

    def __call__(self, feeds: Any) -> Any:
        scores = feeds["images"].reshape(-1, 3)
        return {"scores": scores, "best": (scores.argmax(axis=1) + self.shift) % 3}


@pytest.mark.parametrize("outputs", [(SCORES,), (SCORES, BEST)])
def test_rows_that_fill_up_a_batch_are_no_images(outputs: tuple[Tensor, ...]) -> None:
    images = np.array([[[[1, 2, 3]]], [[[3, 2, 1]]], [[[0, 0, 0]]]], np.float32)
    scores, best = classify_images(Fake(*outputs), [(images, 2), (images, 1)])
    assert scores.tolist() == [[1, 2, 3], [3, 2, 1], [1, 2, 3]]
    assert best.tolist() == [2, 0, 2]


def test_the_best_class_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    print_best([Path("a/b.png")], np.array([[0.1, 0.7, 0.2]]), ["x", "y", "z"], 2)
    assert capsys.readouterr().out.split() == ["image", "best", "b.png", "y", "0.7000", "z", "0.2000"]
    print_best([Path("b.png")], np.array([[0.1, 0.9]]), ["x", "y"], 5)
    assert capsys.readouterr().out.splitlines()[1].split() == ["b.png", "y", "0.9000", "x", "0.1000"]


def test_a_model_whose_best_class_is_another_one_is_refused(white_and_black: list[Path]) -> None:
    with pytest.raises(UserError, match=r"^the model's best class is not the one with the highest score; "):
        show_classes(Fake(SCORES, BEST, shift=1), white_and_black, None, mean=[0.0], std=[1.0], top=1)
