"""Classifies images: the scores, the labels, and the best classes of each image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serialization.console import format_count, print_table, show_path, show_progress
from serialization.errors import UserError
from serialization.formats.file_kind import require_plain_file
from serialization.graph.signature import Signature, Tensor
from serialization.run.images import decode_images, describe_image_input, make_image_batches
from serialization.run.predictor import Predictor
from serialization.run.saved_predictions import save_predictions
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def show_classes(
    predict: Predictor,
    files: Sequence[Path],
    labels: Path | None,
    save: Path | None = None,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    top: int,
) -> str:
    """Classify image files and print the `top` classes of each; returns the proof as one sentence.

    `mean` and `std` are one number, or one for each channel. Scores and best classes of all images are also saved, if
    there is a path to `save` them to. Raises UserError if the model's own best class is not the class with the highest
    score.
    """
    signature = predict.signature
    image_input = describe_image_input(signature.inputs[0])
    pixels = decode_images(files, image_input, np.array(mean), np.array(std))
    print(f"feeds {signature.inputs[0]}, fetches {', '.join(map(str, signature.outputs))}")
    scores, best = classify_images(predict, list(make_image_batches(pixels, image_input)))
    print_best(files, scores, read_labels(labels, scores.shape[1]), top)
    if not np.array_equal(best, scores.argmax(axis=1)):
        raise UserError("the model's best class is not the one with the highest score; --labels may be shifted")
    if save is not None:
        tensors = choose_score_output(signature)
        found = {one.key: value for one, value in zip(tensors, (scores, best), strict=True) if one is not None}
        shown = tuple(tensor for tensor in signature.outputs if tensor.key in found)
        save_predictions(save, Signature(signature.inputs, shown), found)
    return f"{format_count(len(files), 'image')}; the best class is the one with the highest score in each"


def choose_score_output(signature: Signature) -> tuple[Tensor, Tensor | None]:
    """The output with the scores of the classes, and the output with the number of the best class if there is one."""
    scores = [t for t in signature.outputs if t.dtype.startswith(("float", "bfloat")) and len(t.shape or ()) == 2]
    best = [t for t in signature.outputs if t.dtype.startswith("int") and len(t.shape or ()) == 1]
    if len(scores) != 1:
        listed = "; ".join(map(str, signature.outputs))
        raise UserError(f"no classifier: expected one output of float [None, classes], found {listed}; use --signature")
    return scores[0], best[0] if best else None


def classify_images(
    predict: Predictor, batches: Sequence[tuple[NDArray[Any], int]]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The scores of each image, [images, classes], and the number of its best class, [images]."""
    scores, best = choose_score_output(predict.signature)
    all_scores, all_best = [], []
    for batch, count in show_progress(batches, "classifying", len(batches)):
        results = predict({predict.signature.inputs[0].key: batch})
        all_scores.append(results[scores.key][:count])
        all_best.append(results[best.key][:count] if best else all_scores[-1].argmax(axis=1))
    return np.concatenate(all_scores), np.concatenate(all_best)


def read_labels(file: Path | None, classes: int) -> list[str]:
    """The names of the classes from a file, or their numbers. Raises UserError unless each class has a name."""
    if file is None:
        return [str(number) for number in range(classes)]
    require_plain_file(file)
    try:
        labels = file.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{show_path(file)} is no text; --labels takes the names of the classes, one a line") from None
    if len(labels) != classes:
        raise UserError(
            f"{show_path(file)} has {format_count(len(labels), 'name')}, the model {classes} classes; one name a line"
        )
    return labels


def print_best(files: Sequence[Path], scores: NDArray[Any], labels: Sequence[str], top: int) -> None:
    """Print a table of the `top` classes of each image, the best first."""
    rows = []
    for file, row in zip(files, scores, strict=True):
        order = np.argsort(-row)[:top]
        rows.append((file.name, *(f"{labels[i]} {row[i]:.4f}" for i in order)))
    print_table(("image", "best", *["" for _ in range(min(top, len(labels)) - 1)]), rows)
