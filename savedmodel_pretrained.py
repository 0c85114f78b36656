"""Run a SavedModel that somebody else has trained, here a ResNet on images.

Teaches tf.compat.v1.saved_model.load(session, tags, export_dir).

    python savedmodel_pretrained.py
    python savedmodel_pretrained.py --image shoe.png coat.jpg
    python savedmodel_pretrained.py --saved-model my/model/1 --feed x=@rows.npy
    python savedmodel_pretrained.py --saved-model my/classifier/1 --labels my/labels.txt --image cat.jpg --top 5

The names to feed and to fetch (here input_tensor:0, ArgMax:0 and softmax_tensor:0), the size of the images and the
dtype of their pixels all stand in the SavedModel's signature: `saved_model_cli show --dir pretrainedresnet/1 --all`.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serialization import (
    artifact,
    cli,
    hints,
    images,
    inlining,
    ops,
    predictions,
    safety,
    savedmodel,
    signature,
    source,
    verify,
)
from serialization.graph import GraphFile, prune, training_nodes
from serialization.origin import Origin
from serialization.predictor import Predictor, open_session
from serialization.signature import Signature, Tensor
from serialization.tensorflow import failures, np, tf1

if TYPE_CHECKING:
    from numpy.typing import NDArray


def load(
    folder: Path, tag_set: str | None = None, key: str | None = None, *, optimize: bool = True, trust: bool = False
) -> tuple[Any, Any]:
    """A session in which the SavedModel is loaded, variables and all, and the SignatureDef to call it by.

    Raises cli.Error where loading or calling it could do harm, unless `trust`.
    """
    meta_graph = savedmodel.choose_meta_graph(savedmodel.read_saved_model(folder), tag_set)
    safety.require_safe(safety.scan_meta_graph(meta_graph, saved_model=folder), folder, trust=trust)
    session = open_session(tf1.Graph(), optimize=optimize)
    with session.graph.as_default(), failures(f"the SavedModel {cli.show(folder)} cannot be loaded"):
        loaded = tf1.saved_model.load(session, list(meta_graph.meta_info_def.tags), str(folder))
        fills, paths = savedmodel.table_initializers(meta_graph, folder)
        session.run(fills, paths)
    return session, savedmodel.choose_signature(loaded, key)


def open_any(args: argparse.Namespace, script: str = "savedmodel_from_source.py") -> tuple[Origin, Any]:
    """The SavedModel of the flags, loaded and ready to be run and converted, and the GraphDef that it holds.

    `script` is named as the one to make a SavedModel with where there is none.
    """
    ops.load_library(args.op_library)
    folder = artifact.find_saved_model(args.saved_model, script)
    meta_graph = savedmodel.choose_meta_graph(savedmodel.read_saved_model(folder), args.tag_set)
    whole = meta_graph.graph_def
    wanted = signature.from_def(savedmodel.choose_signature(meta_graph, args.signature))
    if args.inputs or args.outputs:
        inputs, outputs = signature.to_flags(wanted)
        wanted, _ = source.choose(GraphFile(whole), args.inputs or inputs, args.outputs or outputs)
    outs, ins = ([tensor.name for tensor in side] for side in (wanted.outputs, wanted.inputs))
    safety.require_safe(
        safety.scan_meta_graph(meta_graph, outs, ins, saved_model=folder), folder, trust=args.trust_model
    )
    ops.require_known(prune(whole, [*outs, *ins]), cli.show(folder))
    session, _ = load(folder, args.tag_set, args.signature, optimize=False, trust=args.trust_model)
    wanted = signature.in_graph(session.graph, wanted)
    flat, names = flatten(session.graph.as_graph_def(), wanted)

    def run_afresh(values: verify.Values, times: int = 1) -> verify.Values:
        again, _ = load(folder, args.tag_set, args.signature, optimize=False, trust=args.trust_model)
        with again:
            predict = Predictor(again, wanted)
            return [predict(values) for _ in range(times)][-1]

    # Where a run changes variables, each begins by loading them.
    changes = bool(training_nodes(flat))
    predict = run_afresh if changes else Predictor(session, wanted)
    twice = partial(run_afresh, times=2) if changes else None
    return Origin(session, flat, names, predict, False, hints.find(flat, names), repeat=twice), whole


def flatten(graph_def: Any, wanted: Signature) -> tuple[Any, Signature]:
    """What the signature needs of a GraphDef, without functions; cut first, while the inputs are there to be cut at."""
    cut, names, _ = source.cut(graph_def, wanted)
    roots = [tensor.name for tensor in (*names.outputs, *names.inputs)]
    return prune(inlining.inline(prune(cut, roots), roots), roots), names


def choose_outputs(wanted: Signature) -> tuple[Tensor, Tensor | None]:
    """The outputs that hold a score for each class and, where there is one, the number of the best class."""
    scores = [t for t in wanted.outputs if t.dtype.startswith(("float", "bfloat")) and len(t.shape or ()) == 2]
    best = [t for t in wanted.outputs if t.dtype.startswith("int") and len(t.shape or ()) == 1]
    if len(scores) != 1:
        listed = "; ".join(map(str, wanted.outputs))
        raise cli.Error(f"no classifier: expected one output of float [None, classes], found {listed}; use --signature")
    return scores[0], best[0] if best else None


def classify(predict: Predictor, batches: Sequence[tuple[NDArray[Any], int]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The scores of each image, [images, classes], and the number of its best class, [images]."""
    scores, best = choose_outputs(predict.signature)
    all_scores, all_best = [], []
    for batch, count in cli.progress(batches, "classifying", len(batches)):
        results = predict({predict.signature.inputs[0].key: batch})
        all_scores.append(results[scores.key][:count])
        all_best.append(results[best.key][:count] if best else all_scores[-1].argmax(axis=1))
    return np.concatenate(all_scores), np.concatenate(all_best)


