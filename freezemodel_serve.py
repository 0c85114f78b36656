"""Serve a frozen model over HTTP: a Flask application that answers POST /api/predict.

Teaches one tf.compat.v1.Session for the life of the process, compiled once into a callable that all requests run.

    python freezemodel_serve.py
    python freezemodel_serve.py --host 0.0.0.0 --port 8080
    python freezemodel_serve.py --frozen-model my/frozen_model.pb --inputs x --outputs softmax

The model's input is called x and its output y, whatever the graph calls them. Ctrl-C ends the server. Any WSGI server
can run it instead: the application is what `freezemodel_serve:create_app()` returns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import model
from freezemodel_load import PREFIX, load
from serialization import artifact, cli, feeds, signature
from serialization.predictor import Predictor, open_session

if TYPE_CHECKING:
    from flask import Flask

PREDICT = "/api/predict"


def open_model(path: Path, inputs: str, outputs: str, *, trust: bool = False) -> Predictor:
    """One graph that nobody can add to, one session on it, one callable; it has run once, so that no request waits."""
    graph = load(artifact.find_file(path, "frozen model", "freezemodel_save.py"), trust=trust)
    predict = Predictor(open_session(graph), signature.from_names(graph, inputs, outputs, scope=PREFIX))
    graph.finalize()
    predict(feeds.generate(predict.signature)[0])
    return predict


def create_app(
    frozen_model: Path | None = None,
    inputs: str = model.INPUTS,
    outputs: str = model.PREDICTIONS,
    *,
    trust: bool = False,
) -> Flask:
    """The application for any WSGI server, with the model loaded: results/frozen_model.pb unless another is named."""
    from serialization.serving.app import make_app

    return make_app(open_model(frozen_model or cli.RESULTS / "frozen_model.pb", inputs, outputs, trust=trust))


def announce(what: str, url: str) -> None:
    """Say that requests are answered from now on, and how to make one."""
    print(f"serving {what} on {url}; Ctrl-C ends it; try")
    rows = json.loads(model.EXAMPLES)
    for body in ({"x": rows[:1]}, {"x": rows}):
        text = json.dumps(body, separators=(",", ":"))
        print(f"curl -X POST -H 'Content-Type: application/json' {url}{PREDICT} -d '{text}'", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        __doc__,
        "trust-model",
        frozen_model=cli.RESULTS / "frozen_model.pb",
        inputs=model.INPUTS,
        outputs=model.PREDICTIONS,
        host="127.0.0.1",
        port=5000,
    )
    args = parser.parse_args(argv)
    from serialization.serving import server

    path = artifact.find_file(args.frozen_model, "frozen model", "freezemodel_save.py")
    app = partial(create_app, path, args.inputs, args.outputs, trust=args.trust_model)
    server.serve(app, args.host, args.port, partial(announce, cli.show(path)))
    return 0


if __name__ == "__main__":
    cli.run(main)
