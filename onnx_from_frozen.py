"""Turn a frozen model into an ONNX model: one file that ONNX Runtime, OpenVINO and many others run.

Teaches tf2onnx.convert.from_graph_def(graph_def, input_names=[...], output_names=[...], opset=18).

    python onnx_from_frozen.py
    python onnx_from_frozen.py --frozen-model my/model.pb --inputs x --outputs y=softmax --onnx my/model.onnx
    python onnx_from_frozen.py --saved-model my/exported/1
    python onnx_from_frozen.py --keras my/model.keras
    python onnx_from_frozen.py --checkpoint my/model.ckpt --opset 13

Needs `pip install -r requirements-export.txt`. Another source is frozen on the way. Without --onnx, a
model of your own called NAME becomes results/NAME.onnx, which --overwrite alone replaces. The keys of inputs and
outputs become their names in the file; a batch size that is free stays free. The result is run in onnxruntime and
compared with TensorFlow: a number may be off by 0.0001, a thousandth of itself and the rounding of the largest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from freezemodel_save import SOURCES, freeze_for_export
from serialization import cli, project
from serialization.cli import require_installed
from serialization.console import format_size, print_notes, show_path
from serialization.files.beside import read_beside
from serialization.files.publish import stage_output
from serialization.flags import CONVERSION_FLAGS, EDIT_FLAGS, SOURCE_FLAGS
from serialization.given_flags import choose_model, name_target
from serialization.graph.export_record import RECORD, seal_record
from serialization.graph.op_registry import load_op_library
from serialization.parser import make_parser
from serialization.run.differences import OTHER_RUNTIME
from serialization.run.given_feeds import Feed
from serialization.run.origin import Origin
from serialization.run.verify import NOT_VERIFIED, prove_same
from serialization.runtimes.onnx_runtime import OnnxRuntime, load_onnx
from serialization.runtimes.runtime import open_for_proof
from serialization.targets.export_description import describe_export, format_next
from serialization.targets.onnx_writer import write_onnx_file
from serialization.targets.to_onnx import (
    OnnxGraph,
    explain_conversion,
    has_tensor_arrays,
    prepare_onnx_graph,
    require_onnx_ops,
)


def convert(graph: OnnxGraph, opset: int) -> Any:
    """The graph as an onnx.ModelProto. Its large constants are inputs still."""
    with explain_conversion():
        import tf2onnx.convert

        model, _ = tf2onnx.convert.from_graph_def(
            graph.graph_def,
            input_names=graph.inputs,
            output_names=graph.outputs,
            opset=opset,
            custom_op_handlers=graph.handlers,
        )
    return model


def write(path: Path, model: Any, graph: OnnxGraph, record: bytes) -> None:
    """Write the file, with the record from which the server knows what the format does not say."""
    model.metadata_props.add(key=RECORD, value=record)
    write_onnx_file(path, model, graph.names, graph.constants, graph.required)
    seal_record(path, record)


def prove(origin: Origin | None, path: Path, given: Sequence[Feed] | None) -> str:
    """Run the file in onnxruntime, and compare it with its source on the same feeds. Returns the lines to print.

    Without a source it is loaded alone: onnxruntime does not take all that is converted.
    """
    open_result = partial(open_for_proof, lambda: OnnxRuntime(*load_onnx(path)))
    if origin is None:
        with open_result():
            return NOT_VERIFIED
    return prove_same(origin, lambda _: open_result(), given, steady=True, tolerance=OTHER_RUNTIME)


def main(argv: Sequence[str] | None = None) -> int:
    default, toy = project.RESULTS / "model.onnx", project.RESULTS / "frozen_model.pb"
    parser = make_parser(
        __doc__, "checkpoint", *SOURCE_FLAGS, *CONVERSION_FLAGS, *EDIT_FLAGS, frozen_model=toy, onnx=default, opset=18
    )
    args = parser.parse_args(argv)
    kind, _ = choose_model(parser, args, ("frozen_model", *SOURCES))
    require_installed("tf2onnx", "onnxruntime")
    name_target(parser, args, "onnx", "frozen_model", *SOURCES)

    labels = read_beside(getattr(args, kind))["labels"]  # a confined process cannot read them

    with stage_output(args.onnx, overwrite=args.overwrite or args.onnx == default) as path:
        load_op_library(args.op_library)
        with freeze_for_export(kind, args, path) as (ready, origin):
            graph = prepare_onnx_graph(ready)
            model = convert(graph, args.opset)
            if has_tensor_arrays(model):
                graph = prepare_onnx_graph(ready, as_lists=True)
                model = convert(graph, args.opset)
            require_onnx_ops(model)
            outputs = [graph.names[name] for name in graph.outputs]
            record = describe_export(ready, graph.names, outputs, labels, compared=not args.no_verify)
            write(path, model, graph, record)
            proof = prove(origin, path, args.feed)
        size = format_size(path.stat().st_size)
    print_notes([*ready.changes, *graph.notes])
    print(f"wrote {show_path(args.onnx)}: {size}, opset {args.opset}")
    print(proof)
    print(f"next: {format_next('--onnx', args.onnx, ready.signature)}")
    return 0


if __name__ == "__main__":
    cli.run(main)
