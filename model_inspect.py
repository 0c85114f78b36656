"""What is in this file? Answers for models of TensorFlow, Keras, ONNX and LiteRT, without starting any of them.

Teaches that all of TensorFlow's are protobufs: GraphDef.FromString, MetaGraphDef.FromString, SavedModel.FromString.

    python model_inspect.py
    python model_inspect.py my/frozen_model.pb
    python model_inspect.py my/model.ckpt --json
    python model_inspect.py my/saved_model/1 --strict --tensorboard logs --dot graph.dot

Shows the format and the TensorFlow version that wrote it, signatures or what is likely to be the inputs and outputs,
variables, ops, functions, tables and assets, device pins, ops that TensorFlow 2.21 does not know, and what the safety
scan found (docs/safety.md).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from serialization import cli, project
from serialization.console import format_count, make_printable, show_path
from serialization.errors import UserError
from serialization.files.publish import stage_output
from serialization.graph.graph_index import GraphIndex
from serialization.inspect import event_file
from serialization.inspect.dot import draw_graph
from serialization.inspect.report import inspect_model, list_findings, list_outputs
from serialization.inspect.text import print_report
from serialization.parser import check_type, make_parser
from serialization.project import parse_path

EVENTS = "events.out.tfevents.0.model_inspect"  # TensorBoard looks for the word tfevents


def write_pictures(args: Any, report: dict[str, Any], index: GraphIndex | None, staged: dict[Path, Path]) -> None:
    """Write what --tensorboard and --dot ask for to its staged place. Raises UserError where no graph is to draw."""
    if not staged:
        return
    if index is None:
        raise UserError(f"{show_path(args.path)} holds no graph to draw; found variables only; name the graph's file")
    for file, new in staged.items():
        if file == args.dot:
            outputs = [name for graph in report["graphs"] for name in list_outputs(graph)]
            new.write_text(draw_graph(index, outputs), "utf-8")
        else:
            event_file.write_event_file(new, index.graph_def)


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "json", "strict", "tensorboard", "dot", "overwrite", "tag-set")
    default = project.RESULTS / "frozen_model.pb"
    parser.add_argument(
        "path",
        nargs="?",
        type=check_type(parse_path),
        metavar="PATH",
        default=default,
        help="any file or folder of a model",
    )
    # Confined like a script that loads: TensorFlow reads modules of StableHLO, HDF5's library the weights of Keras.
    parser.set_defaults(allow_read=None, unconfined=False)
    args = parser.parse_args(argv)

    wanted = [args.dot, args.tensorboard and args.tensorboard / EVENTS]
    with ExitStack() as outputs:
        staged = {file: outputs.enter_context(stage_output(file, overwrite=args.overwrite)) for file in wanted if file}
        report, index = inspect_model(args.path, args.tag_set)
        write_pictures(args, report, index, staged)  # first: the reader of the report may stop before its end
    found = list_findings(report)
    if args.json:
        print(json.dumps(report, indent=1))
    else:
        print_report(report, found)
    if not args.json:
        for file in staged:
            print(f"wrote {show_path(file)}")
    if args.strict and found:
        first = make_printable(found[0], 400)
        raise UserError(
            f"{show_path(args.path)} has {format_count(len(found), 'finding')}; the first: {first}; see above"
        )
    return 0


if __name__ == "__main__":
    cli.run(main)
