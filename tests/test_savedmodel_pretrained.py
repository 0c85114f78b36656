"""savedmodel_pretrained.py: the ResNet keeps its accuracy, and any SavedModel runs on what is fed."""

from __future__ import annotations

from pathlib import Path

from conftest import PROJECT, Run

import savedmodel_pretrained
from serialization.files.locate import find_saved_model
from serialization.run.predictor import Predictor
from serialization.tensorflow import np

SAMPLES = PROJECT / "pretrainedresnet" / "samples"


def test_resnet_is_held_to_its_accuracy() -> None:
    with np.load(PROJECT / "tests" / "data" / "fashion_mnist_1000.npz") as data:
        images, labels = data["images"], data["labels"]
    session, signature = savedmodel_pretrained.load_session(find_saved_model(PROJECT / "pretrainedresnet" / "1"))
    with session:
        predict = Predictor(session, signature)
        results = predict({"input": images})
    assert (results["classes"] == labels).mean() >= 0.94  # 0.947 where it was trained
    assert np.allclose(results["probabilities"].sum(axis=1), 1)


def test_resnet_is_small_and_called_as_documented() -> None:
    folder = PROJECT / "pretrainedresnet" / "1"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 1_000_000
    session, _ = savedmodel_pretrained.load_session(find_saved_model(folder))
    with session:
        image = np.zeros((2, 28, 28, 1), np.uint8)
        best, probabilities = session.run(["ArgMax:0", "softmax_tensor:0"], {"input_tensor:0": image})
    assert best.shape == (2,)
    assert probabilities.shape == (2, 10)


def test_samples_are_classified(run: Run) -> None:
    done = run("savedmodel_pretrained")
    assert (done.status, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines() if ".png" in line]
    assert len(rows) == len(list(SAMPLES.glob("*.png"))) >= 10
    right = [row for row in rows if row[1].split("/")[0].replace("-", "_").lower() in row[0]]
    assert len(right) >= 17  # 19 of 20 where it was trained


def test_wrong_numbers_are_wrong_flags(run: Run) -> None:
    for words, message in {
        ("--mean", "red"): "--mean: expected a number, or several, comma separated, got 'red'",
        ("--mean", "1,,2"): "got '1,,2'",
        ("--std", "nan"): "--std: expected a number other than 0, or several, comma separated, got 'nan'",
        ("--std", "1,0"): "got '1,0'",
        ("--top", "0"): "--top: expected a whole number from 1",
    }.items():
        done = run("savedmodel_pretrained", *words)
        assert (done.status, done.stdout) == (2, "")
        assert message in done.stderr


def test_any_saved_model_runs_on_what_is_fed(run: Run, toy: Path) -> None:
    words = ("--saved-model", toy / "savedmodel_from_source")
    done = run("savedmodel_pretrained", *words, "--feed", "inputs_1=[[5,5,5,5,5,5,5,5,5,5]]")
    assert (done.status, done.stderr) == (0, "")
    assert "Accuracy/predictions:0 bool [1, 1]\n[[ True]]\n" in done.stdout
    done = run("savedmodel_pretrained", *words, "--outputs", "sum=NN/truediv")
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.startswith("no --feed, so these values are generated:\n")
    assert "NN/truediv:0 float32 [1, 1]" in done.stdout


def test_the_folder_of_versions_is_the_resnet_too(run: Run) -> None:
    done = run("savedmodel_pretrained", "--saved-model", PROJECT / "pretrainedresnet", "--top", 1)
    assert (done.status, done.stderr) == (0, "")
    assert " holds 1 version of a SavedModel; using " in done.stdout
    assert "bag_0.png" in done.stdout
