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

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import model
from checkpoint_restore import restore_session
from freezemodel_load import open_frozen
from savedmodel_pretrained import load_session
from serialization import cli, project
from serialization.cli import require_installed
from serialization.files.model_flags import EXPORTED_KINDS, choose_given_path, detect_model_kind, find_model
from serialization.flags import CONFINEMENT_FLAGS, KERAS_FLAGS, MODEL_FLAGS, SAVED_MODEL_FLAGS
from serialization.formats.file_kind import ModelFile
from serialization.given_flags import select_values
from serialization.given_models import find_given_models
from serialization.graph.signature import Signature
from serialization.parser import make_parser
from serialization.run.predictor import Predictor
from serialization.runtimes.exported_file import ExportedFile
from serialization.runtimes.litert_runtime import LiteRTRuntime, load_tflite
from serialization.runtimes.onnx_runtime import OnnxRuntime, load_onnx
from serialization.runtimes.tensorflow_runtime import TensorFlowRuntime
from serialization.serving.http.rehearsal import Asker, Rehearsals
from serialization.serving.http.server import announce_server, run_server
from serialization.serving.limits import ADDRESS, LIMITS, VERSIONS, Settings
from serialization.serving.served_models import Opener, ServedModels, load_route, make_source, rehearse

if TYPE_CHECKING:
    from flask import Flask

    from serialization.serving.http.predict_route import PredictRoute


def compile_session(session: Any, signature: Signature, timeout: float) -> TensorFlowRuntime:
    """One callable for all requests: names are looked up and the graph is pruned once, not in each `session.run`."""
    # The plain call, session.make_callable(outputs, inputs), has no time limit; each run takes 4 to 11 times as long.
    return TensorFlowRuntime(Predictor(session, signature, timeout=timeout), timeout)


def open_onnx(found: ModelFile) -> tuple[Any, ExportedFile]:
    return load_onnx(found.path)


def open_tflite(found: ModelFile) -> tuple[ExportedFile]:
    return (load_tflite(found.path),)


# How models are opened, and what then runs them, by the flag that names one.
OPENERS = {
    "frozen_model": Opener(open_frozen, compile_session),
    "saved_model": Opener(load_session, compile_session),
    "checkpoint": Opener(restore_session, compile_session),
    "onnx": Opener(open_onnx, OnnxRuntime),
    "tflite": Opener(open_tflite, LiteRTRuntime),
}


def make_app(load: Callable[[], PredictRoute]) -> Flask:
    """The Flask application for the models that `load` loads, ready to answer once this returns."""
    from flask import Flask, request

    from serialization.serving.app import add_routes

    started = time.monotonic()
    route = load()
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


def load_app(models: ServedModels, settings: Settings, asker: Asker | None = None) -> Flask:
    """The application, in a worker; it asks the supervisor, by the `asker`, to try new versions."""
    return make_app(partial(load_route, models, settings, asker))


def create_app(
    frozen_model: Path | None = None,
    saved_model: Path | None = None,
    checkpoint: Path | None = None,
    *,
    onnx: Path | None = None,
    tflite: Path | None = None,
    models: Mapping[str, Path] | None = None,
    op_library: Path | None = None,
    settings: Settings | None = None,
    **how: Any,
) -> Flask:
    """The application for any WSGI server, with one model, or with several by their names in URLs.

    The parameters are the flags of the same names. A Keras model has to be frozen before, by freezemodel_save.py.
    """
    if models:
        places = {name: (detect_model_kind(path), path) for name, path in models.items()}
    else:
        given = {"frozen_model": frozen_model, "saved_model": saved_model, "checkpoint": checkpoint}
        places = {"": choose_given_path(**given, onnx=onnx, tflite=tflite)}
    sources = [make_source(*place, find_model(*place), name) for name, place in places.items()]
    return load_app(ServedModels(sources, OPENERS, how, op_library), settings or Settings())


def main(argv: Sequence[str] | None = None) -> int:
    models = ("model", "saved-model", "keras", "checkpoint", *EXPORTED_KINDS)
    flags = (*models, "watch", *SAVED_MODEL_FLAGS, *KERAS_FLAGS, *MODEL_FLAGS, *CONFINEMENT_FLAGS)
    toy = project.RESULTS / "frozen_model.pb"
    parser = make_parser(__doc__, *flags, frozen_model=toy, **VERSIONS, **ADDRESS, **LIMITS)
    args = parser.parse_args(argv)
    if args.grpc_port is not None:
        if args.grpc_port == args.port != 0:  # the kernel would divide the connections between the two
            parser.error(f"--port and --grpc-port are one port; found {args.port}; give each its own")
        require_installed("grpc")

    with find_given_models(parser, args, OPENERS) as (found, readable):
        settings = Settings(**select_values(args, *LIMITS))
        first = found.sources[0]
        bodies = [] if args.inputs or args.outputs else model.make_example_bodies(first.path)
        announce = partial(announce_server, first.shown, bodies)
        rehearsals = Rehearsals(partial(rehearse, found, settings)) if args.watch else None
        # This process loads no model: each worker confines itself, and then loads it.
        load = partial(load_app, found, asker=rehearsals.asker if rehearsals else None)
        run_server(load, settings, announce, readable, rehearsals=rehearsals, **select_values(args, *ADDRESS))
    return 0


if __name__ == "__main__":
    cli.run(main, loads_model=False)
