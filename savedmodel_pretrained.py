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
from collections.abc import Sequence
from typing import Any

from serialization import cli, project
from serialization.checks.crashes import nests_deeply
from serialization.console import format_command, format_show, print_notes, show_path
from serialization.files.locate import SavedModelFolder, find_saved_model
from serialization.flags import RUN_FLAGS, SAVE_FLAGS, SAVED_MODEL_FLAGS
from serialization.given_flags import refuse_flags, repeat_flags, select_values
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_registry import load_op_library
from serialization.graph.signature import Signature, bind_signature
from serialization.parser import make_parser
from serialization.project import real_path
from serialization.run.classifier import show_classes
from serialization.run.origin import Origin
from serialization.run.predictor import Predictor, open_session
from serialization.run.saved_predictions import stage_predictions
from serialization.run.show_predictions import print_predictions
from serialization.sources.from_saved_model import make_saved_model_origin, prepare_saved_model
from serialization.sources.private_copy import (
    PreparedSavedModel,
    load_from_memory,
    make_private_copy,
    restore_left_out,
)
from serialization.tensorflow import explain_failures, tf1


def load(prepared: PreparedSavedModel, *, optimize: bool = True) -> tuple[Any, Signature]:
    """A session in which the SavedModel is loaded, graph, variables and tables, and the signature that it is run by."""
    where = show_path(prepared.folder)
    optimize = optimize and not nests_deeply(GraphIndex(prepared.whole))  # for these the optimizers take minutes
    session = open_session(tf1.Graph(), optimize=optimize)
    with session.graph.as_default(), explain_failures(f"the SavedModel {where} cannot be loaded"):
        # Not the user's own folder: TensorFlow gets what was scanned, and repaired.
        if folder := make_private_copy(session, prepared, optimize=optimize):
            tf1.saved_model.load(session, prepared.tags, str(folder))
        else:
            load_from_memory(session, prepared, optimize=optimize)
        restore_left_out(session, prepared)  # the plain call leaves some variables of Keras 3 empty
    return session, bind_signature(session.graph, prepared.signature)


def load_session(
    found: SavedModelFolder,
    inputs: str | None = None,
    outputs: str | None = None,
    *,
    tag_set: str | None = None,
    signature: str | None = None,
    trust_model: bool = False,
) -> tuple[Any, Signature]:
    """The same for a SavedModel that was found; the parameters are the flags of the same names."""
    return load(prepare_saved_model(found, tag_set, signature, inputs, outputs, trust=trust_model))


def read_saved_model(args: argparse.Namespace) -> PreparedSavedModel:
    """The SavedModel that the flags name, read and scanned."""
    names = (args.tag_set, args.signature, args.inputs, args.outputs)
    prepared = prepare_saved_model(find_saved_model(args.saved_model), *names, trust=args.trust_model)
    print_notes(prepared.notes)
    return prepared


def open_saved_model(prepared: PreparedSavedModel) -> Origin:
    """The loaded SavedModel, ready to be run and converted.

    Unoptimized: its answers are compared bit for bit, and optimizers change the rounding.
    """
    session, _ = load(prepared, optimize=False)
    # A model that changes its variables is loaded again for each run, so that each begins from the same state.
    return make_saved_model_origin(session, prepared, lambda: Predictor(*load(prepared, optimize=False)))


def main(argv: Sequence[str] | None = None) -> int:
    ours = project.PRETRAINED / "1"
    flags = ("image", "labels", *SAVED_MODEL_FLAGS, *RUN_FLAGS, *SAVE_FLAGS)
    parser = make_parser(__doc__, *flags, saved_model=ours, mean="0", std="1", top=3)
    args = parser.parse_args(argv)
    if args.image:
        refuse_flags(parser, args, ("inputs", "outputs", "feed"), "does not go with --image, which feeds images")

    with stage_predictions(parser, args) as save:
        load_op_library(args.op_library)
        prepared = read_saved_model(args)
        is_ours = real_path(prepared.folder) == real_path(ours)
        images = args.image or (is_ours and not (args.inputs or args.outputs or args.feed))
        if images:
            files = args.image or sorted((project.PRETRAINED / "samples").glob("*.png"))
            labels = args.labels or (project.PRETRAINED / "labels.txt" if is_ours else None)
            with Predictor(*load(prepared)) as predict:  # optimized: nothing is compared
                how = select_values(args, "mean", "std", "top")
                print(f"proved: {show_classes(predict, files, labels, save, **how)}")
        else:
            refuse_flags(parser, args, ("labels", "mean", "std", "top"), "goes with --image")
            origin = open_saved_model(prepared)
            with origin.session:
                print_predictions(origin.predict, origin.signature, origin.index, args.feed, origin.hints, save=save)
    if images:
        print(f"next: {format_show(prepared.folder)}")
        return 0
    again = repeat_flags(parser, args, *SAVED_MODEL_FLAGS, *RUN_FLAGS)
    print(f"next: {format_command('freezemodel_save.py', '--saved-model', args.saved_model, *again)}")
    return 0


if __name__ == "__main__":
    cli.run(main)
