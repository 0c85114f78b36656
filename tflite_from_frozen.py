"""Turn a frozen model into a LiteRT (TensorFlow Lite) model: one file that phones and small machines run.

Teaches tf.lite.TFLiteConverter.from_saved_model(folder).convert().

    python tflite_from_frozen.py
    python tflite_from_frozen.py --frozen-model my/model.pb --inputs x --outputs y=softmax --tflite my/model.tflite
    python tflite_from_frozen.py --saved-model my/exported/1 --quantize dynamic
    python tflite_from_frozen.py --keras my/model.keras
    python tflite_from_frozen.py --checkpoint my/model.ckpt --quantize int8 --calibrate x=@rows.npy

Needs `pip install -r requirements-export.txt`. Another source is frozen on the way. Without --tflite, a
model of your own called NAME becomes results/NAME.tflite, which --overwrite alone replaces. The keys of inputs and
outputs become those of the file's signature. The file has LiteRT's built-in ops alone, so it runs wherever LiteRT does;
it is run there and compared with TensorFlow. An input with a default value is fixed to it unless --inputs names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from freezemodel_save import SOURCES, freeze_for_export
from savedmodel_from_checkpoint import save
from savedmodel_from_frozen import load
from serialization import cli, project
from serialization.cli import require_installed
from serialization.console import format_size, print_notes, show_path
from serialization.files.beside import read_beside
from serialization.files.publish import stage_output
from serialization.flags import CONVERSION_FLAGS, EDIT_FLAGS, SOURCE_FLAGS
from serialization.given_flags import choose_model, name_target
from serialization.graph.export_record import RECORD, seal_record
from serialization.graph.op_registry import load_op_library
from serialization.graph.signature import SERVING_DEFAULT, Signature
from serialization.parser import make_parser
from serialization.run.differences import OTHER_RUNTIME
from serialization.run.given_feeds import read_rows
from serialization.run.loss import ANY, describe_loss
from serialization.run.origin import Origin
from serialization.run.predictor import Values
from serialization.run.verify import NOT_VERIFIED, prove_same
from serialization.runtimes.litert_runtime import LiteRTRuntime, load_tflite
from serialization.runtimes.runtime import open_for_proof
from serialization.sources.from_frozen import PreparedFrozenModel
from serialization.targets.export_description import describe_export, format_next
from serialization.targets.to_tflite import (
    LackingOpsError,
    add_metadata,
    explain_conversion,
    feed_defaults,
    fix_defaults,
    fix_lists,
    narrow_doubles,
    spell_out_ops,
    split_rows,
)
from serialization.tensorflow import tf


def convert(folder: Path, quantize: str | None, rows: Iterable[Values]) -> bytes:
    """The SavedModel in a folder as the bytes of a .tflite file; `rows` are for int8, each with a batch of one."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
    if quantize:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        converter.representative_dataset = lambda: ((SERVING_DEFAULT, row) for row in rows)
    return bytes(converter.convert())


def convert_frozen(ready: PreparedFrozenModel, path: Path, args: Any, labels: Sequence[str]) -> PreparedFrozenModel:
    """Write the .tflite file: by way of a SavedModel, from which alone the converter takes a signature.

    A record in it tells the server what the format does not say. Returns the model with the ops that were spelled out.
    """
    rows = list(split_rows(read_rows(ready.signature, args.calibrate, "--calibrate"))) if args.calibrate else []
    try:
        with TemporaryDirectory(dir=path.parent) as folder, explain_conversion(ready.signature):
            origin = load(ready)
            with origin.session:
                save(origin.session, Path(folder) / "1", origin.signature)
            model = convert(Path(folder) / "1", args.quantize, rows)
    except LackingOpsError as lacking:
        return convert_frozen(spell_out_ops(ready, lacking), path, args, labels)
    inputs = {tensor.name: tensor.key for tensor in ready.signature.inputs}
    outputs = [tensor.key for tensor in ready.signature.outputs]
    # What is scaled by the numbers of a run may depend on the rows beside it.
    how = {"compared": not (args.quantize or args.no_verify), "keeps_rows": args.quantize != "dynamic"}
    record = describe_export(ready, inputs, outputs, labels, **how)
    path.write_bytes(add_metadata(model, RECORD, record))
    seal_record(path, record)
    return ready


def prove(origin: Origin | None, path: Path, wanted: Signature, args: Any) -> str:
    """Run the file in LiteRT, and compare it with its source on the same feeds. Returns the lines to print.

    What quantizing loses is measured, not proved. Without a source the file is loaded alone.
    """
    open_result = partial(open_for_proof, lambda: LiteRTRuntime(load_tflite(path)))
    if origin is None:
        with open_result():
            return NOT_VERIFIED
    how: dict[str, Any] = {"tolerance": ANY, "report": describe_loss} if args.quantize else {"tolerance": OTHER_RUNTIME}
    return prove_same(feed_defaults(origin, wanted), lambda _: open_result(), args.feed, steady=True, **how)


def main(argv: Sequence[str] | None = None) -> int:
    default, toy = project.RESULTS / "model.tflite", project.RESULTS / "frozen_model.pb"
    flags = ("checkpoint", *SOURCE_FLAGS, *CONVERSION_FLAGS, *EDIT_FLAGS, "quantize", "calibrate")
    parser = make_parser(__doc__, *flags, frozen_model=toy, tflite=default)
    args = parser.parse_args(argv)
    kind, _ = choose_model(parser, args, ("frozen_model", *SOURCES))
    if (args.quantize == "int8") != bool(args.calibrate):
        parser.error("--quantize int8 and --calibrate go together: int8 needs to see typical values")
    require_installed("ai_edge_litert")
    name_target(parser, args, "tflite", "frozen_model", *SOURCES)

    labels = read_beside(getattr(args, kind))["labels"]  # a confined process cannot read them

    with stage_output(args.tflite, overwrite=args.overwrite or args.tflite == default) as path:
        load_op_library(args.op_library)
        with freeze_for_export(kind, args, path) as (frozen, origin):
            ready = narrow_doubles(fix_lists(fix_defaults(frozen, args.inputs)))
            ready = convert_frozen(ready, path, args, labels)
            proof = prove(origin, path, ready.signature, args)
        size = format_size(path.stat().st_size)
    print_notes(ready.changes)
    print(f"wrote {show_path(args.tflite)}: {size}{f', {args.quantize}' if args.quantize else ''}")
    print(proof)
    print(f"next: {format_next('--tflite', args.tflite, ready.signature)}")
    return 0


if __name__ == "__main__":
    cli.run(main)
