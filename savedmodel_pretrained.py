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
from typing import Any

from serialization import cli, project
from serialization.cli import make_parser, refuse_flags, select_values
from serialization.console import format_command, format_show, print_notes, show_path
from serialization.files import locate
from serialization.files.locate import SavedModelFolder
from serialization.flags import RUN_FLAGS, SAVED_MODEL_FLAGS
from serialization.graph.op_registry import load_op_library
from serialization.graph.signature import Signature, bind_signature
from serialization.project import real_path
from serialization.run.classifier import show_classes
from serialization.run.origin import Origin
from serialization.run.predictor import Predictor, Run, open_session
from serialization.run.show_predictions import print_predictions
from serialization.sources.from_saved_model import make_saved_model_origin, prepare_saved_model
from serialization.sources.private_copy import (
    PreparedSavedModel,
    load_from_memory,
    make_private_copy,
    restore_left_out,
)
from serialization.tensorflow import explain_failures, tf1


def load(prepared: PreparedSavedModel, *, optimize: bool = True) -> Any:
    """A session in which the SavedModel is loaded: its graph, its variables, its tables."""
    where = show_path(prepared.folder)
    session = open_session(tf1.Graph(), optimize=optimize)
    with session.graph.as_default(), explain_failures(f"the SavedModel {where} cannot be loaded"):
        # Not the user's own folder: TensorFlow gets what was scanned, and repaired.
        if folder := make_private_copy(session, prepared):
            tf1.saved_model.load(session, prepared.tags, str(folder))
        else:
            load_from_memory(session, prepared)
        restore_left_out(session, prepared)  # the plain call leaves some variables of Keras 3 empty
    return session


def load_session(
    found: SavedModelFolder,
    inputs: str | None = None,
    outputs: str | None = None,
    *,
    tag_set: str | None = None,
    key: str | None = None,
    optimize: bool = True,
    trust: bool = False,
) -> tuple[Any, Signature]:
    """A session in which the SavedModel is loaded, and the signature that it is run by: its own, or as named.

    Raises UserError where loading or calling it could do harm, unless `trust`.
    """
    prepared = prepare_saved_model(found, tag_set, key, inputs, outputs, trust=trust)
    session = load(prepared, optimize=optimize)
    return session, bind_signature(session.graph, prepared.signature)


def open_any(
    found: SavedModelFolder, args: argparse.Namespace, check: Callable[[Any], None] = lambda graph_def: None
) -> tuple[Origin, Any]:
    """The SavedModel, loaded and ready to be run and converted as the flags say, and its whole GraphDef.

    `check` is given the GraphDef that the signature needs, before anything is loaded.
    """
    chosen = select_values(args, "tag-set", "inputs", "outputs")
    prepared = prepare_saved_model(found, key=args.signature, trust=args.trust_model, check=check, **chosen)
    print_notes(prepared.notes)

    @contextmanager
    def load_again() -> Iterator[Run]:
        with load(prepared, optimize=False) as session:
            yield Predictor(session, bind_signature(session.graph, prepared.signature))

    session = load(prepared, optimize=False)
    return make_saved_model_origin(session, prepared, load_again), prepared.whole.graph_def


def main(argv: Sequence[str] | None = None) -> int:
    ours, samples = project.PRETRAINED / "1", project.PRETRAINED / "samples"
    flags = ("image", "labels", *SAVED_MODEL_FLAGS, *RUN_FLAGS)
    parser = make_parser(__doc__, *flags, saved_model=ours, mean="0", std="1", top=3)
    args = parser.parse_args(argv)
    load_op_library(args.op_library)
    found = locate.find_saved_model(args.saved_model)
    is_ours = real_path(found.path) == real_path(ours)
    if args.image:
        refuse_flags(parser, args, ("inputs", "outputs", "feed"), "does not go with --image, which feeds images")
    if args.feed or args.inputs or args.outputs or not (is_ours or args.image):
        refuse_flags(parser, args, ("labels", "mean", "std", "top"), "goes with --image")
        origin, _ = open_any(found, args)
        with origin.session:
            print_predictions(origin.predict, origin.signature, args.feed, origin.hints)
        print(f"next: {format_command('freezemodel_save.py', '--saved-model', args.saved_model)}")
        return 0
    prepared = prepare_saved_model(found, args.tag_set, args.signature, trust=args.trust_model)
    with load(prepared) as session:
        predict = Predictor(session, bind_signature(session.graph, prepared.signature))
        files = args.image or sorted(samples.glob("*.png"))
        labels = args.labels or (project.PRETRAINED / "labels.txt" if is_ours else None)
        proof = show_classes(predict, files, labels, **select_values(args, "mean", "std", "top"))
    print(f"proved: {proof}")
    print(f"next: {format_show(found.path)}")
    return 0


if __name__ == "__main__":
    cli.run(main)
