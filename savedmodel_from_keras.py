"""Turn a Keras model into a SavedModel: layers and weights become a graph that needs no Keras and no code of yours.

Teaches keras.models.load_model and keras.export.ExportArchive: track, add_endpoint, write_out.

    python savedmodel_from_keras.py
    python savedmodel_from_keras.py --keras my/model.keras --export-dir my/1
    python savedmodel_from_keras.py --keras my/old_model.h5 --custom-objects my/layers.py
    python savedmodel_from_keras.py --keras my/model.json --weights my/model.weights.h5

Without --keras it trains the toy model in Keras and saves it as results/model.keras first.
Without --export-dir, a model of your own called NAME becomes results/NAME, which --overwrite alone replaces.
Keras 3 reads .keras and .h5 files of its own; those of Keras 2 need the package tf-keras. A Keras file holds the layers
as JSON, which names their classes, and the weights; a class of your own is defined by --custom-objects alone.
"""

from __future__ import annotations

import argparse
import shutil
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import model as toy
from savedmodel_pretrained import load, open_saved_model
from serialization import cli, project
from serialization.console import format_command, list_export, print_table, show_path
from serialization.files.locate_keras import find_keras
from serialization.files.publish import stage_output
from serialization.flags import CONFINEMENT_FLAGS, KERAS_FLAGS
from serialization.given_flags import name_target, repeat_flags
from serialization.graph.signature import SERVING_DEFAULT
from serialization.parser import make_parser
from serialization.run.given_feeds import Feed
from serialization.run.origin import Origin
from serialization.run.predictor import Predictor
from serialization.run.verify import NOT_VERIFIED, prove_same
from serialization.sources.from_keras import (
    ExportedKeras,
    PreparedKeras,
    compare_with_keras,
    explain_keras,
    prepare_keras,
    read_export,
    record_order,
)
from serialization.sources.keras_ends import Ends, find_ends


def load_keras(ready: PreparedKeras, *, trust: bool = False) -> Any:
    """The model with its weights, not compiled for training. `trust` lets Lambda layers run the code that they hold."""
    models = ready.keras.models
    with ready.keras.utils.custom_object_scope(ready.custom_objects), explain_keras(ready.found):
        if ready.file:
            return models.load_model(ready.file, compile=False, safe_mode=not trust)
        loaded = models.model_from_json(ready.layers)
        loaded.load_weights(ready.weights)
        return loaded


def export(keras: Any, model: Any, folder: Path, ends: Ends) -> None:
    """Trace the model at inference into one signature, and write it with its variables, tables and vocabularies."""
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(SERVING_DEFAULT, ends.call, input_signature=ends.specs)
    archive.write_out(folder)


def convert(args: argparse.Namespace, source: Path, folder: Path | None = None) -> ExportedKeras:
    """Write a Keras model as a SavedModel into a folder, by default a private one, and read it back."""
    found = find_keras(source, args.weights)
    if found.weights and not args.weights:
        print(f"weights, as they lie beside the layers: {show_path(found.weights)}")
    with prepare_keras(found, args.custom_objects, trust=args.trust_model) as ready:
        model = load_keras(ready, trust=args.trust_model)
        with explain_keras(ready.found):
            ends = find_ends(ready.keras, model, ready.found)
            folder = folder or Path(mkdtemp(prefix="exported-"))  # by now where a confined process may write
            export(ready.keras, model, folder, ends)
            record_order(folder, ends)
    return read_export(folder, ends, args)


def prove(exported: ExportedKeras, given: Sequence[Feed] | None) -> str:
    """Load what was written by its signature alone, and compare it with the answers of the layers in Keras."""
    origin = open_keras_model(exported)
    with origin.session:
        return prove_same(origin, lambda optimize: Predictor(*load(exported, optimize=optimize)), given)


def read_keras_model(args: argparse.Namespace) -> ExportedKeras:
    """For other scripts: the Keras model that the flags name, as a SavedModel in a private folder."""
    exported = convert(args, args.keras)
    weakref.finalize(exported, shutil.rmtree, exported.folder, ignore_errors=True)
    return exported


def open_keras_model(exported: ExportedKeras) -> Origin:
    """The exported model, ready to be run and converted; its answers for a proof are those of the layers in Keras."""
    return compare_with_keras(open_saved_model(exported), exported)


def main(argv: Sequence[str] | None = None) -> int:
    default = project.RESULTS / "savedmodel_from_keras"
    flags = ("keras", *KERAS_FLAGS, "feed", "trust-model", *CONFINEMENT_FLAGS, "overwrite", "no-verify")
    parser = make_parser(__doc__, *flags, export_dir=default)
    args = parser.parse_args(argv)
    name_target(parser, args, "export_dir", "keras")

    with ExitStack() as outputs:
        overwrite = args.overwrite or args.export_dir == default
        folder = outputs.enter_context(stage_output(args.export_dir, overwrite=overwrite))
        source = args.keras
        if source is None:
            source = outputs.enter_context(stage_output(project.RESULTS / "model.keras", overwrite=True))
            toy.train_keras().save(source)
        exported = convert(args, source, folder)
        proof = NOT_VERIFIED if args.no_verify else prove(exported, args.feed)
        files = list_export(folder, args.export_dir)
    print_table(("file", "size"), files)
    print(proof)
    again = repeat_flags(parser, args, "trust-model")
    print(f"next: {format_command('freezemodel_save.py', '--saved-model', args.export_dir, *again)}")
    return 0


if __name__ == "__main__":
    cli.run(main)
