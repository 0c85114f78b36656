"""Serve a model over HTTP: a Flask application that answers POST /api/predict, behind a server for production.

Teaches one tf.compat.v1.Session for the life of the process, compiled once into a callable that all requests run.

    python freezemodel_serve.py
    python freezemodel_serve.py --host 0.0.0.0 --port 8080 --workers 2
    python freezemodel_serve.py --frozen-model my/frozen_model.pb --inputs x --outputs softmax
    python freezemodel_serve.py --saved-model my/model --signature serving_default
    python freezemodel_serve.py --checkpoint my/model.ckpt --inputs a=in_1,b=in_2 --outputs softmax
    python freezemodel_serve.py --keras my/model.keras
    python freezemodel_serve.py --saved-model my/models/house --watch
    python freezemodel_serve.py --model house=my/models/house --model cat=my/cat.pb
    python freezemodel_serve.py --onnx my/model.onnx
    python freezemodel_serve.py --tflite my/model.tflite

A model's only input is called x and its only output y, whatever the graph calls them. The page at / tells the rest.
Clients of TensorFlow Serving (/v1) and of KServe V2 (/v2) are answered too, with the keys of the signature. With
--grpc-port they may use gRPC.
With --watch a new version, such as my/models/house/2, takes over without a failed request.
A Keras model is frozen first, and proved, into a folder for temporary files; the server needs no Keras.
For --onnx and --tflite it needs no TensorFlow: `pip install -r requirements-serve.txt` is enough.
Ctrl-C ends the server when the requests in flight are answered. Any WSGI server can run the application instead:
`freezemodel_serve:create_app()` returns it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import model
from checkpoint_restore import restore_session
from freezemodel_load import open_frozen
from savedmodel_pretrained import load_session
from serialization import cli, project
from serialization.cli import list_readable, require_installed
from serialization.console import show_path
from serialization.errors import UserError
from serialization.files.beside import read_beside
from serialization.files.model_flags import (
    EXPORTED_KINDS,
    MODEL_KINDS,
    choose_given_path,
    detect_model_kind,
    find_model,
    find_newest_model,
)
from serialization.files.stamps import get_watched_folder
from serialization.files.unpacking import call_with_unpacked, list_unpacked
from serialization.flags import CONFINEMENT_FLAGS, KERAS_FLAGS, LOAD_FLAGS, MODEL_FLAGS, SAVED_MODEL_FLAGS
from serialization.given_flags import choose_model, refuse_flags, repeat_flags, select_values
from serialization.graph.op_registry import load_op_library
from serialization.graph.signature import Signature
from serialization.parser import make_parser
from serialization.run.predictor import Predictor, give_sessions_own_threads
from serialization.runtimes.litert_runtime import LiteRTRuntime, load_tflite
from serialization.runtimes.onnx_runtime import OnnxRuntime, load_onnx
from serialization.runtimes.runtime import Runtime
from serialization.runtimes.tensorflow_runtime import TensorFlowRuntime
from serialization.serving.http.rehearsal import Asker, Rehearsals
from serialization.serving.http.server import announce_server, run_server
from serialization.serving.limits import ADDRESS, LIMITS, VERSIONS, Settings
from serialization.serving.wire.protocol import name_served_model

if TYPE_CHECKING:
    from flask import Flask

    from serialization.serving.http.predict_route import PredictRoute
    from serialization.serving.http.version import Version


class Source(NamedTuple):
    """A model that was found: its name in URLs, its kind, where it is, its path for people, what lies beside it."""

    name: str
    kind: str
    path: Path
    shown: str
    beside: dict[str, Any]


def compile_session(session: Any, signature: Signature, timeout: float) -> TensorFlowRuntime:
    """One callable for all requests: names are looked up and the graph is pruned once, not in each `session.run`."""
    # The plain call, session.make_callable(outputs, inputs), has no time limit; each run takes 4 to 11 times as long.
    return TensorFlowRuntime(Predictor(session, signature, timeout=timeout), timeout)


Open = Callable[..., tuple[Any, ...]]  # gives what Compile takes, before the time limit: a session, and its signature
Compile = Callable[..., Runtime]

# How a model is opened, and what then runs it, with a time limit, by the flag that names it.
OPENERS: dict[str, tuple[Open, Compile]] = {
    "frozen_model": (open_frozen, compile_session),
    "saved_model": (load_session, compile_session),
    "checkpoint": (restore_session, compile_session),
    "onnx": (lambda found: load_onnx(found.path), OnnxRuntime),
    "tflite": (lambda found: (load_tflite(found.path),), LiteRTRuntime),
}
MODULES = {"onnx": "onnxruntime", "tflite": "ai_edge_litert"}  # what the others need is TensorFlow


def require_runtimes(*kinds: str) -> None:
    """Raise ModuleNotFoundError if the program that runs models of one of these kinds is not installed."""
    require_installed(*["tensorflow" for kind in kinds if kind not in MODULES])
    if exported := [MODULES[kind] for kind in kinds if kind in MODULES]:
        require_installed(*exported, requirements="requirements-serve.txt")


def make_load(
    name: str, open_model: Open, settings: Settings, compile_model: Compile = compile_session
) -> Callable[..., Version]:
    """The function that loads a model, called `name` for people; of one that is watched, the version at a path."""
    from serialization.serving.app import load_version

    def load(*path: Path) -> Version:
        opened = open_model(*path)  # one session for all its requests; many threads may run it at once
        run = compile_model(*opened, settings.timeout)
        return load_version(name or show_path(*path), run, settings)

    return load


def make_app(name: str, open_model: Open, settings: Settings) -> Flask:
    """The Flask application for one model, ready to answer once this returns."""
    from serialization.serving.app import make_predict_route

    return make_route_app(lambda: make_predict_route([make_load(name, open_model, settings)], settings))


def make_route_app(make_route: Callable[[], PredictRoute]) -> Flask:
    """The same for the models that a route loads."""
    from flask import Flask, request

    from serialization.serving.app import add_routes

    started = time.monotonic()
    give_sessions_own_threads()  # a session with one thread, for batches, would share the pool of the first
    route = make_route()
    app = Flask("freezemodel_serve", static_folder=None)

    @app.post(route.path, provide_automatic_options=False)  # /api/predict
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

    add_routes(app, route, load_seconds=time.monotonic() - started)
    return app


def freeze_keras(keras: Path, folder: Path, *words: str | Path) -> Path:
    """Freeze a Keras model into the folder by freezemodel_save.py, in a confined process that ends with Keras in it."""
    frozen = folder / "frozen_model.pb"
    command = [sys.executable, project.ROOT / "freezemodel_save.py", "--keras", keras, "--frozen-model", frozen, *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(done.stderr.strip().removeprefix("error: "))
    if "\nproved: " not in done.stdout:
        print(f"{show_path(keras)}: {done.stdout.splitlines()[-2]}")  # why nothing was proved
    return frozen


def create_app(
    frozen_model: Path | None = None,
    saved_model: Path | None = None,
    checkpoint: Path | None = None,
    *,
    onnx: Path | None = None,
    tflite: Path | None = None,
    models: Mapping[str, Path] | None = None,
    settings: Settings | None = None,
    **how: Any,
) -> Flask:
    """The application for any WSGI server, with one model, or with several by their names in URLs.

    The parameters are the flags of the same names. A Keras model has to be frozen before (`freeze_keras`).
    """
    if models:
        places = {name: (detect_model_kind(path), path) for name, path in models.items()}
    else:
        given = {"frozen_model": frozen_model, "saved_model": saved_model, "checkpoint": checkpoint}
        places = {"": choose_given_path(**given, onnx=onnx, tflite=tflite)}
    sources = [make_source(*place, find_model(*place), name) for name, place in places.items()]
    return load_sources(sources, settings=settings or Settings(), **how)


def make_source(
    kind: str, path: Path, found: Any, name: str = "", *, versions: bool = False, shown: Path | None = None
) -> Source:
    """The model that was `found` at a path; its name in URLs is `name`. People are `shown` its path or another.

    With `versions`, those at the path are meant, now or later, and else the one that was found.
    """
    shown = shown or found.path
    if not versions:
        return Source(name, kind, found.path, show_path(shown), read_beside(shown))
    if list_unpacked():
        raise UserError(f"--watch and --keep-versions cannot look into the archive {show_path(path)}; unpack it")
    name = name or name_served_model(found.path, Settings()).name  # later versions get the same name
    return Source(name, kind, path, show_path(shown), read_beside(shown))


def load_sources(
    sources: Sequence[Source],
    *,
    settings: Settings,
    op_library: Path | None = None,
    watch: bool = False,
    keep_versions: int = 1,
    asker: Asker | None = None,
    **how: Any,
) -> Flask:
    """The application for these models; `how` are the arguments of the functions that open them.

    New versions are rehearsed by the `asker`, if there is one.
    """
    from serialization.serving.app import make_predict_route, make_watching_route
    from serialization.serving.http.reload import Watched

    load_op_library(op_library)
    if watch or keep_versions > 1:
        watched = [
            Watched(source.kind, source.path, make_source_load(source, "", settings, how), keep_versions)
            for source in sources
        ]
        if asker:
            watched = [replace(one, ask=partial(asker.ask, i)) for i, one in enumerate(watched)]
        return make_route_app(lambda: make_watching_route(watched, settings, reload=watch))
    known = [partial(make_source_load(source, source.shown, settings, how), source.path) for source in sources]
    return make_route_app(lambda: make_predict_route(known, settings))


def make_source_load(source: Source, name: str, settings: Settings, how: Mapping[str, Any]) -> Callable[..., Version]:
    """The function that loads the version at a path, which is called `name` for people, or by its path."""
    open_model, compile_model = OPENERS[source.kind]

    def open_at(path: Path) -> tuple[Any, ...]:
        return open_model(find_model(source.kind, path), **({} if source.kind in EXPORTED_KINDS else how))

    own = replace(settings, **source.beside, model_name=source.name or settings.model_name)
    return make_load(name, open_at, own, compile_model)


def rehearse(
    sources: Sequence[Source],
    settings: Settings,
    how: Mapping[str, Any],
    model: int,
    path: Path,
) -> None:
    """Load the version at a path, of the model of this number, as `load_sources` does, which has the same `how`."""
    give_sessions_own_threads()
    opening = dict(how)
    load_op_library(opening.pop("op_library", None))
    make_source_load(sources[model], "", settings, opening)(path)


def choose_places(
    parser: argparse.ArgumentParser, args: argparse.Namespace, stack: ExitStack
) -> tuple[dict[str, tuple[str, Path]], dict[str, Any]]:
    """The kind and the path of each model that the flags name, by its name in URLs, and how they are to be opened.

    The name is empty if no flag gives one. Ends with status 2 if the flags do not go together.
    """
    kinds = (*MODEL_KINDS, "keras", *EXPORTED_KINDS)
    if not args.model:
        kind, how = choose_model(parser, args, kinds)
        require_runtimes(kind)
        path = getattr(args, kind)
        if kind == "keras":
            own = ("watch", "keep-versions")
            refuse_flags(parser, args, own, "does not go with --keras; freeze the model, and serve that")
            folder = stack.enter_context(TemporaryDirectory(prefix="frozen-"))
            words = repeat_flags(parser, args, *KERAS_FLAGS, *LOAD_FLAGS)
            kind, path = "frozen_model", freeze_keras(args.keras, Path(folder), *words)
            args.frozen_model = path  # the workers may read it
            how |= {"inputs": None, "outputs": None}  # the frozen model records them
        return {args.model_name or "": (kind, path)}, how
    by_kind = [kind.replace("_", "-") for kind in kinds]
    refuse_flags(parser, args, by_kind, "does not go with --model, which takes any kind but Keras")
    of_one = (*SAVED_MODEL_FLAGS, *KERAS_FLAGS, "inputs", "outputs", "model-name")
    refuse_flags(parser, args, of_one, "is of one model; it does not go with --model")
    paths: dict[str, Path] = dict(args.model)
    if len(paths) < len(args.model):
        parser.error(f"several models have one name; found --model {', '.join(name for name, _ in args.model)}")
    how = select_values(args, "op-library", "trust-model")
    places = {name: (detect_model_kind(path), path) for name, path in paths.items()}
    require_runtimes(*(kind for kind, _ in places.values()))
    return places, how


def main(argv: Sequence[str] | None = None) -> int:
    models = ("saved-model", "keras", "checkpoint", *EXPORTED_KINDS)
    flags = (*models, *SAVED_MODEL_FLAGS, *KERAS_FLAGS, *MODEL_FLAGS, *CONFINEMENT_FLAGS)
    toy = project.RESULTS / "frozen_model.pb"
    parser = make_parser(__doc__, "model", "watch", *flags, frozen_model=toy, **VERSIONS, **ADDRESS, **LIMITS)
    args = parser.parse_args(argv)
    if args.grpc_port is not None:
        if args.grpc_port == args.port != 0:  # the kernel would divide the connections between the two
            parser.error(f"--port and --grpc-port are one port; found {args.port}; give each its own")
        require_installed("grpc")
    with ExitStack() as stack:
        places, how = choose_places(parser, args, stack)
        watching = select_values(args, "watch", "keep-versions")
        versions = args.watch or args.keep_versions > 1
        find = find_newest_model if versions else find_model
        found = {name: find(*place) for name, place in places.items()}  # before any worker looks for them
        make_each = partial(make_source, versions=versions, shown=args.keras)
        sources = [make_each(*place, found[name], name) for name, place in places.items()]
        first = sources[0]
        settings = Settings(**select_values(args, *LIMITS))
        readable = None if args.unconfined else list_readable(args)
        if readable is not None and args.watch:
            readable += [get_watched_folder(source.kind, source.path) for source in sources]
        bodies = [] if args.inputs or args.outputs else model.make_example_bodies(first.path)
        del found  # until here, so that a file is read once
        announce = partial(announce_server, first.shown, bodies)
        rehearsals = Rehearsals(partial(rehearse, sources, settings, how)) if args.watch else None
        if rehearsals:
            watching["asker"] = rehearsals.asker
        make = partial(call_with_unpacked, list_unpacked(), partial(load_sources, sources, **how, **watching))
        # This process loads no model: each worker confines itself, and then loads it.
        run_server(make, settings, announce, readable, rehearsals=rehearsals, **select_values(args, *ADDRESS))
    return 0


if __name__ == "__main__":
    cli.run(main, loads_model=False)