def numbers(text: str) -> NDArray[Any]:
    """The numbers of --mean or --std."""
    try:
        values = np.array([float(word) for word in text.split(",")])
    except ValueError:
        values = np.array([np.nan])
    if not np.isfinite(values).all():
        raise cli.Error(f"cannot read {text!r}; expected a number, or one a channel, comma separated")
    return values


def read_labels(file: Path | None, classes: int) -> list[str]:
    """The names of the classes, their numbers without a file. Raises cli.Error unless there is one for each class."""
    if file is None:
        return [str(number) for number in range(classes)]
    try:
        labels = file.read_text().splitlines()
    except UnicodeDecodeError:
        raise cli.Error(f"{cli.show(file)} is no text; --labels takes the names of the classes, one a line") from None
    if len(labels) != classes:
        raise cli.Error(f"{cli.show(file)} names {len(labels)} classes but the model has {classes}; one name a line")
    return labels


def main(argv: Sequence[str] | None = None) -> int:
    default = cli.PRETRAINED / "1"
    parser = cli.parser(
        __doc__,
        "image",
        "labels",
        "tag-set",
        "signature",
        "inputs",
        "outputs",
        "feed",
        "op-library",
        "trust-model",
        saved_model=default,
        mean="0",
        std="1",
        top=3,
    )
    args = parser.parse_args(argv)
    ours = args.saved_model.resolve() == default.resolve()
    if args.feed or args.inputs or args.outputs or not (ours or args.image):
        origin, _ = open_any(args, "pretrainedresnet/train.py")
        with origin.session:
            predictions.show(origin.predict, origin.signature, args.feed, origin.hints)
        print(f"next: {cli.command('freezemodel_save.py', '--saved-model', args.saved_model)}")
        return 0
    files = args.image or sorted((cli.PRETRAINED / "samples").glob("*.png"))
    labels_file = args.labels or (cli.PRETRAINED / "labels.txt" if ours else None)

    folder = artifact.find_saved_model(args.saved_model, "pretrainedresnet/train.py")
    session, signature_def = load(folder, args.tag_set, args.signature, trust=args.trust_model)
    wanted = signature.from_def(signature_def)
    image_input = images.describe_input(wanted.inputs[0])
    mean, std = numbers(args.mean), numbers(args.std)
    if not std.all():
        raise cli.Error(f"--std {args.std} would divide by zero; the standard deviation of a pixel is more")
    pixels = images.decode_images(files, image_input, mean, std)
    predict = Predictor(session, wanted, inline=False)
    print(f"feeds {wanted.inputs[0]}, fetches {', '.join(map(str, wanted.outputs))}")

    scores, best = classify(predict, list(images.make_batches(pixels, image_input)))
    labels = read_labels(labels_file, scores.shape[1])
    rows = []
    for file, row in zip(files, scores, strict=True):
        order = np.argsort(-row)[: args.top]
        rows.append((file.name, *(f"{labels[i]} {row[i]:.4f}" for i in order)))
    cli.table(("image", "best", *["" for _ in range(min(args.top, len(labels)) - 1)]), rows)
    if not np.array_equal(best, scores.argmax(axis=1)):
        raise cli.Error("the model's best class is not the one with the highest score; --labels may be shifted")
    print(f"proved: {len(files)} images; the best class is the one with the highest score in each")
    print(f"next: saved_model_cli show --dir {shlex.quote(cli.show(folder))} --all")
    return 0


if __name__ == "__main__":
    cli.run(main)
