"""Run a SavedModel that somebody else has trained, here a ResNet on images.

Teaches tf.compat.v1.saved_model.load(session, tags, export_dir).

    python savedmodel_pretrained.py
    python savedmodel_pretrained.py --image pretrainedresnet/samples/bag_0.png
    python savedmodel_pretrained.py --saved-model my/model/1 --feed x=@rows.npy
    python savedmodel_pretrained.py --saved-model my/classifier/1 --labels my/labels.txt --image cat.jpg --top 5

The names to feed and to fetch (here input_tensor:0, ArgMax:0 and softmax_tensor:0), the size of the images and the
dtype of their pixels all stand in the SavedModel's signature: `saved_model_cli show --dir pretrainedresnet/1 --all`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serialization import cli, project
from serialization.checks import harm
from serialization.cli import make_parser, refuse_flags, select_values
from serialization.console import format_command, format_count, format_show, print_notes, show_path
from serialization.errors import UserError
from serialization.files import locate
from serialization.flags import RUN_FLAGS, SAVED_MODEL_FLAGS
from serialization.graph.op_registry import load_op_library
from serialization.graph.signature import Signature, bind_signature, choose_signature_def, read_signature_def
from serialization.project import real_path
from serialization.run import classifier, images
from serialization.run.classifier import classify_images, print_best
from serialization.run.images import describe_image_input, make_image_batches
from serialization.run.origin import Origin
from serialization.run.predictor import Predictor, Run, open_session
from serialization.run.show_predictions import print_predictions
from serialization.sources import from_saved_model
from serialization.sources.from_saved_model import (
    find_table_initializers,
    link_repaired_folder,
    make_saved_model_origin,
    prepare_saved_model,
    restore_left_out_variables,
)
from serialization.tensorflow import explain_failures, np, tf1


def start(folder: Path, tag_set: str | None = None, *, optimize: bool = True, trust: bool = False) -> tuple[Any, Any]:
    """A session in which the SavedModel is loaded, variables and all, and the MetaGraphDef that was.

    Raises UserError where loading or calling it could do harm, unless `trust`.
    """
    meta_graph = from_saved_model.choose_meta_graph(from_saved_model.read_saved_model(folder), tag_set)
    harm.require_safe(harm.scan_meta_graph(meta_graph, saved_model=folder), folder, trust=trust)
    session = open_session(tf1.Graph(), optimize=optimize)
    with session.graph.as_default(), explain_failures(f"the SavedModel {show_path(folder)} cannot be loaded"):
        with link_repaired_folder(folder, meta_graph) as path:
            loaded = tf1.saved_model.load(session, list(meta_graph.meta_info_def.tags), str(path))
        fills, paths = find_table_initializers(meta_graph, folder)
        session.run(fills, paths)
        restore_left_out_variables(session, meta_graph, folder)
    return session, loaded


def load(
    folder: Path, tag_set: str | None = None, key: str | None = None, *, optimize: bool = True, trust: bool = False
) -> tuple[Any, Any]:
    """A session in which the SavedModel is loaded, and the SignatureDef to call it by."""
    session, loaded = start(folder, tag_set, optimize=optimize, trust=trust)
    return session, choose_signature_def(loaded, key)


def load_session(
    folder: Path, inputs: str | None, outputs: str | None, *, tag_set: str | None, key: str | None, trust: bool
) -> tuple[Any, Signature]:
    """A session in which the SavedModel is loaded, and the signature that it is run by: its own, or as named."""
    exported = prepare_saved_model(folder, tag_set, key, inputs, outputs, trust=trust)
    session, _ = start(folder, tag_set, trust=trust)
    return session, bind_signature(session.graph, exported.signature)


def open_any(
    folder: Path, args: argparse.Namespace, check: Callable[[Any], None] = lambda graph_def: None
) -> tuple[Origin, Any]:
    """The SavedModel, loaded and ready to be run and converted as the flags say, and the GraphDef that it holds.

    `check` is given the GraphDef of what the signature needs before anything is loaded.
    """
    chosen = select_values(args, "tag-set", "inputs", "outputs")
    exported = prepare_saved_model(folder, key=args.signature, trust=args.trust_model, check=check, **chosen)

    print_notes(exported.notes)

    print_notes(exported.notes)

    def begin() -> Any:
        return start(folder, args.tag_set, optimize=False, trust=args.trust_model)[0]

    @contextmanager
    def afresh() -> Iterator[Run]:
        with begin() as session:
            yield Predictor(session, bind_signature(session.graph, exported.signature))

    return make_saved_model_origin(begin(), exported, afresh), exported.meta_graph.graph_def


def classify(folder: Path, args: argparse.Namespace, files: Sequence[Path], labels: Path | None) -> str:
    """Show the best classes of each image; returns what was proved."""
    prepare_saved_model(folder, args.tag_set, args.signature, trust=args.trust_model)
    session, signature_def = load(folder, args.tag_set, args.signature, trust=args.trust_model)
    wanted = read_signature_def(signature_def)
    image_input = describe_image_input(wanted.inputs[0])
    pixels = images.decode_images(files, image_input, np.array(args.mean), np.array(args.std))
    predict = Predictor(session, wanted)
    print(f"feeds {wanted.inputs[0]}, fetches {', '.join(map(str, wanted.outputs))}")

    scores, best = classify_images(predict, list(make_image_batches(pixels, image_input)))
    print_best(files, scores, classifier.read_labels(labels, scores.shape[1]), args.top)
    if not np.array_equal(best, scores.argmax(axis=1)):
        raise UserError("the model's best class is not the one with the highest score; --labels may be shifted")
    return f"{format_count(len(files), 'image')}; the best class is the one with the highest score in each"


def main(argv: Sequence[str] | None = None) -> int:
    ours, samples = project.PRETRAINED / "1", project.PRETRAINED / "samples"
    flags = ("image", "labels", *SAVED_MODEL_FLAGS, *RUN_FLAGS)
    parser = make_parser(__doc__, *flags, saved_model=ours, mean="0", std="1", top=3)
    args = parser.parse_args(argv)
    load_op_library(args.op_library)
    folder = locate.find_saved_model(args.saved_model)
    is_ours = real_path(folder) == real_path(ours)
    if args.image:
        refuse_flags(parser, args, ("inputs", "outputs", "feed"), "does not go with --image, which feeds images")
    if args.feed or args.inputs or args.outputs or not (is_ours or args.image):
        refuse_flags(parser, args, ("labels", "mean", "std", "top"), "goes with --image")
        origin, _ = open_any(folder, args)
        with origin.session:
            print_predictions(origin.predict, origin.signature, args.feed, origin.hints)
        print(f"next: {format_command('freezemodel_save.py', '--saved-model', args.saved_model)}")
        return 0
    files = args.image or sorted(samples.glob("*.png"))
    proof = classify(folder, args, files, args.labels or (project.PRETRAINED / "labels.txt" if is_ours else None))
    print(f"proved: {proof}")
    print(f"next: {format_show(folder)}")
    return 0


if __name__ == "__main__":
    cli.run(main)
