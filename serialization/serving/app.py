"""Adds the routes for health, metrics and the page to the Flask application; makes errors JSON; logs requests."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed, NotFound
from werkzeug.routing import RequestRedirect

from serialization.console import make_printable
from serialization.runtimes.runtime import Runtime
from serialization.serving.http.cross_origin import CrossOrigin
from serialization.serving.http.predict_route import EXAMPLE, PREDICT, SERVING, PredictRoute, Request
from serialization.serving.http.reload import Reloader, Watched
from serialization.serving.http.slot import Slot
from serialization.serving.http.version import Version
from serialization.serving.limits import Settings
from serialization.serving.metrics import Metrics
from serialization.serving.model.engine import make_engine
from serialization.serving.openapi import describe_api
from serialization.serving.page import render_page
from serialization.serving.requests import (
    RequestInfo,
    RequestLog,
    get_path,
    make_error_body,
    make_internal_error,
    take_prefix_off,
)
from serialization.serving.wire.json_format import require_json_form
from serialization.serving.wire.protocol import name_served_model

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def load_version(name: str, run: Runtime, settings: Settings) -> Version:
    """Warm the model up, choose the fastest way to run it, and make it ready to answer. `name` is the model's path.

    Raises UserError if JSON has no form for its inputs and outputs, or if it cannot run in the batches of the settings.
    """
    require_json_form(run.signature)
    settings = replace(settings, labels=settings.labels or run.labels)
    served = name_served_model(Path(name), settings, run.platform)
    return Version(name, served, make_engine(run, settings), settings)


def make_predict_route(loads: Sequence[Callable[[], Version]], settings: Settings) -> PredictRoute:
    """The route that answers with the models that these functions load, the first by default."""
    return PredictRoute([Slot(load()) for load in loads], settings, _make_log(settings))


def make_watching_route(models: Sequence[Watched], settings: Settings, *, reload: bool) -> PredictRoute:
    """The route that answers with the newest versions of these models; `reload` says that those to come are loaded."""
    reloaders = [Reloader(model) for model in models]
    slots = [reloader.slot for reloader in reloaders]
    return PredictRoute(slots, settings, _make_log(settings), reloaders if reload else ())


def _make_log(settings: Settings) -> RequestLog:
    return RequestLog(Metrics(settings.metrics_folder), settings.log_format, settings.trust_proxy)


def add_routes(app: Flask, route: PredictRoute, load_seconds: float) -> None:
    """Add the page, health, metrics, the OpenAPI document and the other protocols; make every error JSON."""
    settings = route.settings
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # Flask's answers to OPTIONS are not JSON
    app.config[SERVING] = route
    app.config[EXAMPLE] = route.first.current.example
    app.wsgi_app = _mend_path(_answer_protocols(app.wsgi_app, route), settings.path_prefix)  # type: ignore[assignment, method-assign]  # as Flask's documentation does
    if settings.cors_origin:
        app.wsgi_app = CrossOrigin(settings.cors_origin, route.log).wrap_wsgi(app.wsgi_app)  # type: ignore[assignment, method-assign]
    _log_every_request(app, route)

    @app.get("/")
    def show_page() -> Response:
        slot = route.slots.get(request.args.get("model", ""), route.first)
        return Response(render_page(slot.current, list(route.slots)), content_type="text/html; charset=utf-8")

    @app.get("/healthz")
    def health() -> dict[str, Any]:
        return {"status": "alive"}

    @app.get("/readyz")
    def readiness() -> tuple[dict[str, Any], int]:
        if route.draining:
            return {"error": "the server is ending", "request_id": g.info.id}, 503
        several = {"models": {name: _tell(slot) for name, slot in route.slots.items()}} if len(route.slots) > 1 else {}
        return {"status": "ready", **_tell(route.first), **several}, 200

    @app.get("/metrics")
    def show_metrics() -> Response:
        text, content_type = route.log.metrics.page()
        return Response(text, content_type=content_type)

    @app.get("/openapi.json")
    def describe() -> dict[str, Any]:
        current = [slot.current for slot in route.slots.values()]
        kept = [version for slot in route.slots.values() for version in slot.versions.values()]
        return describe_api(current, kept)

    route.log.metrics.loaded(load_seconds)


def _tell(slot: Slot) -> dict[str, Any]:
    """The version of a model that answers, what runs it and how, and which others are refused, if any are."""
    version = slot.current
    return {
        "model": version.path,
        "runtime": version.engine.runtime,
        "runs": version.engine.how,
        **({"refused": slot.refused} if slot.refused else {}),
    }


def _mend_path(wsgi_app: WSGIApplication, prefix: str) -> WSGIApplication:
    """The application, without the prefix in paths, and with //healthz taken as /healthz.

    Proxies double slashes, and clients do not repeat a POST. The prefix itself leads to the page, whose links need a
    slash at its end.
    """

    def run(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["PATH_INFO"] = re.sub("/+", "/", environ["PATH_INFO"])
        if prefix:
            take_prefix_off(environ, prefix)
        path = environ["PATH_INFO"]
        if not path and environ.get("SCRIPT_NAME"):
            start_response("308 Permanent Redirect", [("Location", prefix + "/"), ("Content-Length", "0")])
            return []
        return wsgi_app(environ, start_response)

    return run


def _answer_protocols(wsgi_app: WSGIApplication, route: PredictRoute) -> WSGIApplication:
    """The application, with the paths of other protocols than that of /api/predict answered by the predict route."""

    def run(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == PREDICT or not route.takes(environ["PATH_INFO"]):  # the first has its view
            return wsgi_app(environ, start_response)
        return Response(*route.respond(environ))(environ, start_response)

    return run


def _log_every_request(app: Flask, predict: PredictRoute) -> None:
    """Add ids, errors as JSON, the log and metrics to all routes but PredictRoute, which does this itself."""
    log = predict.log

    @app.before_request
    def begin() -> None:
        g.info = RequestInfo(request.environ, log.new_id(request.environ), time.perf_counter())
        if isinstance(request.routing_exception, RequestRedirect):  # of `OPTIONS *`, to a page of HTML
            raise NotFound

    @app.after_request
    def record(response: Response) -> Response:
        if "X-Request-Id" in response.headers:  # of PredictRoute
            return response
        if response.status_code >= 400:
            predict.drop_body(Request(request.environ, g.info.id, g.info.started, lambda *_: None))
        response.headers["X-Request-Id"] = g.info.id
        if predict.draining:
            response.headers["Connection"] = "close"
        route = request.url_rule.rule if request.url_rule else "other"
        log.record([g.info], route, response.status_code)
        return response

    @app.errorhandler(HTTPException)
    def refuse(error: HTTPException) -> Response:
        message = str(error.description)
        path = make_printable(get_path(request.environ))
        if isinstance(error, NotFound):
            named = f" and {PREDICT}/NAME (NAME is {' or '.join(predict.slots)})" if len(predict.slots) > 1 else ""
            message = f"nothing is at {path}; predictions are at {PREDICT}{named}, a page to try them is at /"
        if isinstance(error, MethodNotAllowed):
            error.valid_methods = sorted(error.valid_methods or ())
            message = f"{path} takes {' and '.join(error.valid_methods)}, not {make_printable(request.method)}"
        if isinstance(error, InternalServerError) and error.original_exception is not None:
            message = make_internal_error(g.info.id)
        answer = error.get_response()
        headers = [(name, value) for name, value in answer.headers if not name.lower().startswith("content-")]
        body = make_error_body(message, g.info.id)
        return Response(body, error.code, headers, content_type="application/json")
