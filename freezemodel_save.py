"""Freeze a model: variables become constants, training ops go, one GraphDef in one file remains.

Teaches tf.compat.v1.graph_util.convert_variables_to_constants(session, graph_def, output_node_names).

    python freezemodel_save.py
    python freezemodel_save.py --checkpoint my/model.ckpt --inputs x --outputs softmax --frozen-model my/frozen_model.pb
    python freezemodel_save.py --saved-model my/exported/1 --frozen-model my/frozen_model.pb
    python freezemodel_save.py --keras my/model.keras --frozen-model my/frozen_model.pb
    python freezemodel_save.py --checkpoint my/model.ckpt --pin keep_prob=1.0 --batch-size any

Without --frozen-model, a model of your own called NAME becomes results/NAME.pb, which --overwrite alone replaces.
freezemodel_edit.py tells what --pin, --no-dropout, --input-shape and --batch-size change.
A frozen model cannot be trained any more, needs no variables to be restored, and runs wherever a GraphDef is read.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from checkpoint_restore import open_checkpoint, read_checkpoint
from freezemodel_edit import edit_file, edit_model, prove
from freezemodel_load import open_frozen_source
from savedmodel_from_keras import open_keras_model, read_keras_model
from savedmodel_pretrained import open_saved_model, read_saved_model
from serialization import cli, project
from serialization.console import format_command, print_notes, show_path
from serialization.files.publish import stage_output
from serialization.flags import CONVERSION_FLAGS, EDIT_FLAGS, RESULT_FLAGS, SOURCE_FLAGS
from serialization.given_flags import choose_model, name_target, repeat_flags
from serialization.graph.keys import name_by_keys
from serialization.graph.op_registry import load_op_library
from serialization.graph.recorded_signature import record_signature
from serialization.graph.signature import Tensor
from serialization.parser import make_parser
from serialization.run.origin import Origin
from serialization.run.verify import NOT_VERIFIED
from serialization.sources.from_frozen import PreparedFrozenModel, read_written_model
from serialization.targets import to_frozen
from serialization.tensorflow import tf1

# How a model is read, and then opened, by the flag that names it. A kind that becomes one of these gets a line here.
SOURCES: dict[str, tuple[Callable[..., Any], Callable[..., Origin]]] = {
    "checkpoint": (read_checkpoint, open_checkpoint),
    "saved_model": (read_saved_model, open_saved_model),
    "keras": (read_keras_model, open_keras_model),
}


def freeze(session: Any, graph_def: Any, wanted: Iterable[Tensor]) -> Any:
    """The GraphDef of what these tensors need, with the value of each variable in the place of the variable."""
    nodes = dict.fromkeys(tensor.name.partition(":")[0] for tensor in wanted)
    return tf1.graph_util.convert_variables_to_constants(session, graph_def, list(nodes))


def write_frozen(origin: Origin, path: Path, size: int) -> None:
    """Freeze a model with `size` bytes of variables into a file, which records the signature."""
    if to_frozen.suffices_plain_call(origin, size):
        graph_def, names = name_by_keys(origin.graph_def, origin.signature)
        with to_frozen.explain_missing_values():
            # Inputs too: the call drops a placeholder that no output needs, and callers feed it all the same.
            frozen_def = freeze(origin.session, graph_def, (*names.outputs, *names.inputs))
        record_signature(frozen_def, names)  # a GraphDef has no place for it but the nodes' own attributes
        path.write_bytes(frozen_def.SerializeToString())
    else:  # the plain call would leave functions, tables and references, and hold large variables several times
        to_frozen.freeze_graph(path, origin.index, origin.signature, origin.session)


@contextmanager
def freeze_source(kind: str, args: argparse.Namespace, path: Path) -> Iterator[tuple[Any, Origin | None]]:
    """Freeze the model that the flags name into a file. Gives it as it was read, and open; None with --no-verify."""
    read, open_source = SOURCES[kind]
    prepared = read(args)
    to_frozen.require_freezable(prepared)
    if args.no_verify and to_frozen.freeze_stored_values(path, prepared):  # from file to file, without a session
        yield prepared, None
        return
    origin = open_source(prepared)
    with closing(origin.session):  # not as the default session: an exporter may go on without a graph
        write_frozen(origin, path, prepared.size)
        yield prepared, None if args.no_verify else origin


@contextmanager
def freeze_for_export(
    kind: str, args: argparse.Namespace, staged: Path
) -> Iterator[tuple[PreparedFrozenModel, Origin | None]]:
    """The same for exporters, which take a frozen model too: its graph, and the open source.

    The frozen file lies beside `staged`, the exporter's own file, until the end: large constants stay in it.
    """
    if kind == "frozen_model":
        with open_frozen_source(args) as source:
            yield edit_model(*source, args)
        return
    with TemporaryDirectory(dir=staged.parent) as folder:  # a confined process may write there and nowhere else
        path = Path(folder) / "frozen_model.pb"
        with freeze_source(kind, args, path) as (prepared, origin):
            yield edit_model(read_written_model(path, prepared.signature, trust=args.trust_model), origin, args)


def main(argv: Sequence[str] | None = None) -> int:
    default, toy = project.RESULTS / "frozen_model.pb", project.RESULTS / "graph.ckpt"
    parser = make_parser(__doc__, *SOURCE_FLAGS, *CONVERSION_FLAGS, *EDIT_FLAGS, checkpoint=toy, frozen_model=default)
    args = parser.parse_args(argv)
    kind, _ = choose_model(parser, args, tuple(SOURCES))
    name_target(parser, args, "frozen_model", *SOURCES)

    with stage_output(args.frozen_model, overwrite=args.overwrite or args.frozen_model == default) as path:
        load_op_library(args.op_library)
        with freeze_source(kind, args, path) as (prepared, source):
            origin, changes = edit_file(path, prepared.signature, source, args)
            proof = NOT_VERIFIED if origin is None else prove(origin, path, args)
        difference = to_frozen.measure_difference(kind, prepared.whole, path)
    print_notes(changes)
    to_frozen.print_difference(difference)
    print(f"wrote {show_path(args.frozen_model)}\n{proof}")
    print(f"next: {format_command('freezemodel_load.py', *repeat_flags(parser, args, 'frozen-model', *RESULT_FLAGS))}")
    return 0


if __name__ == "__main__":
    cli.run(main)
