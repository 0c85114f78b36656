"""Serve a model over HTTP: a Flask application that answers POST /api/predict, behind a server for production.

Teaches one tf.compat.v1.Session for the life of the process, compiled once into a callable that all requests run.

    python freezemodel_serve.py
    python freezemodel_serve.py --host 0.0.0.0 --port 8080 --workers 2
    python freezemodel_serve.py --frozen-model my/frozen_model.pb --inputs x --outputs softmax
    python freezemodel_serve.py --saved-model my/model --signature serving_default
    python freezemodel_serve.py --checkpoint my/model.ckpt --inputs a=in_1,b=in_2 --outputs softmax

A model's only input is called x and its only output y, whatever the graph calls them. The page at / tells the rest.
Ctrl-C ends the server when what is in flight is answered. Any WSGI server can run the application instead: it is what
`freezemodel_serve:create_app()` returns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import checkpoint_restore
import freezemodel_load
import model
import savedmodel_pretrained
from serialization import cli, project
from serialization.cli import make_parser, refuse_flags, select_values
from serialization.console import format_command, show_path
from serialization.errors import UserError
from serialization.files import locate
from serialization.flags import MODEL_FLAGS, SAVED_MODEL_FLAGS
from serialization.graph.op_registry import load_op_library
from serialization.graph.signature import Signature, bind_signature
from serialization.serving.http.server import announce_server, run_server
from serialization.serving.limits import Settings
from serialization.sources.from_checkpoint import prepare_checkpoint, read_checkpoint_graph
from serialization.sources.from_saved_model import prepare_saved_model

if TYPE_CHECKING:
    from flask import Flask

FINDERS = {
    "frozen_model": locate.find_frozen_model,
    "saved_model": locate.find_saved_model,
    "checkpoint": locate.find_checkpoint,
}


def open_frozen(path: Path, inputs: str | None, outputs: str | None, *, trust: bool) -> tuple[Any, Signature]:
    """One graph and one session on it, for all requests there will be."""
    predict, _ = freezemodel_load.open_frozen(path, inputs, outputs, trust=trust)
    return predict.session, predict.signature


def open_checkpoint(prefix: Path, inputs: str | None, outputs: str | None, *, trust: bool) -> tuple[Any, Signature]:
    """The same from a checkpoint: the variables stay variables."""
    file = read_checkpoint_graph(prefix)
    prepared = prepare_checkpoint(prefix, file, *model.names_of(file.graph_def, inputs, outputs), trust=trust)
    session, saver = checkpoint_restore.start(prepared, trust=trust, optimize=True)
    checkpoint_restore.fill(session, saver, prepared)
    return session, bind_signature(session.graph, prepared.signature)


def open_saved_model(
    folder: Path, inputs: str | None, outputs: str | None, tag_set: str | None, key: str | None, *, trust: bool
) -> tuple[Any, Signature]:
    """The same from a SavedModel, whose own signature names its inputs and outputs."""
    exported = prepare_saved_model(folder, tag_set, key, inputs, outputs, trust=trust)
    session, _ = savedmodel_pretrained.start(folder, tag_set, trust=trust)
    return session, bind_signature(session.graph, exported.signature)


def create_app(
    frozen_model: Path | None = None,
    saved_model: Path | None = None,
    checkpoint: Path | None = None,
    *,
    inputs: str | None = None,
    outputs: str | None = None,
    tag_set: str | None = None,
    signature: str | None = None,
    op_library: Path | None = None,
    trust_model: bool = False,
    settings: Settings | None = None,
) -> Flask:
    """The application for any WSGI server, with one model loaded and warmed up; by default results/frozen_model.pb.

    The parameters are the flags of the same names.
    """
    from serialization.serving.app import make_app

    load_op_library(op_library)
    if saved_model is not None:
        path = locate.find_saved_model(saved_model)
        load = partial(open_saved_model, path, inputs, outputs, tag_set, signature, trust=trust_model)
    elif checkpoint is not None:
        path = locate.find_checkpoint(checkpoint)
        load = partial(open_checkpoint, path, inputs, outputs, trust=trust_model)
    else:
        path = locate.find_frozen_model(frozen_model or project.RESULTS / "frozen_model.pb")
        load = partial(open_frozen, path, inputs, outputs, trust=trust_model)
    return make_app(show_path(path), load, settings or Settings())


def find(flag: str, path: Path) -> Path:
    """What lies at the path. Raises UserError where it is something else, with the flag for that if there is one."""
    try:
        return FINDERS[flag](path)
    except UserError:
        for other in [other for other in FINDERS if other != flag]:
            with suppress(UserError), redirect_stdout(None):
                FINDERS[other](path)
                break
        else:
            raise
    right = format_command("freezemodel_serve.py", f"--{other.replace('_', '-')}", path)
    raise UserError(f"{show_path(path)} is no {flag.replace('_', ' ')}; use `{right}`")


def main(argv: Sequence[str] | None = None) -> int:
    limits = {field.name: field.default for field in fields(Settings) if field.name != "metrics_folder"}
    defaults = {"host": "127.0.0.1", "port": 5000, "workers": 1, "grace": 30.0, **limits}
    flags = ("frozen-model", "saved-model", "checkpoint", *SAVED_MODEL_FLAGS, *MODEL_FLAGS)
    parser = make_parser(__doc__, *flags, frozen_model=project.RESULTS / "frozen_model.pb", **defaults)
    args = parser.parse_args(argv)
    named = [flag for flag in FINDERS if getattr(args, flag) != parser.get_default(flag)] or ["frozen_model"]
    if len(named) > 1:
        parser.error(f"one model at a time; found {', '.join('--' + flag.replace('_', '-') for flag in named)}")
    if not args.saved_model:
        refuse_flags(parser, args, SAVED_MODEL_FLAGS, "goes with --saved-model")
    path = find(named[0], getattr(args, named[0]))  # before any worker looks for it
    choice = {named[0]: path, **select_values(args, *SAVED_MODEL_FLAGS, *MODEL_FLAGS)}
    toy = project.RESULTS.resolve() in path.resolve().parents and not (args.inputs or args.outputs)
    rows = json.loads(model.EXAMPLES)
    bodies = [json.dumps({"x": x}, separators=(",", ":")) for x in (rows[:1], rows)] if toy else []

    run_server(
        partial(create_app, **choice),
        Settings(**select_values(args, *limits)),
        announce=partial(announce_server, show_path(path), bodies),
        **select_values(args, "host", "port", "workers", "grace"),
    )
    return 0


if __name__ == "__main__":
    cli.run(main)
