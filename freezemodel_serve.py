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

import argparse
import json
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import freezemodel_load
import model
from serialization import artifact, cli, signature
from serialization.serving.settings import Settings
from serialization.signature import Signature

if TYPE_CHECKING:
    from flask import Flask

PREDICT = "/api/predict"


def open_frozen(path: Path, inputs: str | None, outputs: str | None, *, trust: bool) -> tuple[Any, Signature]:
    """One graph and one session on it, for all requests there will be."""
    predict, _ = freezemodel_load.open_frozen(path, inputs, outputs, trust=trust)
    return predict.session, predict.signature


def open_checkpoint(prefix: Path, inputs: str | None, outputs: str | None, *, trust: bool) -> tuple[Any, Signature]:
    """The same from a checkpoint: the variables stay variables."""
    import checkpoint_restore

    named = {"checkpoint": prefix, "inputs": inputs, "outputs": outputs, "trust_model": trust}
    unset = {flag.replace("-", "_"): None for flag in checkpoint_restore.FLAGS}
    args = argparse.Namespace(**unset, **named)
    prepared = checkpoint_restore.prepare(args)
    session, saver = checkpoint_restore.start(prepared, trust=trust, optimize=True)
    checkpoint_restore.fill(session, saver, prepared)
    return session, signature.in_graph(session.graph, prepared.signature)


def open_saved_model(
    folder: Path, tag_set: str | None, key: str | None, inputs: str | None, outputs: str | None, *, trust: bool
) -> tuple[Any, Signature]:
    """The same from a SavedModel, whose own signature names its inputs and outputs."""
    from savedmodel_pretrained import load as load_saved_model

    session, signature_def = load_saved_model(
        artifact.find_saved_model(folder, MAKES_SAVED_MODEL), tag_set, key, trust=trust
    )
    recorded = signature.from_def(signature_def)
    if inputs or outputs:
        names = [",".join(f"{t.key}={t.name}" for t in tensors) for tensors in (recorded.inputs, recorded.outputs)]
        recorded = signature.from_names(session.graph, inputs or names[0], outputs or names[1])
    return session, recorded


MAKES_SAVED_MODEL = "savedmodel_from_source.py"


def create_app(
    frozen_model: Path | None = None,
    saved_model: Path | None = None,
    checkpoint: Path | None = None,
    *,
    inputs: str | None = None,
    outputs: str | None = None,
    tag_set: str | None = None,
    signature_key: str | None = None,
    settings: Settings | None = None,
    trust: bool = False,
) -> Flask:
    """The application for any WSGI server, with one model loaded and warmed up; by default results/frozen_model.pb."""
    from serialization.serving.app import make_app

    path = saved_model or checkpoint or frozen_model or cli.RESULTS / "frozen_model.pb"
    if saved_model is not None:
        opener = partial(open_saved_model, saved_model, tag_set, signature_key, inputs, outputs, trust=trust)
    elif checkpoint is not None:
        opener = partial(open_checkpoint, checkpoint, inputs, outputs, trust=trust)
    else:
        opener = partial(open_frozen, path, inputs, outputs, trust=trust)
    return make_app(cli.show(path), opener, settings or Settings())


def announce(what: str, toy: bool, url: str) -> None:
    """Say that requests are answered from now on, and how to make one."""
    print(f"serving {what} on {url}; Ctrl-C ends it; try", flush=True)
    rows = json.loads(model.EXAMPLES)
    for body in ({"x": rows[:1]}, {"x": rows}) if toy else ():
        text = json.dumps(body, separators=(",", ":"))
        print(f"curl -X POST -H 'Content-Type: application/json' {url}{PREDICT} -d '{text}'", flush=True)
    if not toy:
        print(f"curl {url}/openapi.json", flush=True)


def choose(parser: argparse.ArgumentParser, args: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    """The model that the flags name, after a look whether it is there, and what `create_app` needs to load it."""
    named = [flag for flag in ("saved_model", "checkpoint") if getattr(args, flag)]
    if args.frozen_model != parser.get_default("frozen_model"):
        named.append("frozen_model")
    if len(named) > 1:
        parser.error(f"one model at a time; found {', '.join('--' + flag.replace('_', '-') for flag in named)}")
    if args.saved_model:
        path = artifact.find_saved_model(args.saved_model, MAKES_SAVED_MODEL)
    elif args.checkpoint:
        path = artifact.find_checkpoint(args.checkpoint)
    else:
        path = artifact.find_file(args.frozen_model, "frozen model", "freezemodel_save.py")
    choice = {named[0] if named else "frozen_model": path}
    given = {"inputs": args.inputs, "outputs": args.outputs, "tag_set": args.tag_set, "signature_key": args.signature}
    return path, choice | given | {"trust": args.trust_model}


def main(argv: Sequence[str] | None = None) -> int:
    limits = {field.name: field.default for field in fields(Settings) if field.name != "metrics_folder"}
    parser = cli.parser(
        __doc__,
        "saved-model",
        "checkpoint",
        "inputs",
        "outputs",
        "tag-set",
        "signature",
        "trust-model",
        frozen_model=cli.RESULTS / "frozen_model.pb",
        host="127.0.0.1",
        port=5000,
        workers=1,
        grace=30.0,
        **limits,
    )
    args = parser.parse_args(argv)
    path, choice = choose(parser, args)
    settings = Settings(**{name: getattr(args, name) for name in limits})
    toy = not (args.saved_model or args.inputs or args.outputs)

    from serialization.serving import server

    server.serve(
        partial(create_app, **choice),
        settings,
        args.host,
        args.port,
        workers=args.workers,
        grace=args.grace,
        announce=partial(announce, cli.show(path), toy),
    )
    return 0


if __name__ == "__main__":
    cli.run(main)
