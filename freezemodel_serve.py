"""Serve a model over HTTP: a Flask application that answers POST /api/predict, behind a server for production.

Teaches one tf.compat.v1.Session for the life of the process, compiled once into a callable that all requests run.

    python freezemodel_serve.py
    python freezemodel_serve.py --host 0.0.0.0 --port 8080 --workers 2
    python freezemodel_serve.py --frozen-model my/frozen_model.pb --inputs x --outputs softmax
    python freezemodel_serve.py --saved-model my/model --signature serving_default
    python freezemodel_serve.py --checkpoint my/model.ckpt --inputs a=in_1,b=in_2 --outputs softmax

A model's only input is called x and its only output y, whatever the graph calls them. The page at / tells the rest.
Ctrl-C ends the server when the requests in flight are answered. Any WSGI server can run the application instead:
`freezemodel_serve:create_app()` returns it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import model
from checkpoint_restore import restore_session
from freezemodel_load import PREFIX, fill_session, import_graph, read_frozen
from savedmodel_pretrained import load_session
from serialization import cli, project
from serialization.cli import choose_flag, make_parser, refuse_flags, select_values
from serialization.console import show_path
from serialization.files.model_flags import MODEL_KINDS, find_model
from serialization.flags import MODEL_FLAGS, SAVED_MODEL_FLAGS
from serialization.formats.file_kind import ModelFile
from serialization.graph.op_registry import load_op_library
from serialization.graph.signature import Signature, bind_signature
from serialization.run.predictor import Predictor, give_sessions_own_threads, make_session_config
from serialization.serving.http.server import announce_server, run_server
from serialization.serving.limits import ADDRESS, LIMITS, Settings
from serialization.tensorflow import tf1

if TYPE_CHECKING:
    from flask import Flask


def open_frozen(opened: ModelFile, inputs: str | None, outputs: str | None, *, trust: bool) -> tuple[Any, Signature]:
    """One session on the imported graph, for all requests there will be: many threads may run it at once."""
    ready, constants = read_frozen(opened, inputs, outputs, trust=trust)
    graph = import_graph(ready.graph_def)
    session = tf1.Session(graph=graph, config=make_session_config())
    fill_session(session, ready, constants)
    return session, bind_signature(graph, ready.signature, PREFIX)


def compile_session(session: Any, signature: Signature, timeout: float) -> Predictor:
    """One callable for all requests: names are looked up and the graph is pruned once, not in each `session.run`."""
    return Predictor(session, signature, timeout=timeout)


def make_app(name: str, load: Callable[[], tuple[Any, Signature]], settings: Settings) -> Flask:
    """The Flask application for the model that `load` gives as a session and its signature; ready once this returns."""
    from flask import Flask, request

    from serialization.serving.app import add_routes, make_predict_route

    started = time.monotonic()
    give_sessions_own_threads()
    session, signature = load()
    run = compile_session(session, signature, settings.timeout)
    route = make_predict_route(run, settings)
    app = Flask("freezemodel_serve", static_folder=None)

    @app.post(route.path)  # /api/predict
    def predict() -> Any:
        # The plain view, for a model that takes x and gives y:
        #     x = numpy.array(request.get_json()["x"], "float32")
        #     return {"y": run({"x": x})["y"].tolist()}
        # It waits for a body of any length as long as the client likes, and runs any number of rows. It takes true for
        # 1.0, and answers a wrong value or a run over the time limit with 500 and no reason. It runs each request alone
        # and in TensorFlow's pool; a small model is done before a thread of the pool wakes, and a larger one runs 16
        # rows in the time of a few. It counts and logs nothing. The route does all of that; granian calls it past this
        # view, for Flask takes longer than a small model.
        return route.respond(request.environ)

    add_routes(app, name, route, load_seconds=time.monotonic() - started)
    return app


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
    """The application for any WSGI server, with one model; the parameters are the flags of the same names."""
    load_op_library(op_library)
    load: Callable[..., tuple[Any, Signature]]
    if saved_model is not None:
        found = find_model("saved_model", saved_model)
        load = partial(load_session, tag_set=tag_set, key=signature)
    elif checkpoint is not None:
        found, load = find_model("checkpoint", checkpoint), restore_session
    else:
        found, load = find_model("frozen_model", frozen_model or project.RESULTS / "frozen_model.pb"), open_frozen
    load = partial(load, found, inputs, outputs, trust=trust_model)
    return make_app(show_path(found.path), load, settings or Settings())


def main(argv: Sequence[str] | None = None) -> int:
    flags = ("saved-model", "checkpoint", *SAVED_MODEL_FLAGS, *MODEL_FLAGS)
    parser = make_parser(__doc__, *flags, frozen_model=project.RESULTS / "frozen_model.pb", **ADDRESS, **LIMITS)
    args = parser.parse_args(argv)
    kind = choose_flag(parser, args, MODEL_KINDS)
    if kind != "saved_model":
        refuse_flags(parser, args, SAVED_MODEL_FLAGS, "goes with --saved-model")
    path = find_model(kind, getattr(args, kind)).path  # before any worker looks for it
    choice = {kind: path, **select_values(args, *SAVED_MODEL_FLAGS, *MODEL_FLAGS)}
    bodies = [] if args.inputs or args.outputs else model.make_example_bodies(path)
    announce = partial(announce_server, show_path(path), bodies)
    settings = Settings(**select_values(args, *LIMITS))
    run_server(partial(create_app, **choice), settings, announce, **select_values(args, *ADDRESS))
    return 0


if __name__ == "__main__":
    cli.run(main)
