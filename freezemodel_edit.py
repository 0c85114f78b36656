"""Edit a frozen model: fix inputs to values, switch dropout off, change shapes and the batch size, cut it.

Teaches tf.compat.v1.import_graph_def(graph_def, input_map={"keep_prob:0": tf.constant(1.0)}).

    python freezemodel_edit.py
    python freezemodel_edit.py --batch-size 8 --out my/toy.pb
    python freezemodel_edit.py --frozen-model my/model.pb --pin keep_prob=1.0 --pin is_training=false --out my/served.pb
    python freezemodel_edit.py --frozen-model my/model.pb --no-dropout --batch-size any
    python freezemodel_edit.py --frozen-model my/model.pb --input-shape x=[None,224,224,3] --outputs features

Without a flag that changes something, the part that inputs and outputs need is written. freezemodel_save.py and the
exporters take the same flags. Without --out, a model of your own called NAME becomes results/NAME.pb, which --overwrite
alone replaces. The signature stays recorded. Each change is proved against the source that is changed in the same way
from outside: fed the pinned values, run with dropout layers that keep all, run in batches of its own size.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from freezemodel_load import load, open_frozen_source
from serialization import cli, project
from serialization.console import format_command, print_notes, show_path
from serialization.files.publish import stage_output
from serialization.flags import CONVERSION_FLAGS, EDIT_FLAGS, RESULT_FLAGS
from serialization.given_flags import name_target, repeat_flags, select_values
from serialization.graph.graph_def import get_node_name
from serialization.graph.op_registry import load_op_library
from serialization.graph.repair import remove_lost_locations
from serialization.graph.signature import Signature
from serialization.parser import make_parser
from serialization.run.origin import Origin
from serialization.run.predictor import Predictor
from serialization.run.verify import NOT_VERIFIED, prove_same
from serialization.sources.from_frozen import PreparedFrozenModel, read_written_model
from serialization.targets import to_frozen
from serialization.targets.changed_shapes import change_shapes, choose_shapes
from serialization.targets.frozen_writer import write_prepared_model
from serialization.targets.pinned_inputs import fix_pinned, read_pins, take_defaults
from serialization.targets.removed_dropout import switch_dropout_off
from serialization.tensorflow import tf, tf1


def replace_inputs(graph_def: Any, values: Mapping[str, Any]) -> Any:
    """The GraphDef with constants in the place of these inputs, by tensor names; its shapes are inferred anew.

    Raises ValueError where shapes do not fit.
    """
    rest = tf1.GraphDef()
    rest.CopyFrom(graph_def)
    pinned = {get_node_name(name): name for name in values}
    del rest.node[:]
    rest.node.extend(node for node in graph_def.node if node.name not in pinned)
    remove_lost_locations(rest)
    with tf1.Graph().as_default() as graph:
        constants = {node: tf.constant(values[name], name=node) for node, name in pinned.items()}
        used = {edge for node in rest.node for edge in node.input}
        sources = {f"{node}:0": c for node, c in constants.items() if used & {node, f"{node}:0"}}
        sources |= {f"^{node}": c for node, c in constants.items() if f"^{node}" in used}
        tf1.import_graph_def(rest, name="", input_map=sources)
    return graph.as_graph_def()


def edit_model(
    ready: PreparedFrozenModel, origin: Origin | None, args: argparse.Namespace
) -> tuple[PreparedFrozenModel, Origin | None]:
    """The model as the flags change it, and the source that it is to be compared with."""
    ready, origin = take_defaults(ready, origin, args.pin or ())
    values = read_pins(ready, args.pin or ())
    if args.no_dropout:
        ready, origin = switch_dropout_off(ready, origin)
    if pinned := {tensor.name: values[tensor.name] for tensor in ready.signature.inputs if tensor.name in values}:
        ready, origin = fix_pinned(ready, origin, pinned, replace_inputs)
    if args.input_shape or args.batch_size:
        shapes = choose_shapes(ready.signature, args.input_shape or (), args.batch_size)
        ready, origin = change_shapes(ready, origin, shapes, lambda graph_def: replace_inputs(graph_def, {}))
    return ready, origin


def edit_file(
    path: Path, wanted: Signature, origin: Origin | None, args: argparse.Namespace
) -> tuple[Origin | None, tuple[str, ...]]:
    """Change a frozen model that was just written, in its file, if flags ask for it.

    Returns the source as changed, and the lines on what was changed.
    """
    if not any(select_values(args, *EDIT_FLAGS).values()):
        return origin, ()
    ready, origin = edit_model(read_written_model(path, wanted, trust=args.trust_model), origin, args)
    edited = path.with_name(f"{path.name}-edited")
    write_prepared_model(edited, ready)
    edited.replace(path)
    return origin, ready.changes


def prove(origin: Origin, path: Path, args: argparse.Namespace) -> str:
    """Read the file back, run it and its source on the same feeds, and compare. Returns the lines to print."""
    ready = read_written_model(path, origin.signature, trust=args.trust_model)
    return prove_same(origin, lambda optimize: Predictor(*load(ready, optimize=optimize)), args.feed, steady=True)


def main(argv: Sequence[str] | None = None) -> int:
    toy, default = (project.RESULTS / name for name in ("frozen_model.pb", "edited_model.pb"))
    parser = make_parser(__doc__, *CONVERSION_FLAGS, *EDIT_FLAGS, frozen_model=toy, out=default)
    args = parser.parse_args(argv)
    name_target(parser, args, "out", "frozen_model")

    with stage_output(args.out, overwrite=args.overwrite or args.out == default) as path:
        load_op_library(args.op_library)
        with open_frozen_source(args) as (whole, source):
            ready, origin = edit_model(whole, source, args)
            write_prepared_model(path, ready)
            proof = NOT_VERIFIED if origin is None else prove(origin, path, args)
        size = to_frozen.measure_difference("source", whole.graph_def, path)
    print_notes(ready.changes)
    to_frozen.print_difference(size)
    if not any(select_values(args, *EDIT_FLAGS, "inputs", "outputs").values()):
        print("nothing is changed, as no flag asks for it; what no output needs is left out")
    print(f"wrote {show_path(args.out)}\n{proof}")
    again = repeat_flags(parser, args, *RESULT_FLAGS)
    print(f"next: {format_command('freezemodel_load.py', '--frozen-model', args.out, *again)}")
    return 0


if __name__ == "__main__":
    cli.run(main)
